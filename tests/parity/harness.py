"""How the parity tests find and read the vectors.

The vectors lie beside this file, one folder a system; `VISEME_PARITY=<folder>` points the same tests at another folder
of the same layout. Tests are parametrised over `entries(system, kind)`, so every entry found there is run.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
ROOT = Path(os.environ.get("VISEME_PARITY") or HERE)


def load_module(path: Path) -> ModuleType:
    """A Python file of the vectors' folder (`fill.py`, `inputs.py`, `<system>/inputs.py`) as a module."""
    spec = importlib.util.spec_from_file_location(f"parity_{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shared_module(name: str) -> ModuleType:
    """`fill` or `inputs`: the pointed-at folder's, or ours where it brings none."""
    path = ROOT / f"{name}.py"
    return load_module(path if path.exists() else HERE / f"{name}.py")


inputs = shared_module("inputs")
fill = shared_module("fill")


def folder(system: str) -> Path:
    """Where a system's vectors lie."""
    return ROOT / system


def vectors(system: str) -> dict[str, dict]:
    """All entries of a system's `vectors.json` by name; empty where the folder has no such system."""
    return inputs.read_vectors(folder(system)) if (folder(system) / "vectors.json").exists() else {}


def entries(system: str, *kinds: str) -> list[Any]:
    """The entries of these kinds as pytest parameters `(name, entry)`, named after the entry."""
    found = [(name, entry) for name, entry in vectors(system).items() if entry["kind"] in kinds]
    return [pytest.param(name, entry, id=name) for name, entry in found]


def data_file(system: str, name: str) -> Path:
    """A third-party data file that the repository does not carry; skips the test where it is not at hand."""
    for place in (folder(system), REPOSITORY.parent / "shared" / "parity" / system):
        if (place / name).exists():
            return place / name
    pytest.skip(f"{name} (third-party data, not in the repository) is in neither VISEME_PARITY nor ../shared")


class Comparison:
    """Collects the answers of one entry and, at the end, insists that each one was compared and agreed."""

    def __init__(self, system: str, entry: dict) -> None:
        self.folder, self.entry = folder(system), entry
        self.left = {name for name, spec in entry["arrays"].items() if not spec.get("optional")}
        self.wrong: list[str] = []

    def check(self, name: str, answer: Any) -> None:
        """Compare `answer` (whole: sliced here as the entry says) with the stored array `name`, if the entry has it."""
        spec = self.entry["arrays"].get(name)
        if spec is None:
            return
        got = answer.detach().cpu().numpy() if hasattr(answer, "detach") else np.asarray(answer)
        if "full" in spec:
            assert list(got.shape) == list(spec["full"]), f"{name}: shape {got.shape}, expected {spec['full']}"
        if "slice" in spec:
            got = got[inputs.index(spec["slice"])]
        want = inputs.stored_answer(self.folder, self.entry, name)
        if problem := inputs.disagreement(got, want, spec):
            self.wrong.append(f"{name}: {problem}")
        self.left.discard(name)

    def finish(self) -> None:
        assert not self.wrong, "\n".join(self.wrong)
        assert not self.left, f"never compared: {sorted(self.left)}"
