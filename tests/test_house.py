"""The house rules that no tool of others checks: every public name says what it is, files can be read in one sitting,
and what stands in the architecture's tables is what there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for path in ROOT.glob("packages/*/src/viseme/**/*.py"))
LONGEST = 500


def public(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """The module, and what its `__all__` names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield "module", tree
    named: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            named = {value for value in ast.literal_eval(node.value) if isinstance(value, str)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in named:
            yield node.name, node


@pytest.mark.parametrize("package", sorted(path.name for path in ROOT.glob("packages/*")))
def test_public_names_have_docstrings(package: str) -> None:
    silent = []
    for path in (path for path in SOURCES if path.is_relative_to(ROOT / "packages" / package)):
        for name, node in public(path):
            empty = path.name == "__init__.py" and name == "module" and not path.read_text(encoding="utf-8").strip()
            if not empty and not ast.get_docstring(node):  # type: ignore[arg-type]
                silent.append(f"{path.relative_to(ROOT)}: {name}")
    assert not silent, "\n".join(silent)


def test_files_can_be_read_in_one_sitting() -> None:
    long = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {path: lines for path, lines in long.items() if lines > LONGEST}


def test_architecture_names_the_rooms_there_are() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Rooms of core")[2].partition("##")[0]
    named = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `")))
    )
    core = ROOT / "packages" / "core" / "src" / "viseme" / "core"
    there = {path.stem for path in core.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert named == there - {"__init__"}


def test_nothing_licensed_is_kept_here() -> None:
    forbidden = re.compile(r"(\.model|_units\.txt|20words_mean_face\.npy|\.pth|\.ckpt|\.mp4|\.mov)$")
    skipped = {".git", ".venv", "runs", "dist", "site", ".smoke"}
    found = [
        path.relative_to(ROOT).as_posix()
        for top in ROOT.iterdir()
        if top.name not in skipped
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file() and forbidden.search(path.name)
    ]
    assert not found
