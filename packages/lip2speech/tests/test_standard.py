"""The standard tests of a task package."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.core.prepare import prepare
from viseme.core.testing.standard import StandardTests
from viseme.lip2speech.cli import app
from viseme.lip2speech.lips import LipInput
from viseme.lip2speech.models import VCAGAN, VCAConfig
from viseme.lip2speech.pipeline import Lip2Speech


class TestStandard(StandardTests):
    app = app
    module = "viseme.lip2speech"
    golden = Path(__file__).with_name("surface.yaml")

    def file_command(self, path: Path, tmp_path: Path) -> list[object]:
        speaker = Lip2Speech(VCAGAN(VCAConfig.preset("tiny")), LipInput(size=48), device="cpu")
        return ["speak", path, "--model", speaker.save(tmp_path / "model"), "--out", tmp_path / "out.wav"]

    def recipe_overrides(self, recipe: str, corpus: Path, out: Path) -> list[str]:
        """Published recipes run with the smallest network, on the store instead of their corpus."""
        store = corpus.parent / "store"
        prepare(corpus / "manifest.csv", store, workers=1)  # what is there is kept
        return [
            f"model={recipe.split('_')[0]}_tiny",
            "data=store",
            f"data.data={store}",
            "data.size=48",
            "data.window_size=20",
            "data.max_timesteps=100",
            "data.batch_size=4",
            "data.workers=0",
            "trainer=cpu",
            "trainer.max_steps=3",
            "trainer.progress=false",
            f"checkpoint_dir={out / recipe}",
        ]


@pytest.mark.parametrize("name", ["Lip2Speech", "Synthesis", "VCAConfig", "MultitaskModel"])
def test_public_names(name: str) -> None:
    import viseme.lip2speech

    assert name in viseme.lip2speech.__all__
    assert getattr(viseme.lip2speech, name).__module__.startswith("viseme.lip2speech.")


def test_smoke() -> None:
    from viseme.lip2speech.smoke import smoke

    smoke()
