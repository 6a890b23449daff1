"""Confidence intervals by resampling clips: M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in
ASR performance evaluation", ICASSP 2004.

C clips, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from viseme.core.errors import DataError

__all__ = ["PairedComparison", "bootstrap_interval", "paired_bootstrap"]

_CHUNK = 2_000_000  # clip draws at a time: bounds the memory, not the result


@dataclass(frozen=True)
class PairedComparison:
    """System A against system B on the same clips.

    Attributes:
        difference: rate of A minus rate of B (negative: A is better).
        low, high: its interval.
        probability_better: share of the resamples in which A has fewer errors than B (ties count half).
    """

    difference: float
    low: float
    high: float
    probability_better: float


def bootstrap_interval(
    errors: Sequence[float],
    lengths: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of sum(errors) / sum(lengths) under resampling of clips with replacement.

    Args:
        errors: (C,) errors of each clip.
        lengths: (C,) words (or whatever the rate divides by) of each clip; resamples of no length are drawn out.
        confidence: share of the resamples inside.
        resamples: R.
        seed: of the draws.

    Returns:
        (low, high), as rates.

    Raises:
        DataError: no clips, arrays that do not pair up, or nothing to divide by.
    """
    rates = _resample([errors], lengths, resamples, seed)[0]
    low, high = np.quantile(rates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_bootstrap(
    errors_a: Sequence[float],
    errors_b: Sequence[float],
    lengths: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Two systems on the same clips, with the same resamples for both. Arguments and errors as
    `bootstrap_interval`."""
    rates_a, rates_b = _resample([errors_a, errors_b], lengths, resamples, seed)
    differences = rates_a - rates_b
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    better = float(np.mean(differences < 0) + np.mean(differences == 0) / 2)
    observed = (np.sum(errors_a) - np.sum(errors_b)) / np.sum(lengths)
    return PairedComparison(float(observed), float(low), float(high), better)


def _resample(systems: Sequence[Sequence[float]], lengths: Sequence[float], resamples: int, seed: int) -> np.ndarray:
    """Rates of each system in each resample: (systems, R)."""
    clips = len(lengths)
    if any(len(errors) != clips for errors in systems):
        raise DataError("errors and lengths must pair up", expected=clips, got=[len(errors) for errors in systems])
    values = np.asarray([*systems, lengths], dtype=float)
    if not clips or values[-1].sum() <= 0:
        raise DataError("a bootstrap needs clips with references", got=f"{clips} clips")
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // clips)
    sums = []
    for start in range(0, resamples, chunk):
        drawn = generator.integers(clips, size=(min(chunk, resamples - start), clips))
        sums.append(values[:, drawn].sum(axis=2))
    totals = np.concatenate(sums, axis=1)
    totals = totals[:, totals[-1] > 0]
    return totals[:-1] / totals[-1]
