"""Face boxes over time from landmarks: where the network looks, steady and without lag.

A box is x1, y1, x2, y2 in float pixels. T frames, L landmarks kept per frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from viseme.core import faces
from viseme.core.faces import MESH_68, FaceTrack, find_gaps, smooth_path

__all__ = ["FacePath", "JAW", "box_jitter", "face_path", "keep_points", "mesh_box", "smooth_path"]

# The contour among the 68 points that are kept of every frame's mesh.
JAW = slice(0, 17)
_POINTS = np.array(MESH_68)


def keep_points(mesh: np.ndarray) -> np.ndarray:
    """What is kept of a frame's landmarks (468, 2): the 68 points and the corners of the mesh, (70, 2) float32."""
    corners = np.stack((mesh[:, :2].min(0), mesh[:, :2].max(0)))
    return np.concatenate((mesh[_POINTS, :2], corners)).astype(np.float32)


def mesh_box(points: np.ndarray) -> np.ndarray:
    """The face box of kept points (70, 2): the mesh's bounding box and a little below the chin."""
    return faces.mesh_box(points[-2:])


@dataclass(frozen=True, eq=False)
class FacePath:
    """One face through a clip.

    Attributes:
        boxes: (T, 4) float64; rows where `seen` is False mean nothing.
        points: (T, 68, 2) float32 landmarks, likewise.
        seen: (T,) bool: the face is there, or was lost only for a moment.
    """

    boxes: np.ndarray
    points: np.ndarray
    seen: np.ndarray


def face_path(
    track: FaceTrack, total: int, *, window: int = 7, max_gap: int = 12, cuts: Sequence[int] = ()
) -> FacePath:
    """Boxes and landmarks of a track for each of `total` frames.

    Gaps of at most `max_gap` frames inside a shot are interpolated; longer ones stay unseen. Boxes are smoothed inside
    each run of seen frames, never across a cut. Landmarks are not: they place the mask, and must follow the mouth.

    Args:
        track: of a `FaceTracker` with `points=keep_points`.
        window: frames of the smoothing; 0 for none.
        cuts: frames with which a new shot begins.
    """
    raw = track.per_frame(total)
    points = np.zeros((total, 70, 2), np.float32)
    seen = np.zeros(total, bool)
    for frame, entry in enumerate(raw):
        if entry is not None:
            points[frame], seen[frame] = entry, True
    for start, stop in find_gaps(raw):
        inside = start > 0 and stop < total
        if inside and stop - start <= max_gap and not any(start <= cut <= stop for cut in cuts):
            share = np.arange(1, stop - start + 1)[:, None, None] / (stop - start + 1)
            points[start:stop] = points[start - 1] + share * (points[stop] - points[start - 1])
            seen[start:stop] = True
    boxes = np.stack([mesh_box(entry) for entry in points]) if total else np.zeros((0, 4))
    for start, stop in _runs(seen, cuts):
        boxes[start:stop] = smooth_path(boxes[start:stop], window)
    return FacePath(boxes, points[:, :68], seen)


def _runs(seen: np.ndarray, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches of seen frames, split at cuts."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], seen, [False])))).reshape(-1, 2)
    runs = []
    for start, stop in edges:
        inner = [cut for cut in cuts if start < cut < stop]
        borders = [int(start), *inner, int(stop)]
        runs += list(itertools.pairwise(borders))
    return runs


def box_jitter(boxes_T4: np.ndarray) -> float:
    """Mean acceleration of box corners in pixels per frame squared: how much a box trembles."""
    if len(boxes_T4) < 3:
        return 0.0
    return float(np.abs(np.diff(np.asarray(boxes_T4, np.float64), n=2, axis=0)).mean())
