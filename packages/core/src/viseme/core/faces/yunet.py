"""YuNet face detection through OpenCV (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023)."""

from __future__ import annotations

from importlib.resources import as_file, files

import cv2
import numpy as np

from viseme.core.faces.types import Face

__all__ = ["YuNet"]


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
        self.max_side, self.wide_side = max_side, wide_side

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """Faces in `frame` (H, W, 3) uint8 RGB, largest first."""
        found = self._detect(frame, self.max_side)
        if not found and self.wide_side is not None and self.max_side < min(self.wide_side, max(frame.shape[:2])):
            found = self._detect(frame, self.wide_side)
        return sorted(found, key=lambda face: -float(np.prod(face.box_xyxy[2:] - face.box_xyxy[:2])))

    def _detect(self, frame: np.ndarray, side: int) -> list[Face]:
        height, width = frame.shape[:2]
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        # Every second pixel first: for large frames a third of the time of scaling at once, and the network cannot
        # tell.
        step = max(1, int(0.5 / scale))
        small = cv2.resize(frame[::step, ::step], size, interpolation=cv2.INTER_LINEAR) if scale < 1 else frame
        self._net.setInputSize(size)
        rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        back = np.array([width / size[0], height / size[1]], dtype=np.float32)
        return [] if rows is None else [_face(row, back) for row in rows]


def _face(row: np.ndarray, back: np.ndarray) -> Face:
    corner, extent = row[:2] * back, row[2:4] * back
    return Face(
        box_xyxy=np.concatenate([corner, corner + extent]).astype(np.float32),
        score=float(row[14]),
        points=(row[4:14].reshape(5, 2) * back).astype(np.float32),
    )
