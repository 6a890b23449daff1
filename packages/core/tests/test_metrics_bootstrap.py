"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from viseme.core.errors import DataError
from viseme.core.metrics import bootstrap_interval, paired_bootstrap


def test_covers_the_truth_as_often_as_it_says() -> None:
    """Clips of 10 words with an error rate of 0.2: a 90 % interval must hold it in about 90 % of experiments."""
    draw = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        errors = draw.binomial(10, 0.2, size=60)
        low, high = bootstrap_interval(errors, np.full(60, 10), confidence=0.9, resamples=500, seed=seed)
        held += low <= 0.2 <= high
    assert 0.84 < held / 300 < 0.95


def test_is_seeded_and_brackets_the_rate() -> None:
    errors, lengths = [0, 1, 2, 0, 5, 1] * 20, [5, 6, 7, 8, 9, 4] * 20
    low, high = bootstrap_interval(errors, lengths, seed=1)
    assert (low, high) == bootstrap_interval(errors, lengths, seed=1)
    assert (low, high) != bootstrap_interval(errors, lengths, seed=2)
    assert low < sum(errors) / sum(lengths) < high


def test_one_clip_and_no_errors() -> None:
    assert bootstrap_interval([2], [4]) == (0.5, 0.5)
    assert bootstrap_interval([0, 0, 0], [4, 4, 4]) == (0.0, 0.0)


def test_clips_without_words_do_no_harm() -> None:
    low, high = bootstrap_interval([1, 0], [2, 0], resamples=200)
    assert np.isfinite([low, high]).all()


def test_large_sets_come_in_chunks() -> None:
    errors = np.random.default_rng(0).integers(0, 3, 30_000)
    low, high = bootstrap_interval(errors, np.full(30_000, 10), resamples=300)
    assert high - low < 0.004 and low < 0.1 < high + 0.002


def test_pairing_sees_what_two_intervals_do_not() -> None:
    draw = np.random.default_rng(3)
    lengths = np.full(200, 10)
    hard = draw.integers(0, 8, size=200)  # clips differ far more than the systems do
    slightly_worse = hard + (draw.random(200) < 0.3)
    result = paired_bootstrap(hard, slightly_worse, lengths)
    assert result.low < result.difference < result.high < 0
    assert result.probability_better > 0.99
    alone_a, alone_b = bootstrap_interval(hard, lengths), bootstrap_interval(slightly_worse, lengths)
    assert alone_a[1] > alone_b[0]
    equal = paired_bootstrap(hard, hard, lengths)
    assert (equal.difference, equal.probability_better) == (0.0, 0.5)


@pytest.mark.parametrize("errors, lengths", [([], []), ([1], [0]), ([1, 2], [3])])
def test_errors(errors: list[int], lengths: list[int]) -> None:
    with pytest.raises(DataError):
        bootstrap_interval(errors, lengths)
