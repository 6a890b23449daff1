"""Sync scores: what shifts, silence and short clips do to them; Frechet distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from viseme.core.errors import DataError
from viseme.core.layers.syncnet import SyncNetV2
from viseme.core.metrics.frechet import frechet_distance
from viseme.core.metrics.sync import SyncNetScorer, mfcc, scored_windows, sync_score


def embeddings(windows: int = 60) -> torch.Tensor:
    return torch.randn(windows, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_offset_is_where_the_sound_fits(late: int) -> None:
    """`late` > 0: the sound that fits lies later than the picture; the published sign is the other way round."""
    lips = embeddings()
    score = sync_score(lips, torch.roll(lips, late, 0))
    assert score.offset == -late
    assert score.lse_d < 3 and score.lse_c > 3
    assert len(score.confidences) == 60 and len(score.distances) == 31


def test_unrelated_sound_has_no_confidence() -> None:
    lips, other = embeddings(), torch.randn(60, 32, generator=torch.Generator().manual_seed(1))
    assert sync_score(lips, other).lse_c < 0.25 * sync_score(lips, lips).lse_c


def test_windows_must_match() -> None:
    with pytest.raises(DataError, match="as many windows"):
        sync_score(embeddings(5), embeddings(6))
    with pytest.raises(DataError, match="as many windows"):
        sync_score(embeddings(0), embeddings(0))


def test_windows_of_a_clip() -> None:
    assert scored_windows(25, 16000) == 20
    assert scored_windows(100, 16000) == 20
    assert scored_windows(4, 16000) == scored_windows(25, 0) == 0


def test_mfcc_of_silence_and_of_next_to_nothing_are_finite() -> None:
    assert np.isfinite(mfcc(np.zeros(8000, np.int16))).all()
    assert mfcc(np.ones(10, np.int16)).shape == (13, 1)


def test_scorer_takes_any_picture_size_and_any_batch() -> None:
    torch.manual_seed(0)
    model = SyncNetV2()
    rng = np.random.default_rng(0)
    frames, samples = rng.integers(0, 255, (12, 40, 60, 3), dtype=np.uint8), rng.normal(0, 0.1, 8000).astype(np.float32)
    scores = [SyncNetScorer(model, batch=batch)(frames, samples, shift=3) for batch in (2, 20)]
    assert scores[0].lse_d == pytest.approx(scores[1].lse_d, rel=1e-4)
    with pytest.raises(DataError, match="too short"):
        SyncNetScorer(model)(frames[:4], samples)


def test_frechet_distance_of_gaussians() -> None:
    """Two clouds of unit covariance lie apart by the square of their centres' distance."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (4000, 3)), rng.normal(0, 1, (4000, 3)) + np.array([2, 0, 0])
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(4, abs=0.3)
    with pytest.raises(DataError, match="two samples"):
        frechet_distance(a[:1], b)
