"""The published picture arithmetic: frame options, face boxes and their smoothing, network inputs, pasting.

Boxes are x1, y1, x2, y2 as a detector gives them ("rects") or y1, y2, x1, x2 as published code keeps them ("coords").
Frames are BGR. T frames, S pixels of the network, H, W of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

__all__ = [
    "apply_frame_options",
    "batched",
    "coords_of",
    "cut_box",
    "face_inputs",
    "paste",
    "resize_crop",
    "smooth_boxes",
]

Rect = tuple[int, int, int, int]


def apply_frame_options(
    frame: np.ndarray, *, resize_factor: int = 1, rotate: bool = False, crop: Sequence[int] = (0, -1, 0, -1)
) -> np.ndarray:
    """`--resize_factor`, `--rotate` (90 degrees clockwise), `--crop` (top, bottom, left, right; -1: to the edge)."""
    if resize_factor > 1:
        frame = cv2.resize(frame, (frame.shape[1] // resize_factor, frame.shape[0] // resize_factor))
    if rotate:
        frame = cv2.rotate(frame, cv2.ROTATE_90_CLOCKWISE)
    y1, y2, x1, x2 = crop
    return frame[y1 : frame.shape[0] if y2 == -1 else y2, x1 : frame.shape[1] if x2 == -1 else x2]


def smooth_boxes(boxes_T4: np.ndarray, window: int = 5) -> np.ndarray:
    """The published smoothing: each box becomes the mean of itself and the next four, cut to integers, in place.

    Near the end the last five are taken, which already are smoothed; with fewer boxes than the window, Python's
    negative slice start leaves only some of them (four boxes: the last one).
    """
    boxes = np.array(boxes_T4)
    count = len(boxes)
    for index in range(count):
        part = boxes[count - window :] if index + window > count else boxes[index : index + window]
        boxes[index] = np.mean(part, axis=0)
    return boxes


def coords_of(
    rects: Sequence[Rect],
    frame_hw: tuple[int, int],
    *,
    pads: Sequence[int] = (0, 10, 0, 0),
    smooth: bool = True,
    window: int = 5,
) -> np.ndarray:
    """y1, y2, x1, x2 of the crops (T, 4), int64.

    Args:
        rects: a face box for every frame.
        pads: pixels added at the top, bottom, left and right, not beyond the frame.
    """
    height, width = frame_hw
    top, bottom, left, right = pads
    padded = [
        (max(0, x1 - left), max(0, y1 - top), min(width, x2 + right), min(height, y2 + bottom))
        for x1, y1, x2, y2 in rects
    ]
    boxes = np.array(padded, dtype=np.int64).reshape(-1, 4)
    return (smooth_boxes(boxes, window) if smooth else boxes)[:, [1, 3, 0, 2]]


def cut_box(frame: np.ndarray, box: np.ndarray, max_side_px: int) -> np.ndarray | None:
    """The part of a frame inside a box, scaled down to at most `max_side_px`; None where nothing is left."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    crop = frame[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
    if min(crop.shape[:2]) < 8:
        return None
    if max(crop.shape[:2]) > max_side_px:
        scale = max_side_px / max(crop.shape[:2])
        crop = cv2.resize(crop, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return crop


def resize_crop(crop: np.ndarray, size: int) -> np.ndarray:
    """A face crop at the network's size: bilinear, not averaged, as published."""
    return cv2.resize(crop, (size, size))


def face_inputs(crops: Sequence[np.ndarray], size: int, references: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Network inputs (T, S, S, 6) float32 in [0, 1]: each crop with its lower half black, then the reference.

    Args:
        references: by default the crops themselves, as published.
    """
    target = np.stack([resize_crop(crop, size) for crop in crops])
    reference = target if references is None else np.stack([resize_crop(crop, size) for crop in references])
    masked = target.copy()
    masked[:, size // 2 :] = 0
    return np.concatenate((masked, reference), axis=3) / np.float32(255)


def paste(prediction: np.ndarray, frame: np.ndarray, coords: Sequence[int]) -> np.ndarray:
    """The published paste: the prediction (S, S, 3) in [0, 255] cut to uint8, resized, over the whole box of a copy."""
    y1, y2, x1, x2 = (int(value) for value in coords)
    out = frame.copy()
    out[y1:y2, x1:x2] = cv2.resize(prediction.astype(np.uint8), (x2 - x1, y2 - y1))
    return out


def batched(count: int, size: int) -> Iterator[range]:
    """Ranges of at most `size` that cover range(count)."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
