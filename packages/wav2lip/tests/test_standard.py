"""The standard tests of a task package."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.core.prepare import FOR, prepare
from viseme.core.testing.commands import run_command
from viseme.core.testing.standard import StandardTests
from viseme.wav2lip.cli import app
from viseme.wav2lip.models import GeneratorConfig, Wav2LipGenerator
from viseme.wav2lip.weights import save_network

TINY = GeneratorConfig((4, 6, 8, 16), (0, 0, 0, 0), (16, 12, 10, 8, 8), (0, 0, 0, 0, 0), (4, 4, 8, 8, 16), 4)


class TestStandard(StandardTests):
    app = app
    module = "viseme.wav2lip"
    golden = Path(__file__).with_name("surface.yaml")

    def file_command(self, path: Path, tmp_path: Path) -> list[object]:
        model = save_network(tmp_path / "model", "generator", Wav2LipGenerator(TINY))
        return ["sync", "--face", path, "--audio", path, "--model", model, "--out", tmp_path / "out.mp4"]

    def recipe_overrides(self, recipe: str, corpus: Path, out: Path) -> list[str]:
        """Few steps of tiny networks; the expert, which `train` needs, is trained here first."""
        root = corpus.parent / "crops"
        prepare(corpus / "manifest.csv", root, crops=FOR["wav2lip"], workers=1)  # what is there is kept
        common = [
            "model=tiny",
            "trainer=cpu",
            "trainer@sync_trainer=cpu",
            "trainer.max_steps=3",
            "sync_trainer.max_steps=3",
            "trainer.progress=false",
            "sync_trainer.progress=false",
            "optim.generator.batch_size=2",
            "optim.expert.batch_size=8",
            f"data.root_dir={root}",
            "data.num_workers=0",
            f"exp_dir={out}",
        ]
        outcome = run_command(app, ["train-sync", f"recipe={recipe}", *common])
        assert outcome.code == 0, outcome.err
        return common


@pytest.mark.parametrize("name", ["Wav2Lip", "SyncOptions", "SyncedVideo", "Wav2LipGenerator", "SyncExpert"])
def test_public_names(name: str) -> None:
    import viseme.wav2lip

    assert name in viseme.wav2lip.__all__
    assert getattr(viseme.wav2lip, name).__module__.startswith("viseme.wav2lip.")
