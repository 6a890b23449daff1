"""Face tracks and crops of the published evaluation on real videos.

Detections of a shot -> tracks (overlap, short gaps interpolated) -> a smooth square around each face, 224 pixels.
Boxes are x1, y1, x2, y2 in float64. F frames of a track.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import interp1d
from scipy.signal import medfilt

from viseme.core.faces import iou

__all__ = ["CropPath", "Track", "build_tracks", "crop_path", "cut_crop"]


@dataclass(frozen=True, eq=False)
class Track:
    """One face: `frames` (F,) consecutive, `boxes` (F, 4), gaps interpolated."""

    frames: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True, eq=False)
class CropPath:
    """The square that follows a face: half sizes and centres (F,), median filtered."""

    s: np.ndarray
    y: np.ndarray
    x: np.ndarray
    crop_scale: float = 0.40

    def edges(self, index: int) -> tuple[int, int, int, int, int]:
        """Padding around the frame, and top, bottom, left, right inside the padded frame."""
        s, scale = self.s[index], self.crop_scale
        padding = int(s * (1 + 2 * scale))
        y, x = self.y[index] + padding, self.x[index] + padding
        return (
            padding,
            int(y - s),
            int(y + s * (1 + 2 * scale)),
            int(x - s * (1 + scale)),
            int(x + s * (1 + scale)),
        )


def build_tracks(
    faces_N5: np.ndarray, *, missed_detections: int = 25, min_track: int = 100, min_face_size: float = 100
) -> list[Track]:
    """Tracks of a shot's faces.

    Args:
        faces_N5: rows of frame, x1, y1, x2, y2; faces of a frame in the order in which they are tried.
        missed_detections: frames that a track may go without a detection.
        min_track: detections that a track must exceed.
        min_face_size: pixels that the mean width or height must exceed.
    """
    frames = sorted(set(faces_N5[:, 0].astype(int)))
    left = {frame: [row[1:] for row in faces_N5 if int(row[0]) == frame] for frame in frames}
    tracks: list[Track] = []
    while True:
        chain: list[tuple[int, np.ndarray]] = []
        for frame in frames:
            for number, box in enumerate(left[frame]):
                if not chain:
                    chain.append((frame, left[frame].pop(number)))
                    break
                if frame - chain[-1][0] <= missed_detections:
                    if iou(box, chain[-1][1]) > 0.5:
                        chain.append((frame, left[frame].pop(number)))
                        break
                else:
                    break
        if not chain:
            return tracks
        if len(chain) <= min_track:
            continue
        seen = np.array([frame for frame, _ in chain])
        boxes = np.array([box for _, box in chain])
        every = np.arange(seen[0], seen[-1] + 1)
        filled = np.stack([interp1d(seen, boxes[:, side])(every) for side in range(4)], axis=1)
        sizes = (filled[:, 2] - filled[:, 0]).mean(), (filled[:, 3] - filled[:, 1]).mean()
        if max(sizes) > min_face_size:
            tracks.append(Track(every, filled))


def crop_path(boxes_F4: np.ndarray, *, crop_scale: float = 0.40, median: int = 13) -> CropPath:
    """The smooth square around a track's boxes."""
    x1, y1, x2, y2 = boxes_F4.T
    s = np.maximum(y2 - y1, x2 - x1) / 2
    smooth = [medfilt(values, kernel_size=median) for values in (s, (y1 + y2) / 2, (x1 + x2) / 2)]
    return CropPath(smooth[0], smooth[1], smooth[2], crop_scale)


def cut_crop(frame: np.ndarray, path: CropPath, index: int, *, size: int = 224, padding_value: int = 110) -> np.ndarray:
    """The square of frame `index` of a track, (size, size, 3) uint8; outside the frame it is grey."""
    padding, top, bottom, left, right = path.edges(index)
    border = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(frame, border, mode="constant", constant_values=padding_value)
    return cv2.resize(padded[top:bottom, left:right], (size, size))
