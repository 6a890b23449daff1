"""The Frechet distance between two sets of features: FID, where the features are Inception-v3's.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (NeurIPS 2017). N samples, D features.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from viseme.core.errors import DataError

__all__ = ["frechet_distance"]


def frechet_distance(first_ND: np.ndarray, second_ND: np.ndarray, eps: float = 1e-6) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with sample covariances.

    Args:
        first_ND, second_ND: samples in rows; at least two each.
        eps: added to both diagonals where the product of the covariances has no finite root.

    Raises:
        DataError: too few samples, or another number of features.
    """
    if min(len(first_ND), len(second_ND)) < 2 or first_ND.shape[1] != second_ND.shape[1]:
        raise DataError("two samples or more of the same features are needed", got=(first_ND.shape, second_ND.shape))
    first, second = first_ND.astype(np.float64), second_ND.astype(np.float64)
    difference = first.mean(0) - second.mean(0)
    covariance_1, covariance_2 = np.atleast_2d(np.cov(first, rowvar=False)), np.atleast_2d(np.cov(second, rowvar=False))
    root = linalg.sqrtm(covariance_1 @ covariance_2)
    if not np.isfinite(root).all():
        offset = eps * np.eye(len(covariance_1))
        root = linalg.sqrtm((covariance_1 + offset) @ (covariance_2 + offset))
    trace = np.trace(covariance_1) + np.trace(covariance_2) - 2 * np.trace(root.real)
    return float(difference @ difference + trace)
