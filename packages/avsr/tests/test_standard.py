"""The standard tests of a task package."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.avsr.cli import app
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.pipeline import AVSR
from viseme.core.prepare import prepare
from viseme.core.testing.standard import StandardTests
from viseme.core.text import CharUnits


class TestStandard(StandardTests):
    app = app
    module = "viseme.avsr"
    golden = Path(__file__).with_name("surface.yaml")

    def file_command(self, path: Path, tmp_path: Path) -> list[object]:
        units = CharUnits.from_texts(["A B"])
        config = AVSRConfig.preset("tiny", "audiovisual", vocabulary=units.size, optional_modalities=True)
        return ["transcribe", path, "--model", AVSR(AVSRModel(config), units).save(tmp_path / "model")]

    def recipe_overrides(self, recipe: str, corpus: Path, out: Path) -> list[str]:
        store = corpus.parent / "store"
        prepare(corpus / "manifest.csv", store, workers=1)  # what is there is kept
        lists = [f"data.{name}_file=manifest.csv" for name in ("train", "val", "test")]
        splits = ["data.train_split=trainval", "data.val_split=val", "data.test_split=test"]
        return [
            "model=tiny",
            "trainer=cpu",
            "trainer.precision=32",
            "trainer.max_steps=3",
            "trainer.progress=false",
            f"data.root_dir={store}",
            f"exp_dir={out}",
            *lists,
            *splits,
            "data.units=words",
            "data.num_workers=0",
            "optim.frame_budget=null",
            "data.max_frames=300",
        ]


@pytest.mark.parametrize("name", ["AVSR", "Transcript", "AVSRModel"])
def test_public_names(name: str) -> None:
    import viseme.avsr

    assert name in viseme.avsr.__all__
    assert getattr(viseme.avsr, name).__module__.startswith("viseme.avsr.")
