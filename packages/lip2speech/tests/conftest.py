"""What lip2speech's tests share: a prepared store of the embedded corpus, and tiny models of both systems."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from viseme.core.prepare import prepare
from viseme.core.text import WordUnits
from viseme.lip2speech.lips import LipInput
from viseme.lip2speech.models import VCAGAN, MultitaskConfig, MultitaskModel, VCAConfig
from viseme.lip2speech.pipeline import Lip2Speech


@pytest.fixture(scope="session")
def store(embedded_corpus: Path) -> Path:
    """The embedded corpus, prepared (beside it, so that every test of the session can reuse it)."""
    folder = embedded_corpus.parent / "store"
    prepare(embedded_corpus / "manifest.csv", folder, workers=1)
    return folder


@pytest.fixture(scope="session")
def clip(embedded_corpus: Path) -> Path:
    """A talking face."""
    return sorted(embedded_corpus.rglob("*.mp4"))[0]


@pytest.fixture(scope="session")
def vca_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    speaker = Lip2Speech(VCAGAN(VCAConfig.preset("tiny")), LipInput(size=48), iterations=4, device="cpu")
    return speaker.save(tmp_path_factory.mktemp("vca") / "model")


@pytest.fixture(scope="session")
def multitask_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with no voice of its own."""
    torch.manual_seed(0)
    units = WordUnits.from_texts(["a b"])
    model = MultitaskModel(MultitaskConfig.preset("tiny", vocabulary=units.size))
    speaker = Lip2Speech(model, LipInput(size=48), tokenizer=units, iterations=4, device="cpu")
    return speaker.save(tmp_path_factory.mktemp("multitask") / "model")
