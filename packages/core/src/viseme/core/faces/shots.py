"""Is this frame the same shot as that one? Thumbnails, compared.

H, W of a frame.
"""

from __future__ import annotations

import numpy as np

from viseme.core.media import Frame

__all__ = ["same_shot", "still_there", "thumbnail"]

_SIDE = 32
_CUT = 25.0
"""Mean difference in grey levels over a thumbnail from which two frames count as different shots. Talking heads reach 3
to 8 from frame to frame, a fast pan about 15."""
_FACE_CUT = 12.0
"""The same over a face's own box: where the picture changes and the face does not, someone else stepped into view."""


def thumbnail(frame: Frame) -> np.ndarray:
    """A coarse sampling of `frame`, about 32 pixels on its shorter side, as int16."""
    step = _step(frame)
    first = step // 2
    sampled = frame[first::step, first::step] if isinstance(frame, np.ndarray) else frame.sampled(step, first)
    return sampled.astype(np.int16)


def same_shot(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two thumbnails of one video look like the same shot."""
    return float(np.abs(a - b).mean()) < _CUT


def still_there(a: np.ndarray, b: np.ndarray, box_xyxy: np.ndarray, frame: Frame, *, cut: bool = True) -> bool:
    """Whether two thumbnails agree inside a box of `frame`; in one shot (`cut` False) more may change there."""
    left, top, right, bottom = (np.round(box_xyxy / _step(frame)).astype(int)).clip(0)
    inside = np.abs(a - b)[top : max(bottom, top + 1), left : max(right, left + 1)]
    return inside.size > 0 and float(inside.mean()) < (_FACE_CUT if cut else _CUT)


def _step(frame: Frame) -> int:
    return max(1, min(frame.shape[:2]) // _SIDE)
