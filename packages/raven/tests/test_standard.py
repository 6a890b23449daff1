"""The standard tests of a task package."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from viseme.core.cli.config import config_dir
from viseme.core.prepare import prepare
from viseme.core.testing.standard import StandardTests
from viseme.core.text import CharUnits
from viseme.raven.cli import app
from viseme.raven.models import Recogniser, RecogniserConfig
from viseme.raven.pipeline import RAVEn


def stage_of(recipe: str) -> str:
    """Which verb a recipe is for."""
    path = config_dir("viseme.raven") / "recipe" / f"{recipe}.yaml"
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    base = next((entry for entry in found["defaults"] if isinstance(entry, str) and entry != "_self_"), None)
    return found.get("stage") or stage_of(base)


def small(corpus: Path, out: Path) -> list[str]:
    """Overrides that run any recipe a few steps on the embedded corpus."""
    store = corpus.parent / "store"
    prepare(corpus / "manifest.csv", store, workers=1)  # what is there is kept
    lists = [f"data.{name}_file=manifest.csv" for name in ("train", "val", "test")]
    splits = ["data.train_split=trainval", "data.val_split=val", "data.test_split=test"]
    sizes = ["data.frame_size=40", "data.crop_size=36", "data.frames_per_gpu=300", "data.frames_per_gpu_val=300"]
    # One process: recipes name the published nodes, and Lightning would start this command once for each of their GPUs.
    machine = ["trainer=cpu", "trainer.devices=1", "trainer.num_nodes=1", "trainer.precision=32"]
    trainer = [*machine, "trainer.max_steps=3", "trainer.progress=false"]
    places = [f"data.root_dir={store}", f"exp_dir={out}", "data.units=words", "data.num_workers=0"]
    return ["model=tiny", "pair.predictor_dim=32", *places, *lists, *splits, *sizes, *trainer]


class TestStandard(StandardTests):
    app = app
    module = "viseme.raven"
    golden = Path(__file__).with_name("surface.yaml")

    def file_command(self, path: Path, tmp_path: Path) -> list[object]:
        units = CharUnits.from_texts(["A B"])
        config = RecogniserConfig.preset("tiny", "video", "tiny", vocabulary=units.size)
        return ["transcribe", path, "--model", RAVEn(Recogniser(config), units).save(tmp_path / "model")]

    def recipe_verb(self, recipe: str) -> str:
        return "pretrain" if stage_of(recipe) == "pretrain" else "train"

    def recipe_overrides(self, recipe: str, corpus: Path, out: Path) -> list[str]:
        return small(corpus, out)


@pytest.mark.parametrize("name", ["RAVEn", "Transcript", "Features", "Encoder", "Recogniser", "Pretrainer"])
def test_public_names(name: str) -> None:
    import viseme.raven

    assert name in viseme.raven.__all__
    assert getattr(viseme.raven, name).__module__.startswith(("viseme.raven.", "viseme.core."))
