"""Small measures of this package: separation of pairs, seams, mouths.

N values, T frames.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from viseme.core.errors import DataError

__all__ = ["correlation", "roc_auc"]


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores higher than a negative (ties count half).

    Raises:
        DataError: only positives, or only negatives.
    """
    positive = np.asarray(positive, bool)
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses:
        raise DataError("positives and negatives are needed", got=f"{hits} and {misses}")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 where either is constant."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0
