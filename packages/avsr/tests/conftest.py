"""What avsr's tests share: a prepared store of the embedded corpus, and a model trained on it for two epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.avsr.cli import app
from viseme.core.prepare import prepare
from viseme.core.testing.commands import run_command


@pytest.fixture(scope="session")
def store(embedded_corpus: Path) -> Path:
    """The embedded corpus, prepared (beside it, so that every test of the session can reuse it)."""
    folder = embedded_corpus.parent / "store"
    prepare(embedded_corpus / "manifest.csv", folder, workers=1)
    return folder


@pytest.fixture(scope="session")
def model_dir(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny audio-visual model that also reads from one modality; too little trained to be right about anything."""
    out = tmp_path_factory.mktemp("avsr")
    command = ["train", "recipe=tiny", f"data.root_dir={store}", f"exp_dir={out}", "trainer.progress=false"]
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    return out / "tiny" / "model"
