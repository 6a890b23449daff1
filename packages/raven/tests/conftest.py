"""What raven's tests share: a prepared store of the embedded corpus, a pre-trained pair, a recogniser trained on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from viseme.core.prepare import prepare
from viseme.core.testing.commands import run_command
from viseme.raven.cli import app


def _command(verb: str, recipe: str, store: Path, out: Path, *more: str) -> list[str]:
    return [verb, f"recipe={recipe}", f"data.root_dir={store}", f"exp_dir={out}", "trainer.progress=false", *more]


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    """`command(verb, recipe, store, out, *overrides)`: a command line, quiet, results below `out`."""
    return _command


@pytest.fixture(scope="session")
def store(embedded_corpus: Path) -> Path:
    """The embedded corpus, prepared (beside it, so that every test of the session can reuse it)."""
    folder = embedded_corpus.parent / "store"
    prepare(embedded_corpus / "manifest.csv", folder, workers=1)
    return folder


@pytest.fixture(scope="session")
def pretrained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a tiny pre-training with a probe, two epochs."""
    out = tmp_path_factory.mktemp("raven")
    outcome = run_command(app, _command("pretrain", "tiny_pretrain", store, out))
    assert outcome.code == 0, outcome.err
    return out / "tiny_pretrain"


@pytest.fixture(scope="session")
def model_dir(store: Path, pretrained: Path) -> Path:
    """A tiny lip reader fine-tuned from it; too little trained to be right about anything."""
    more = [f"pretrained_model_path={pretrained / 'video'}"]
    outcome = run_command(app, _command("train", "tiny", store, pretrained.parent, *more))
    assert outcome.code == 0, outcome.err
    return pretrained.parent / "tiny" / "model"
