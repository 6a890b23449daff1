"""The house rules that no tool of others checks: every public name says what it is, files can be read in one sitting,
and what stands in the architecture's tables is what there is."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
from tools import docstrings

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for path in ROOT.glob("packages/*/src/viseme/**/*.py"))
LONGEST = 500
PACKAGES = ["avsr", "raven", "lip2speech", "im2speech", "wav2lip"]


def test_public_names_say_what_they_take_and_where_they_are_from() -> None:
    """Every public name and method has a docstring; of all, 99 in a hundred whose matter it is say shapes and sources
    (`python -m tools.docstrings` lists the rest)."""
    found = list(docstrings.entries(ROOT))
    missing = docstrings.lacking(found)
    assert len(found) > 1000
    assert not missing["docstring"]
    for what in ("shapes", "source"):
        assert len(missing[what]) <= 0.01 * len(found), "\n".join(missing[what])


@pytest.mark.parametrize(
    ("signature", "said", "about", "lacks"),
    [
        ("x: Tensor", "Adds.", "", "shapes"),
        ("x: Tensor", "Adds to (B, T).", "", ""),
        ("x_BT: Tensor", "Adds.", "", ""),
        ("x: Tensor", "Adds.", "B clips, T frames.", ""),
        ("x: Tensor", "Adds to A file.", "A file.", "shapes"),
        ("state: dict[str, Tensor]", "Adds.", "", ""),
        ("x: int", "", "", "docstring"),
    ],
)
def test_docstrings_are_measured(signature: str, said: str, about: str, lacks: str, tmp_path: Path) -> None:
    folder = tmp_path / "packages" / "p" / "src" / "viseme" / "p"
    folder.mkdir(parents=True)
    body = f'"""{said}"""' if said else "pass"
    (folder / "a.py").write_text(f'"""{about or "Adding."}"""\n__all__ = ["add"]\ndef add({signature}):\n    {body}\n')
    missing = {what for what, places in docstrings.lacking(list(docstrings.entries(tmp_path))).items() if places}
    assert missing == ({lacks} if lacks else set())


HEADINGS = [
    "Verbs",
    "Recipes",
    "Published command -> command here",
    "What is different, on purpose",
    "Results",
    "Speed and memory",
    "Published weights",
    "Licence and responsible use",
]


@pytest.mark.parametrize("package", PACKAGES)
def test_readmes_have_the_same_shape(package: str) -> None:
    """Who knows one knows them all; what only one has goes below these."""
    text = (ROOT / "packages" / package / "README.md").read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"^# (.*)", prose, re.MULTILINE) == [f"viseme-{package}"]
    assert re.findall(r"^## (.*)", prose, re.MULTILINE) == HEADINGS
    introduction = text.partition("\n## ")[0]
    assert "pip install" in introduction and f"from viseme.{package} import" in introduction
    for heading in HEADINGS:
        section = prose.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        assert len(section.split()) > 15, f"{heading} says nothing"
    assert "SYNTHETIC" in prose


def test_files_can_be_read_in_one_sitting() -> None:
    long = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {path: lines for path, lines in long.items() if lines > LONGEST}


HOOKS = re.compile(r"__|on_|test_|pytest_|configure_|load_checkpoint$|visit_")
"""What frameworks call by name."""


def test_nothing_is_defined_that_nobody_names() -> None:
    """A function, class, method or constant whose name stands nowhere else, in code, tests, configuration or
    documentation, is dead."""
    kinds = ("packages/*/src/**/*.py", "packages/*/tests/**/*.py", "tests/**/*.py", "tools/**/*.py", "docs/**/*.md")
    texts = [
        path.read_text(encoding="utf-8") for kind in (*kinds, "packages/*/src/**/*.yaml") for path in ROOT.glob(kind)
    ]
    texts += [path.read_text(encoding="utf-8") for path in (*ROOT.glob("packages/*/pyproject.toml"), ROOT / "Makefile")]
    named = Counter(word for text in texts for word in re.findall(r"\w+", text))
    dead = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        listed = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [] if node.decorator_list and not isinstance(node, ast.ClassDef) else [node.name]
            elif isinstance(node, ast.Assign) and node in tree.body:
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            else:
                continue
            for name in names:
                if not HOOKS.match(name) and name != "_" and named[name] <= 1 + (name in listed):
                    dead.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert not dead, "\n".join(dead)


def test_architecture_names_the_rooms_there_are() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Rooms of core")[2].partition("##")[0]
    named = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `")))
    )
    core = ROOT / "packages" / "core" / "src" / "viseme" / "core"
    there = {path.stem for path in core.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert named == there - {"__init__"}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_have_the_rooms_that_architecture_names(package: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Rooms of a task package")[2].partition("##")[0]
    home = ROOT / "packages" / package / "src" / "viseme" / package
    rooms = [re.findall(r"`([\w./]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    assert len(rooms) > 5
    for names in rooms:
        assert any((home / name).exists() for name in names), f"{package} has no {' or '.join(names)}"


def test_nothing_licensed_is_kept_here() -> None:
    forbidden = re.compile(r"(\.model|_units\.txt|20words_mean_face\.npy|\.pth|\.ckpt|\.mp4|\.mov)$")
    skipped = {".git", ".venv", ".newest", "runs", "dist", "site", ".smoke"}
    found = [
        path.relative_to(ROOT).as_posix()
        for top in ROOT.iterdir()
        if top.name not in skipped
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file() and forbidden.search(path.name)
    ]
    assert not found
