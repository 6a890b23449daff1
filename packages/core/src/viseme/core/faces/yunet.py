"""YuNet face detection through OpenCV (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023)."""

from __future__ import annotations

import threading
from importlib.resources import as_file, files

import cv2
import numpy as np

from viseme.core.faces.types import Face
from viseme.core.media import Frame, shrink

__all__ = ["YuNet"]

_COARSE_FACE_PX = 32
_COARSEST = 0.4


class YuNet:
    """Finds faces of about 10 to 300 pixels in the frame scaled to `max_side` pixels on its longer side.

    Args:
        max_side: longer side in pixels that frames are scaled down to (never up); more finds smaller faces and costs in
            proportion to the area.
        threshold: lowest score that counts as a face.
        wide_side: where `max_side` shows no face at all, the frame is looked at again at this size (a group
            photograph's faces vanish at 320 pixels); None: never.
    """

    def __init__(self, max_side: int = 320, *, threshold: float = 0.6, wide_side: int | None = 640) -> None:
        with as_file(files("viseme.core.faces") / "weights" / "yunet_2023mar.onnx") as weights:
            self._net = cv2.FaceDetectorYN.create(str(weights), "", (max_side, max_side), threshold, 0.3, 200)
        self._one_at_a_time = threading.Lock()  # the network keeps its input; threads would mix theirs
        self.max_side, self.wide_side = max_side, wide_side

    def __call__(self, frame: Frame) -> list[Face]:
        """Faces in `frame` (H, W, 3) uint8 RGB, largest first."""
        found = self._detect(frame, self.max_side)
        if not found and self.wide_side is not None and self.max_side < min(self.wide_side, max(frame.shape[:2])):
            found = self._detect(frame, self.wide_side)
        return _largest_first(found)

    def coarsely(self, frame: Frame, smallest_px: float) -> list[Face]:
        """Faces of at least `smallest_px` pixels in height, largest first: the frame is scaled down until such a face
        is 32 pixels high, to two fifths of `max_side` at most."""
        side = max(frame.shape[:2]) * _COARSE_FACE_PX / smallest_px
        return _largest_first(self._detect(frame, int(np.clip(side, _COARSEST * self.max_side, self.max_side))))

    def _detect(self, frame: Frame, side: int) -> list[Face]:
        height, width = frame.shape[:2]
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.cvtColor(shrink(frame, size), cv2.COLOR_RGB2BGR)
        with self._one_at_a_time:
            self._net.setInputSize(size)
            rows = self._net.detect(small)[1]
        back = np.array([width / size[0], height / size[1]], dtype=np.float32)
        return [] if rows is None else [_face(row, back) for row in rows]


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: -float(np.prod(face.box_xyxy[2:] - face.box_xyxy[:2])))


def _face(row: np.ndarray, back: np.ndarray) -> Face:
    corner, extent = row[:2] * back, row[2:4] * back
    return Face(
        box_xyxy=np.concatenate([corner, corner + extent]).astype(np.float32),
        score=float(row[14]),
        points=(row[4:14].reshape(5, 2) * back).astype(np.float32),
    )
