"""Face boxes from landmarks, steady and without lag. A box is x1, y1, x2, y2 in pixels. T frames."""

from __future__ import annotations

import numpy as np

__all__ = ["mesh_box", "smooth_path"]

_MARGIN = 0.04
"""Share of the mesh's height: boxes of the published detectors end a little below the chin."""


def mesh_box(corners: np.ndarray) -> np.ndarray:
    """The face box, (4,) float64, of the corners (2, 2) of a mesh's bounding box."""
    (x1, y1), (x2, y2) = corners
    return np.array([x1, y1, x2, y2 + _MARGIN * (y2 - y1)], np.float64)


def smooth_path(values: np.ndarray, window: int) -> np.ndarray:
    """A centred, weighted mean over `window` frames of (T, ...): no lag. The ends are mirrored through their values, so
    that steady motion is left as it is."""
    if window < 2 or len(values) < 3:
        return values
    half = min(window // 2, len(values) - 1)
    weights = (half + 1 - np.abs(np.arange(-half, half + 1))) / (half + 1) ** 2
    before = 2 * values[:1] - values[half:0:-1]
    after = 2 * values[-1:] - values[-2 : -2 - half : -1]
    padded = np.concatenate((before, values, after))
    return np.sum([weight * padded[k : k + len(values)] for k, weight in enumerate(weights)], axis=0)
