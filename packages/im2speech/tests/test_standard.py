"""The standard tests of a task package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.testing.standard import StandardTests
from viseme.im2speech.cli import app
from viseme.im2speech.model import Captioner, CaptionerConfig
from viseme.im2speech.pipeline import Im2Speech

TINY = {"units": 20, "image_size": 32, "patch_size": 8, "vision_dim": 32, "vision_layers": 1, "vision_heads": 2}
TINY |= {"vision_mlp_dim": 64, "dim": 32, "layers": 1, "heads": 2, "mlp_dim": 64, "max_tokens": 64}


class TestStandard(StandardTests):
    app = app
    module = "viseme.im2speech"
    golden = Path(__file__).with_name("surface.yaml")

    def file_command(self, path: Path, tmp_path: Path) -> list[object]:
        torch.manual_seed(0)
        model = Im2Speech(Captioner(CaptionerConfig(**TINY)), device="cpu").save(tmp_path / "model")
        return ["describe", path, "--units", "--model", model]

    @pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated"])
    def test_bad_file(self, kind: str, tmp_path: Path) -> None:
        """As everywhere, but a folder is a valid input here: an empty one is tested with the pictures."""
        path = tmp_path / "a picture, ünïcode.png"
        if kind == "truncated":
            path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20\0\0\0\x20\x08\x02\0\0\0")
        elif kind != "missing":
            path.write_bytes(b"" if kind == "empty" else b"this is not a picture\n" * 40)
        check_user_error(self.app, self.file_command(path, tmp_path), path.name)

    @pytest.mark.heavy
    def test_recipe_runs_a_few_steps(self, recipe: str, scenes: Path, tmp_path: Path) -> None:  # type: ignore[override]
        """Every recipe on the scenes, at a tiny geometry."""
        outcome = run_command(self.app, ["train", f"recipe={recipe}", *self.overrides(recipe, scenes, tmp_path)])
        assert outcome.code == 0, outcome.err
        if "units" in recipe:
            assert list(tmp_path.rglob("model.safetensors"))
        else:
            assert list(tmp_path.rglob("last.ckpt")), "the run left no checkpoint"

    @staticmethod
    def overrides(recipe: str, scenes: Path, out: Path) -> list[str]:
        common = [f"data.root_dir={scenes}", f"exp_dir={out}", "data=manifest"]
        if "units" in recipe:
            return [*common, "units=cepstra", "units.clusters=20", "units.share=1.0"]
        common += ["trainer=cpu", "trainer.max_steps=3", "trainer.progress=false", "data.num_workers=0"]
        if "vocoder" in recipe:
            return [*common, "vocoder=tiny", "trainer.gradient_clip_val=null"]
        model = "tiny_codes" if "unit" in recipe else "tiny"
        return [*common, f"model={model}", "data.batch_size=4", "optim.warmup_steps=1", "search.max_tokens=40"]


@pytest.mark.parametrize("name", ["Im2Speech", "Synthesis", "Captioner", "UnitExtractor", "GenerationConfig"])
def test_public_names(name: str) -> None:
    import viseme.im2speech

    assert name in viseme.im2speech.__all__
    assert getattr(viseme.im2speech, name).__module__.startswith("viseme.im2speech.")
