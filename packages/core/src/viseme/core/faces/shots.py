"""Is this frame the same shot as that one? Thumbnails, compared."""

from __future__ import annotations

import numpy as np

__all__ = ["same_shot", "still_there", "thumbnail"]

_SIDE = 32
_CUT = 25.0
"""Mean difference in grey levels over a thumbnail from which two frames count as different shots. Talking heads reach 3
to 8 from frame to frame, a fast pan about 15."""
_FACE_CUT = 12.0
"""The same over a face's own box: where the picture changes and the face does not, someone else stepped into view."""


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """A coarse sampling of `frame`, about 32 pixels on its shorter side, as int16."""
    step = _step(frame)
    return frame[step // 2 :: step, step // 2 :: step].astype(np.int16)


def same_shot(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two thumbnails of one video look like the same shot."""
    return float(np.abs(a - b).mean()) < _CUT


def still_there(a: np.ndarray, b: np.ndarray, box_xyxy: np.ndarray, frame: np.ndarray) -> bool:
    """Whether two thumbnails agree inside a box of `frame`."""
    left, top, right, bottom = (np.round(box_xyxy / _step(frame)).astype(int)).clip(0)
    inside = np.abs(a - b)[top : max(bottom, top + 1), left : max(right, left + 1)]
    return inside.size > 0 and float(inside.mean()) < _FACE_CUT


def _step(frame: np.ndarray) -> int:
    return max(1, min(frame.shape[:2]) // _SIDE)
