"""What im2speech's tests share: scenes with units, and a tiny captioner with a tiny voice trained on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.core.testing.commands import run_command
from viseme.im2speech.cli import app


def run(*words: object) -> str:
    outcome = run_command(app, words)
    assert outcome.code == 0, outcome.err
    return outcome.out


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty captioned pictures with `units.txt` of twenty cepstral units."""
    pytest.importorskip("espeakng_loader", reason="scenes are spoken by espeak-ng (viseme-core[synthetic])")
    from viseme.core.synthetic.scenes import make_scenes

    root = tmp_path_factory.mktemp("scenes") / "corpus"
    make_scenes(root, 40, seed=3, size_px=48)
    options = [f"data.root_dir={root}", f"exp_dir={root.parent / 'exp'}", "units.clusters=20", "units.share=1.0"]
    run("train", "recipe=demo_units", *options)
    run("units", root / "manifest.csv", "--model", units_dir(root), "--out", root / "units.txt", "--device", "cpu")
    return root


def units_dir(scenes: Path) -> Path:
    return scenes.parent / "exp" / "demo_units" / "model"


@pytest.fixture(scope="session")
def voice_dir(scenes: Path) -> Path:
    """A tiny vocoder, too little trained to be understood."""
    exp = scenes.parent / "exp"
    options = [f"data.root_dir={scenes}", f"exp_dir={exp}", "units.clusters=20", "trainer.progress=false"]
    run("train", "recipe=tiny_vocoder", *options)
    return exp / "tiny_vocoder" / "model"


@pytest.fixture(scope="session")
def model_dir(scenes: Path, voice_dir: Path) -> Path:
    """A tiny captioner with that voice; too little trained to be right about anything."""
    exp = scenes.parent / "exp"
    options = [f"data.root_dir={scenes}", f"exp_dir={exp}", f"vocoder_path={voice_dir}", "trainer.progress=false"]
    run("train", "recipe=tiny", *options)
    return exp / "tiny" / "model"
