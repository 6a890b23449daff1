"""What the documentation says can be typed, can be typed: every command, option and configuration key in it exists,
every Python name resolves, and made tables are up to date."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import re
import shlex
import tomllib
import types
import typing
from pathlib import Path

import pytest
from tools import reference

from viseme.core.cli import App, compose, config_keys
from viseme.core.cli.config import config_options
from viseme.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md")]
)
APPS = {
    "viseme": "viseme.core.cli.viseme",
    **{name: f"viseme.{name}.cli" for name in ("avsr", "raven", "lip2speech", "im2speech", "wav2lip")},
}
OTHERS = {"cd", "git", "export", "sbatch", "python", "torchrun", "srun", "pip", "make"}
"""Commands of fenced blocks that are not ours; the last five are looked into."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, *languages: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [
        body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if kind in languages
    ]


def load(prog: str) -> App:
    return importlib.import_module(APPS[prog]).app


def commands(path: Path) -> list[str]:
    """Command lines of fenced blocks: comments off, continued lines joined, chains apart. A block without a language
    may be something else."""
    found = []
    for language in ("", "bash"):
        for body in blocks(path, language):
            for line in body.replace("\\\n", " ").splitlines():
                words = re.sub(r"(^|\s)#.*", "", line.removeprefix("$ ")).strip()
                parts = [part.strip() for part in words.split("&&")]
                found += [part for part in parts if part and (language or part.split()[0] in APPS.keys() | OTHERS)]
    return found


def inline(path: Path) -> list[str]:
    """Code in running text and tables that begins with one of our commands and a verb, or has options."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = (code.replace("\\|", "|").split() for code in re.findall(r"`([^`]+)`", text))
    ours = (words for words in found if len(words) > 1 and words[0] in APPS)
    return [
        " ".join(words)
        for words in ours
        if words[1] in load(words[0]).verbs or any(word.startswith("--") or "=" in word for word in words)
    ]


def optional_parts(code: str) -> list[str]:
    """`[--video out.mp4]` and `A|B` of a synopsis, spelt out; dots are what is left open."""
    return [word for word in re.sub(r"[\[\]]|\.\.\.", " ", code).split() if word]


@functools.cache
def check_command(code: str, *, whole: bool) -> None:
    """The verb exists, and so do options and keys; where `whole`, the command line parses."""
    words = shlex.split(code) if whole else optional_parts(code)
    prog, verb_name = words[0], words[1]
    app = load(prog)
    if verb_name in ("--help", "--version"):
        return
    assert verb_name in app.verbs, f"{prog} has no verb {verb_name}"
    verb = app.verbs[verb_name]
    rest = words[2:] if app._translate is None else app._translate(words[1:])[1:]
    if verb.takes_config:
        package = app.package
        assert package is not None
        keys = [word for word in rest if "=" in word and not word.startswith("-")]
        for flag in (word.partition("=")[0] for word in rest if word.startswith("--")):
            assert flag in ("--print-config", "--help"), f"{prog} {verb_name} has no {flag}"
        check_keys(package, keys, verb.root, whole=whole)
        return
    flags = {name for argument in verb.arguments for name in argument.names if name.startswith("--")} | {"--help"}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in flags, f"{prog} {verb_name} has no {word}"
    if whole and "--help" not in words:
        parsed = app.parser().parse_args([verb_name, *rest])
        assert parsed.verb == verb_name


def check_keys(package: str, overrides: list[str], root: str, *, whole: bool) -> None:
    """Keys exist under the recipe named; values of a group exist."""
    named = [word for word in overrides if not re.search(r"=(NAME|\.\.\.|)$", word)]
    groups = config_options(package)
    for word in named:
        key, _, value = word.partition("=")
        if key in groups:
            assert value in groups[key], f"{package}: {key} has no {value}"
    chosen = [word for word in named if word.partition("=")[0] in groups]
    values = [word for word in named if word not in chosen]
    if whole:
        compose(package, [*chosen, *values], root=root, missing_ok=True)
        return
    known = all_keys(package, tuple(chosen), root)
    for word in (word for word in values if word != "KEY=VALUE"):
        key = word.partition("=")[0].lstrip("+~")
        assert any(k == key or k.startswith(f"{key}.") or key.startswith(f"{k}.") for k in known), (
            f"{package}: no key {key}"
        )


@functools.cache
def all_keys(package: str, chosen: tuple[str, ...], root: str) -> frozenset[str]:
    return frozenset(config_keys(package, chosen, root=root))


def check_other(code: str) -> None:
    """make's targets, pip's packages with their extras, python's modules; launchers of our commands."""
    words = shlex.split(code)
    assert words[0] in OTHERS, f"unknown command {words[0]}: name it in OTHERS, or say it otherwise"
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in words[1:] if "=" not in word):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"make has no {target}"
    elif words[0] == "pip" and words[1] == "install":
        for requirement in (word for word in words[2:] if word.startswith("viseme")):
            check_requirement(requirement)
    elif words[0] in ("torchrun", "srun"):
        ours = [n for n, word in enumerate(words) if word in APPS]
        if ours:
            check_command(shlex.join(words[ours[0] :]), whole=True)
        else:
            module = words[words.index("-m") + 1]
            prog = next(prog for prog, home in APPS.items() if home == module)
            check_command(shlex.join([prog, *words[words.index("-m") + 2 :]]), whole=True)
    elif words[0] == "python" and words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None, f"no module {words[2]}"


def check_requirement(requirement: str) -> None:
    name, _, extras = requirement.partition("[")
    project = ROOT / "packages" / name.removeprefix("viseme-") / "pyproject.toml"
    assert project.is_file(), f"no package {name}"
    known = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("optional-dependencies", {})
    for extra in filter(None, extras.rstrip("]").split(",")):
        assert extra in known, f"{name} has no extra {extra}"


# ------------------------------------------------------------------------------------------------------------- python


class Names(ast.NodeVisitor):
    """Follows the names of a block: imports, what `from_pretrained` and annotated methods return, attributes and
    keywords."""

    def __init__(self) -> None:
        self.known: dict[str, object] = {}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = importlib.import_module(node.module or "")
        for alias in node.names:
            try:
                value = getattr(module, alias.name)
            except AttributeError:
                value = importlib.import_module(f"{node.module}.{alias.name}")
            self.known[alias.asname or alias.name] = value

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            importlib.import_module(alias.name)

    def visit_Assign(self, node: ast.Assign) -> None:
        made = self.result(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and made is not None:
                self.known[target.id] = made

    def visit_Expr(self, node: ast.Expr) -> None:
        self.result(node.value)

    def visit_For(self, node: ast.For) -> None:
        many = self.result(node.iter)
        inner = typing.get_args(many)
        if isinstance(node.target, ast.Name) and inner:
            self.known[node.target.id] = inner[0]
        for statement in node.body:
            self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def result(self, node: ast.expr) -> object | None:
        """The type of an expression, or the object it names; None where nothing is known of it."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.result(node.value)
            return None if owner is None else self.member(owner, node.attr)
        if isinstance(node, ast.Call):
            for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                self.result(value)
            called = self.result(node.func)
            if not callable(called):
                return None
            for keyword in node.keywords:
                parameters = inspect.signature(called).parameters
                open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
                assert open_ended or keyword.arg in parameters, (
                    f"{ast.unparse(node.func)} has no argument {keyword.arg}"
                )
            if inspect.isclass(called):
                return called
            owner = called.__self__ if inspect.ismethod(called) else None
            returned = _hints(called).get("return")
            return owner if inspect.isclass(owner) and returned in (owner, typing.Self) else returned
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.result(child)
            elif isinstance(child, ast.FormattedValue):
                self.result(child.value)
        return None

    def member(self, owner: object, name: str) -> object | None:
        if isinstance(owner, types.UnionType):  # X | None: whoever writes the example knows that it is there
            owner = next(kind for kind in typing.get_args(owner) if kind is not types.NoneType)
        kind = typing.get_origin(owner) or owner
        if dataclasses.is_dataclass(kind) and name in {field.name for field in dataclasses.fields(kind)}:
            return _hints(kind).get(name)
        assert hasattr(kind, name) or name in getattr(kind, "__annotations__", {}), f"{owner} has no {name}"
        found = getattr(kind, name, None)
        return _hints(found.fget).get("return") if isinstance(found, property) else found


def _hints(thing: object) -> dict[str, object]:
    try:
        return typing.get_type_hints(thing)
    except (NameError, TypeError):  # names of TYPE_CHECKING alone: nothing to follow
        return {}


# -------------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands(page: Path) -> None:
    wrong = []
    for code, whole in [*((c, True) for c in commands(page)), *((c, False) for c in inline(page))]:
        try:
            if code.split()[0] in APPS:
                check_command(code, whole=whole)
            else:
                check_other(code)
        except (AssertionError, ConfigError, SystemExit, ValueError) as error:
            wrong.append(f"{code}\n    {str(error).splitlines()[0] if str(error) else error!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python(page: Path) -> None:
    for body in blocks(page, "python"):
        Names().visit(ast.parse(body, filename=name_of(page)))


def test_the_checks_notice() -> None:
    for code in ("avsr transscribe x", "avsr transcribe x --model m --beams 4", "viseme prepare a b --output c"):
        with pytest.raises((AssertionError, SystemExit)):
            check_command(code, whole=True)
    with pytest.raises(ConfigError):
        check_command("avsr train recipe=demo data.no_such_key=1", whole=True)
    with pytest.raises(AssertionError):
        check_command("avsr train recipe=no_such", whole=False)
    for code in ("make no_such_target", "pip install 'viseme-core[no_such_extra]'", "python -m tools.no_such"):
        with pytest.raises(AssertionError):
            check_other(code)
    for body in (
        "from viseme.avsr import NoSuch",
        "from viseme.avsr import AVSR\nAVSR.from_pretrained('m').transcribed('x')",
        "from viseme.avsr import AVSR\nAVSR.from_pretrained('m').transcribe('x', beams=3)",
        "from viseme.avsr import AVSR\nfound = AVSR.from_pretrained('m').transcribe('x')\nprint(found.no_such)",
    ):
        with pytest.raises((AssertionError, ImportError)):
            Names().visit(ast.parse(body))


def test_made_tables_are_up_to_date() -> None:
    say = "make it anew: python -m tools.reference"
    assert (ROOT / "docs" / "weights.md").read_text(encoding="utf-8") == reference.weights_page(), say
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == reference.readme(text), say


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{target} is not there"


def test_every_page_of_the_site_is_there() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed <= there, sorted(listed - there)
