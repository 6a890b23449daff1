"""The frozen surface of a package: every verb and flag, every configuration key and option, in one file that a test
compares. Adding one is then a decision, seen in the change that makes it."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from viseme.core.cli import App
from viseme.core.cli.config import config_keys, config_options

__all__ = ["UPDATE", "check_surface", "surface"]

UPDATE = "VISEME_UPDATE_SURFACE"


def surface(app: App) -> dict:
    """Verbs with their flags; for each verb with overrides its keys; the groups and their options."""
    found: dict = {"verbs": app.surface()}
    roots = sorted({verb.root for verb in app.verbs.values() if verb.takes_config})
    if app.package is not None and roots:
        found["config"] = {root: config_keys(app.package, root=root) for root in roots}
        found["options"] = config_options(app.package)
    return found


def check_surface(app: App, golden: Path) -> None:
    """Compare with the golden file; with VISEME_UPDATE_SURFACE=1 in the environment write it instead."""
    found = surface(app)
    if os.environ.get(UPDATE):
        golden.write_text(yaml.safe_dump(found, sort_keys=True), encoding="utf-8")
        return
    assert golden.exists(), f"{golden} is missing: make it with {UPDATE}=1"
    expected = yaml.safe_load(golden.read_text(encoding="utf-8"))
    changed = sorted(_lines(found) ^ _lines(expected))
    assert not changed, f"the surface changed; if that is meant, run the test with {UPDATE}=1:\n" + "\n".join(changed)


def _lines(node: object, path: str = "") -> set[str]:
    if isinstance(node, dict):
        return {line for key, value in node.items() for line in _lines(value, f"{path}/{key}")}
    if isinstance(node, list):
        return {f"{path}: {value}" for value in node}
    return {f"{path}: {node}"}
