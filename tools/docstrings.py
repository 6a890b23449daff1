"""How much of the public surface says what it takes and where it is from: `python -m tools.docstrings`.

Public is what a module's `__all__` names, with the public methods of its classes. Whatever takes or gives tensors or
arrays must say their shapes: in its docstring, by shape suffixes (`x_BTD`), or in the legend at the top of its file.
What follows a publication (rooms `layers`, `losses`, `decoding`, `signal`, and the networks of the task packages) must
name it: paper, year, equation, or "published".
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Entry", "entries", "lacking"]

ROOT = Path(__file__).resolve().parents[1]
ARRAYS = re.compile(r"\b(Tensor|ndarray)\b")
STATE = re.compile(r"\b(Mapping|dict)\[str, (torch\.)?Tensor\]|training_step|validation_step")
"""Weights by name have the shapes of their model; Lightning says what its steps take."""
SHAPE = re.compile(
    r"\((?:[A-Z0-9]\w*|\.\.\.|\*)(?:, ?(?:[\w*+/ -]+|\.\.\.|\[.*?\]))*,?\)|_[A-Z][A-Z0-9]*\b|\bscalar\b|\d+x\d+"
)
LEGEND = re.compile(r"(?:^|[.,;] )[B-HJ-Z][A-Z]?(?:, [A-Z])* [a-z]\w+", re.MULTILINE)
SOURCE = re.compile(r"\b(19|20)\d\d\b|\b[Pp]ublished\b|\bequation\b|arXiv|et al|\bpaper\b|Source:")
SOURCED = re.compile(r"core/(layers|losses|decoding|signal)/|/(model|models|objective)(/\w+)?\.py$")


OURS = re.compile(r"layers/(cache|layout|linear|masks|streaming)|losses/(accuracy|linear|kernels/\w+)|signal/noise")
"""Of the sourced rooms, what follows no publication: bookkeeping, streaming, kernels (each beside the plain twin that
names its source), and noise, which is arithmetic."""


@dataclass(frozen=True)
class Entry:
    """A public name.

    Attributes:
        place: `file: name`.
        silent: it has no docstring.
        shapeless: it takes or gives arrays and nowhere says of which shape.
        sourceless: it should name a publication, and neither it nor its file does.
    """

    place: str
    silent: bool
    shapeless: bool
    sourceless: bool


def entries(root: Path = ROOT) -> Iterator[Entry]:
    """Every public name of every package."""
    for path in sorted(root.glob("packages/*/src/viseme/**/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        about = ast.get_docstring(tree) or ""
        relative = path.relative_to(root).as_posix()
        for name, node, inherited in _public(tree):
            said = ast.get_docstring(node) or ""
            signature = _signature(node)
            shaped = SHAPE.search(said + signature + inherited) or LEGEND.search(about)
            needs_source = SOURCED.search(relative) and not OURS.search(relative)
            sourced = not needs_source or SOURCE.search(said + inherited + about)
            yield Entry(
                f"{relative}: {name}",
                silent=not said and not inherited,
                shapeless=bool(ARRAYS.search(STATE.sub("", signature))) and not shaped,
                sourceless=not sourced,
            )


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef, str]]:
    """Name, node, and what its class says. Methods that fill in what a framework calls are the class's matter."""
    named: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            named = {value for value in ast.literal_eval(node.value) if isinstance(value, str)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in named:
            yield node.name, node, ""
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method, ast.get_docstring(node) or ""


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        return ""
    if STATE.fullmatch(node.name):
        return ""
    return f"{ast.unparse(node.args)} -> {ast.unparse(node.returns) if node.returns else ''}"


def lacking(found: list[Entry]) -> dict[str, list[str]]:
    """What is missing -> where."""
    return {
        "docstring": [entry.place for entry in found if entry.silent],
        "shapes": [entry.place for entry in found if entry.shapeless],
        "source": [entry.place for entry in found if entry.sourceless],
    }


def main() -> int:
    found = list(entries())
    missing = lacking(found)
    for what, places in missing.items():
        print(f"{len(found) - len(places)} of {len(found)} public names: {what}; without:")
        print("".join(f"  {place}\n" for place in places), end="")
    return any(missing.values())


if __name__ == "__main__":
    sys.exit(main())
