"""Evaluation over several domains and with a language model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from viseme.avsr.evaluate import Condition, _Reader, evaluate, table
from viseme.avsr.pipeline import AVSR
from viseme.avsr.search import Search
from viseme.core.data import Manifest
from viseme.core.errors import ConfigError, DataError
from viseme.core.media import write_audio
from viseme.core.types import Audio

GREEDY = Search(greedy=True)


@pytest.fixture(scope="module")
def clips(store: Path) -> Manifest:
    """Test clips, half of them said to be of another corpus and language."""
    tested = Manifest.read(store / "manifest.csv").filter(split="test")
    rows = [replace(row, dataset="lrs2", language="de") if i % 2 else row for i, row in enumerate(tested)]
    return Manifest(rows, tested.root)


@pytest.fixture(scope="module")
def recogniser(model_dir: Path) -> AVSR:
    return AVSR.from_pretrained(model_dir, device="cpu")


def test_rows_by_domain(recogniser: AVSR, clips: Manifest) -> None:
    found = evaluate(recogniser, clips, [Condition("audio"), Condition("audio", "white", 0.0)], search=GREEDY)
    groups = [score.group for score in found.scores]
    assert groups == ["", "lrs2", "viseme-synthetic"] * 2 or len(set(groups)) == 3
    for start in (0, 3):
        whole, *parts = found.scores[start : start + 3]
        assert sum(part.clips for part in parts) == whole.clips == len(clips)
        errors = sum(part.wer * part.words for part in parts)
        assert errors / whole.words == pytest.approx(whole.wer)
    assert "  lrs2" in table(found.scores)
    assert {
        score.group for score in evaluate(recogniser, clips, [Condition("audio")], search=GREEDY, by="language").scores
    }
    assert len(evaluate(recogniser, clips, [Condition("audio")], search=GREEDY, by=None).scores) == 1


def test_unknown_column(recogniser: AVSR, clips: Manifest) -> None:
    with pytest.raises(ConfigError, match="no such column"):
        evaluate(recogniser, clips, [Condition("audio")], search=GREEDY, by="weather")


def test_empty_lists(recogniser: AVSR, clips: Manifest) -> None:
    with pytest.raises(DataError, match="nothing to test on"):
        evaluate(recogniser, Manifest([], clips.root), [Condition("audio")])
    silent = Manifest([replace(row, text="") for row in clips], clips.root)
    with pytest.raises(DataError, match="nothing to test on"):
        evaluate(recogniser, silent, [Condition("audio")])


def test_snr_zero_is_a_value_and_noise_may_be_shorter_than_speech(clips: Manifest, tmp_path: Path) -> None:
    write_audio(tmp_path / "hum.wav", Audio(np.sin(np.arange(800) / 5).astype(np.float32), 16000))
    clean, noisy = Condition("audio"), Condition("audio", str(tmp_path / "hum.wav"), 0.0)
    reader = _Reader(clips[:2], [clean, noisy], seed=0)
    speech, mixed = (reader.recording(0, each).samples for each in (clean, noisy))
    assert speech is not None and mixed is not None and len(speech) > 800
    noise = mixed.astype(np.float64) - speech
    assert 10 * np.log10(np.square(speech, dtype=np.float64).sum() / np.square(noise).sum()) == pytest.approx(
        0, abs=0.01
    )
    assert np.square(noise[-800:]).sum() > 0  # it goes on to the end
