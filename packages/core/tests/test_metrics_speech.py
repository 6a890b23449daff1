"""Intelligibility and quality of speech: order, conventions, and what cannot be scored."""

from __future__ import annotations

import numpy as np
import pytest

from viseme.core.errors import ConfigError, DataError
from viseme.core.metrics import PESQ_CONVENTIONS, estoi, pesq, speech_scores, stoi

pytest.importorskip("pystoi")
pytest.importorskip("pesq")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Two seconds of a buzz under syllables, at 16 kHz."""
    t = np.arange(32000) / 16000
    rng = np.random.default_rng(0)
    buzz = sum(np.sin(2 * np.pi * 130 * k * t + rng.uniform(0, 6)) / k for k in range(1, 30))
    return (0.1 * buzz * np.clip(np.sin(2 * np.pi * 2.3 * t), 0, 1)).astype(np.float32)


def test_more_noise_scores_worse(speech: np.ndarray) -> None:
    noise = np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    scores = [speech_scores(speech, speech + level * noise) for level in (0.0, 0.01, 0.1)]
    for name in ("stoi", "estoi", "pesq"):
        values = [getattr(score, name) for score in scores]
        assert values == sorted(values, reverse=True)
    assert scores[0].stoi == pytest.approx(1) and scores[0].pesq > 4


def test_conventions_differ(speech: np.ndarray) -> None:
    noisy = speech + 0.02 * np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    values = [pesq(speech, noisy, convention) for convention in PESQ_CONVENTIONS]
    assert len(set(values)) == len(values)
    assert abs(values[0] - values[1]) < 0.05
    with pytest.raises(ConfigError, match="nb_8k_soxr_hq"):
        pesq(speech, noisy, "nb")  # type: ignore[arg-type]


def test_cut_to_the_shorter(speech: np.ndarray) -> None:
    assert speech_scores(speech, speech[:-321]).stoi == pytest.approx(1)


def test_what_cannot_be_scored(speech: np.ndarray) -> None:
    for score in (stoi, estoi):
        with pytest.raises(DataError, match="too little sound"):
            score(speech[:2000], speech[:2000])
        with pytest.raises(DataError, match="one length"):
            score(speech, speech[:-1])
        with pytest.raises(DataError, match="not finite"):
            score(speech, np.full_like(speech, np.nan))
    with pytest.raises(DataError, match="PESQ"):
        pesq(np.zeros(16000, np.float32), np.zeros(16000, np.float32))
    assert speech_scores(speech, np.zeros_like(speech)).pesq is None
