"""How far a face has moved from one frame to the next: sparse optical flow (Lucas and Kanade 1981; Bouguet's pyramids).

A twelfth of the time of landmarks, and enough to carry them over a few frames.
"""

from __future__ import annotations

import cv2
import numpy as np

from viseme.core.media import Frame

__all__ = ["FaceFlow"]

_FOLLOWED = (33, 133, 362, 263, 4, 1, 61, 291, 13, 14, 9, 168, 152)
"""FaceMesh points with texture around them: corners of the eyes, nose, lips, brow and chin."""
_FACE_PX = 96
"""Faces of several times this height are scaled down by a whole number; larger ones take longer and tell no more."""
_WINDOW_PX = 15


class FaceFlow:
    """Follows one face from the frame where its landmarks (468, 2) are known.

    `moved(frame)` takes the next frame and returns the face's displacement since the first, (2,) float64 in pixels of
    the frame; the displacement so far where the face cannot be followed.
    """

    def __init__(self, frame: Frame, landmarks: np.ndarray) -> None:
        low, high = landmarks.min(0), landmarks.max(0)
        margin = (high - low).max() / 4
        # beyond the frame there is nothing: the window is cut there
        self._low = np.floor(low - margin).astype(int).clip(0)
        self._high = np.ceil(high + margin).astype(int).clip(self._low + 1)
        self._step = max(1, int((high[1] - low[1]) / _FACE_PX))
        self._last = self._window(frame)
        self._points = ((landmarks[list(_FOLLOWED)] - self._low) / self._step).astype(np.float32)[:, None]
        self._total = np.zeros(2)

    def moved(self, frame: Frame) -> np.ndarray:
        """See the class."""
        window, before = self._window(frame), self._last
        self._last = window
        if window.size and window.shape == before.shape and len(self._points):
            points, found = cv2.calcOpticalFlowPyrLK(
                before, window, self._points, self._points.copy(), winSize=(_WINDOW_PX, _WINDOW_PX), maxLevel=1
            )[:2]
            kept = found[:, 0] == 1
            if kept.sum() > len(_FOLLOWED) // 2:
                self._total = self._total + np.median((points - self._points)[kept, 0], axis=0) * self._step
                self._points = points[kept]
        return self._total

    def _window(self, frame: Frame) -> np.ndarray:
        (left, top), (right, bottom) = self._low, self._high
        if isinstance(frame, np.ndarray):
            grey = cv2.cvtColor(np.ascontiguousarray(frame[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
        else:
            grey = frame.luma[top:bottom, left:right]
        height, width = grey.shape[0] // self._step, grey.shape[1] // self._step
        if self._step > 1 and height and width:
            whole = grey[: height * self._step, : width * self._step]
            grey = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        return grey
