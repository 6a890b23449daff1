"""Landmarks over time: gaps filled, jitter smoothed. One entry per frame; (N, 2) arrays or None where nothing was
found.

T frames, N points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from viseme.core.errors import FaceError

__all__ = ["SMOOTHING_WINDOW", "find_gaps", "interpolate_landmarks", "smooth_landmarks"]

SMOOTHING_WINDOW = 12
"""Frames of the published smoothing window (six to each side)."""


def find_gaps(landmarks: Sequence[np.ndarray | None]) -> list[tuple[int, int]]:
    """Runs of frames without landmarks as `(start, stop)`, stop excluded."""
    edges = np.flatnonzero(np.diff([False, *(entry is None for entry in landmarks), False]))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def interpolate_landmarks(landmarks: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Fills gaps linearly between their neighbours in time; before the first and after the last, copies.

    Returns:
        float64 arrays (N, 2), one per frame. The list that was given stays as it is.

    Raises:
        FaceError: there is no frame with landmarks, or their number changes.
    """
    known = [index for index, entry in enumerate(landmarks) if entry is not None]
    if not known:
        raise FaceError("no face in any frame", got=f"{len(landmarks)} frames without landmarks")
    filled = [None if entry is None else np.asarray(entry, dtype=np.float64) for entry in landmarks]
    shapes = {entry.shape for entry in filled if entry is not None}
    if len(shapes) != 1:
        raise FaceError("landmarks change shape between frames", expected="(points, 2) throughout", got=sorted(shapes))
    first, last = filled[known[0]], filled[known[-1]]
    assert first is not None and last is not None
    for start, stop in find_gaps(landmarks):
        before, after = (filled[start - 1] if start else first), (filled[stop] if stop < len(filled) else last)
        assert before is not None and after is not None
        if start == 0:
            before = after
        if stop == len(filled):
            after = before
        step = (after - before) / (stop - start + 1)
        for index in range(start, stop):
            filled[index] = before + step * (index - start + 1)
    return [entry for entry in filled if entry is not None]


def smooth_landmarks(landmarks: Sequence[np.ndarray], window: int = SMOOTHING_WINDOW) -> np.ndarray:
    """Mean shape over a window, at each frame's own place: (T, N, 2) float64.

    At frame t with h = min(window // 2, t, T-1-t): mean of frames t-h .. t+h, moved so that its centroid is that of
    frame t. Shape jitter goes, head motion stays. (The published smoothing of both mouth crops.)
    """
    points = np.asarray(landmarks, dtype=np.float64)
    total = len(points)
    sums = np.concatenate([np.zeros((1, *points.shape[1:])), points.cumsum(0)])
    t = np.arange(total)
    h = np.minimum(np.minimum(window // 2, t), total - 1 - t)
    mean = (sums[t + h + 1] - sums[t - h]) / (2 * h + 1)[:, None, None]
    return mean + (points.mean(1) - mean.mean(1))[:, None]
