"""GRID as the published systems prepare it: faces laid onto a reference by 98 landmarks, and sound without rumble.

T frames, S samples, 98 landmarks.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.signal import butter, filtfilt

from viseme.core.errors import DataError

__all__ = ["align_frame", "highpass", "read_grid_landmarks", "similarity"]

ALIGNED_SIZE = 256
CUT_HZ, ORDER = 55.0, 7


def similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The 2x3 matrix that turns, scales and moves `points` (N, 2) onto `onto` (N, 2) with least squares, never
    mirrored (Umeyama 1991)."""
    points, onto = points.astype(np.float64), onto.astype(np.float64)
    centre, centre_onto = points.mean(0), onto.mean(0)
    left, right = points - centre, onto - centre_onto
    u, strength, vt = np.linalg.svd(right.T @ left / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = u @ np.diag(signs) @ vt
    scale = (strength * signs).sum() / left.var(0).sum()
    return np.hstack([scale * turn, (centre_onto - scale * turn @ centre)[:, None]])


def align_frame(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) under a 2x3 matrix: 256 x 256, bilinear, black outside.

    The published canvas is as wide as the source is high and the other way round, which cuts what lies beyond.
    """
    height, width = frame.shape[:2]
    warped = cv2.warpAffine(frame, matrix, (height, width), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return warped[:ALIGNED_SIZE, :ALIGNED_SIZE]


def read_grid_landmarks(path: str | Path) -> np.ndarray:
    """(T, 98, 2) of a GRID landmark file: `name:x y,x y,...|x y,...`.

    Raises:
        DataError: unreadable, or frames that differ in their number of points.
    """
    try:
        text = Path(path).read_text(encoding="utf-8").strip().rpartition(":")[2]
        frames = [
            [point.split() for point in frame.split(",") if point.strip()] for frame in text.split("|") if frame.strip()
        ]
        points = np.array(frames, dtype=np.float64)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError("cannot read the landmarks", path=path, got=str(error)) from error
    if points.ndim != 3 or points.shape[2] != 2:
        raise DataError("not a file of landmarks", path=path, expected="frames of `x y` pairs", got=points.shape)
    return points


def highpass(x: np.ndarray, rate: int = 16_000) -> np.ndarray:
    """Sound (S,) without what is below 55 Hz: a Butterworth filter of order 7 run forwards and backwards, so that
    nothing is delayed. It takes float32: at this order and frequency rounding shows, and published files have it so.
    """
    b, a = butter(ORDER, CUT_HZ / (rate / 2), btype="highpass")
    return filtfilt(b, a, x.astype(np.float32))
