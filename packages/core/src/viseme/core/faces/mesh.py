"""FaceMesh: 468 landmarks of one face (Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on
Mobile GPUs", 2019; weights of MediaPipe, see the NOTICE)."""

from __future__ import annotations

import math
import threading
from importlib.resources import files

import cv2
import numpy as np

from viseme.core.faces.types import Face
from viseme.core.media import Frame, warp

__all__ = ["FaceMesh"]

INPUT_SIZE = 192
_OUTPUTS = ("conv2d_21", "conv2d_31")
MARGIN = 1.5
"""Side of the network's square over the longer side of the face."""


class FaceMesh:
    """Landmarks of the face that a detection, or the landmarks of a neighbouring frame, point at.

    `mesh(frame, face)` or `mesh(frame, landmarks)` returns `(landmarks, presence)`: (468, 2) float32 in pixels of the
    frame, and the probability that there is a face at all.
    """

    def __init__(self) -> None:
        weights = (files("viseme.core.faces") / "weights" / "face_mesh.onnx").read_bytes()
        self._net = cv2.dnn.readNetFromONNX(np.frombuffer(weights, np.uint8))
        self._one_at_a_time = threading.Lock()  # the network keeps its input; threads would mix theirs

    def __call__(self, frame: Frame, where: Face | np.ndarray) -> tuple[np.ndarray, float]:
        """See the class; `frame` (H, W, 3) uint8 RGB, or a `Picture`."""
        square = _square_of_face(where) if isinstance(where, Face) else _square_of_landmarks(where)
        to_frame = _square_to_frame(*square)
        crop = warp(frame, to_frame, (INPUT_SIZE, INPUT_SIZE), inverse=True)
        x = crop[None].astype(np.float32) / np.float32(255)
        with self._one_at_a_time:
            self._net.setInput(x)
            points, logit = self._net.forward(_OUTPUTS)
        landmarks = points.reshape(468, 3)[:, :2] @ to_frame[:, :2].T + to_frame[:, 2]
        return landmarks.astype(np.float32), 1 / (1 + math.exp(-float(logit.reshape(()))))


def _square_of_face(face: Face) -> tuple[np.ndarray, float, float]:
    """Centre, side and tilt of the network's square around a detected box."""
    box = face.box_xyxy.astype(np.float64)
    (dx, dy) = (face.points[1] - face.points[0]).astype(np.float64)
    return (box[:2] + box[2:]) / 2, MARGIN * float((box[2:] - box[:2]).max()), math.atan2(dy, dx)


def _square_of_landmarks(landmarks: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The same around known landmarks: the box is taken in the face's own upright frame."""
    points = landmarks[:, :2].astype(np.float64)
    dx, dy = points[263] - points[33]
    tilt = math.atan2(dy, dx)
    upright = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    turned = points @ upright.T
    low, high = turned.min(0), turned.max(0)
    return (low + high) / 2 @ upright, MARGIN * float((high - low).max()), tilt


def _square_to_frame(centre: np.ndarray, side: float, tilt: float) -> np.ndarray:
    """(2, 3) map from pixels of the network's input to pixels of the frame."""
    scale = max(side, 1.0) / INPUT_SIZE
    turn = scale * np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    return np.column_stack([turn, centre - turn @ np.full(2, INPUT_SIZE / 2)])
