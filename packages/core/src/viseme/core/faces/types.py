"""What a detector finds and what it must be able to do.

Boxes are (4,) x1, y1, x2, y2 in pixels; H, W of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from viseme.core.media import Frame

__all__ = ["CoarseDetector", "Face", "FaceDetector", "iou"]


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face.

    Attributes:
        box_xyxy: (4,) float32, left, top, right, bottom in pixels of the frame (may reach outside it).
        score: confidence in [0, 1].
        points: (5, 2) float32, right eye, left eye, nose tip, right and left mouth corner (the person's right).
    """

    box_xyxy: np.ndarray
    score: float
    points: np.ndarray


class FaceDetector(Protocol):
    """Anything that finds faces in one RGB frame (H, W, 3) uint8; the largest face comes first."""

    def __call__(self, frame: np.ndarray) -> list[Face]: ...


@runtime_checkable
class CoarseDetector(Protocol):
    """A detector that can look faster where small faces do not matter, and that takes `Picture`s as well."""

    def __call__(self, frame: Frame) -> list[Face]: ...

    def coarsely(self, frame: Frame, smallest_px: float) -> list[Face]:
        """Faces of `smallest_px` pixels and more; smaller ones may be missed."""
        ...


def iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    width = min(a_xyxy[2], b_xyxy[2]) - max(a_xyxy[0], b_xyxy[0])
    height = min(a_xyxy[3], b_xyxy[3]) - max(a_xyxy[1], b_xyxy[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area = (a_xyxy[2] - a_xyxy[0]) * (a_xyxy[3] - a_xyxy[1]) + (b_xyxy[2] - b_xyxy[0]) * (b_xyxy[3] - b_xyxy[1])
    return float(shared / (area - shared))
