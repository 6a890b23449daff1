"""What wav2lip's tests share: prepared crops of the embedded corpus, and networks trained on them for two epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.core.data import Manifest
from viseme.core.prepare import FOR, prepare
from viseme.core.testing.commands import run_command
from viseme.wav2lip.cli import app


@pytest.fixture(scope="session")
def crops(embedded_corpus: Path) -> Path:
    """The embedded corpus in the published layout (beside it, so that every test of the session can reuse it)."""
    folder = embedded_corpus.parent / "crops"
    prepare(embedded_corpus / "manifest.csv", folder, crops=FOR["wav2lip"], workers=1)
    return folder / "face"


@pytest.fixture(scope="session")
def talking(embedded_corpus: Path) -> Path:
    """A video with a face and sound."""
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    return manifest.file(manifest.filter(split="test")[0])


@pytest.fixture(scope="session")
def run_dir(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny expert and a tiny generator; too little trained to be right about anything."""
    out = tmp_path_factory.mktemp("wav2lip")
    common = ["recipe=tiny", f"data.root_dir={crops}", f"exp_dir={out}"]
    for verb, trainer in (("train-sync", "sync_trainer"), ("train", "trainer")):
        outcome = run_command(app, [verb, *common, f"{trainer}.progress=false"])
        assert outcome.code == 0, outcome.err
    return out / "tiny"


@pytest.fixture(scope="session")
def model_dir(run_dir: Path) -> Path:
    return run_dir / "generator" / "model"
