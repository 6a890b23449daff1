"""The tests every task package must pass. A package subclasses `StandardTests` in one of its test files:

class TestStandard(StandardTests):
    app = viseme.avsr.cli.app
    module = "viseme.avsr"
    golden = Path(__file__).with_name("surface.yaml")

    def file_command(self, path, tmp_path): return ["transcribe", path, "--model", self.tiny_model(tmp_path)]
    def recipe_overrides(self, recipe, corpus, out): return [...]
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from viseme.core.cli import App, compose
from viseme.core.cli.config import config_options

from .commands import check_user_error, run_command
from .imports import check_import
from .surface import check_surface

__all__ = ["StandardTests"]


class StandardTests:
    """What holds for every package."""

    app: ClassVar[App]
    module: ClassVar[str]
    golden: ClassVar[Path]

    def file_command(self, path: Path, tmp_path: Path) -> list[object]:
        """The package's own verb on the file `path`, with whatever else it needs made below `tmp_path`."""
        raise NotImplementedError

    def recipe_overrides(self, recipe: str, corpus: Path, out: Path) -> list[str]:
        """What makes `recipe` run a few steps on the embedded corpus with its results below `out`."""
        raise NotImplementedError

    def recipe_verb(self, recipe: str) -> str:
        """The verb that `recipe` is for."""
        return "train"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "recipe" in metafunc.fixturenames:
            metafunc.parametrize("recipe", config_options(self.module).get("recipe", []))

    def test_surface_is_frozen(self) -> None:
        check_surface(self.app, self.golden)

    def test_import_is_quick_and_offline(self) -> None:
        check_import(self.module)

    def test_every_verb_explains_itself(self) -> None:
        for verb in self.app.verbs:
            outcome = run_command(self.app, [verb, "--help"])
            assert outcome.code == 0
            assert verb in outcome.out

    def test_doctor(self) -> None:
        outcome = run_command(self.app, ["doctor"])
        assert outcome.code == 0, outcome.out + outcome.err
        assert "torch" in outcome.out

    def test_unknown_verb_flag_and_key(self) -> None:
        check_user_error(self.app, ["no-such-verb"], "no-such-verb")
        check_user_error(self.app, ["doctor", "--no-such-flag"], "--no-such-flag")
        for verb in (verb for verb in self.app.verbs.values() if verb.takes_config):
            check_user_error(self.app, [verb.name, "no_such_key=1"], "no_such_key")
            check_user_error(self.app, [verb.name, "recipe=no_such_recipe"], "no_such_recipe")
            check_user_error(self.app, [verb.name, "trainer.max_epoch=1"], "trainer.max_epochs")

    @pytest.mark.parametrize("kind", ["missing", "empty", "text", "directory", "truncated"])
    def test_bad_file(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "a clip, ünïcode.mp4"
        if kind == "directory":
            path.mkdir()
        elif kind == "truncated":  # an mp4 that stops inside its first box
            path.write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0\0\xff\xffmoov" + bytes(100))
        elif kind != "missing":
            path.write_bytes(b"" if kind == "empty" else b"this is not a recording\n" * 40)
        check_user_error(self.app, self.file_command(path, tmp_path), path.name)

    def test_recipe_composes(self, recipe: str) -> None:
        assert compose(self.module, [f"recipe={recipe}"], missing_ok=True)

    @pytest.mark.heavy
    def test_recipe_runs_a_few_steps(self, recipe: str, embedded_corpus: Path, tmp_path: Path) -> None:
        overrides = self.recipe_overrides(recipe, embedded_corpus, tmp_path)
        outcome = run_command(self.app, [self.recipe_verb(recipe), f"recipe={recipe}", *overrides])
        assert outcome.code == 0, outcome.err
        assert list(tmp_path.rglob("last.ckpt")), "the run left no checkpoint"
