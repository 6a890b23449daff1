"""A decoded picture as its planes of luma and chroma, turned into colour only where somebody looks.

Whoever needs a patch of a large frame (a face, a mouth) need not pay for the colours of all of it.

H height, W width; chroma planes have half of each, rounded up (4:2:0).
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange

__all__ = ["Frame", "Picture", "planes_of", "shrink", "warp"]


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright colour picture in 4:2:0.

    Attributes:
        luma: (H, W) uint8.
        chroma: blue and red difference, (H/2, W/2) uint8 each; a sample lies in the middle of its four pixels.
        to_rgb: (3, 4) float32: RGB in [0, 255] = `to_rgb` @ (luma, blue, red, 1).
        black: luma of black (16, or 0 at full range).
    """

    luma: np.ndarray
    chroma: tuple[np.ndarray, np.ndarray]
    to_rgb: np.ndarray
    black: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3), as if it were an RGB array."""
        return (*self.luma.shape, 3)

    @property
    def nbytes(self) -> int:
        return self.luma.nbytes + sum(plane.nbytes for plane in self.chroma)

    def rgb(self) -> np.ndarray:
        """All of it, (H, W, 3) uint8."""
        height, width = self.luma.shape
        planes = [cv2.resize(p, (2 * p.shape[1], 2 * p.shape[0]), interpolation=cv2.INTER_NEAREST) for p in self.chroma]
        return self.coloured(self.luma, *(plane[:height, :width] for plane in planes))

    def sampled(self, step: int, first: int = 0) -> np.ndarray:
        """Every `step`-th pixel of it from `first` on, (H', W', 3) uint8 RGB."""
        luma = self.luma[first::step, first::step]
        rows, columns = (np.arange(first, side, step) // 2 for side in self.luma.shape)
        return self.coloured(luma, *(plane[rows[:, None], columns] for plane in self.chroma))

    def coloured(self, *planes: np.ndarray) -> np.ndarray:
        """Three planes of one size, cut from this picture, as (h, w, 3) uint8 RGB."""
        return cv2.transform(cv2.merge(planes), self.to_rgb)


Frame = np.ndarray | Picture
"""A colour frame: (H, W, 3) uint8 RGB, or its planes."""


def planes_of(frame: av.VideoFrame) -> Picture | None:
    """A decoded frame's planes, without a copy where it is upright; None where it is not 8-bit 4:2:0."""
    name = frame.format.name
    if name not in ("yuv420p", "yuvj420p") or any(plane.line_size <= 0 for plane in frame.planes):
        return None
    quarter_turns = round(frame.rotation / 90)
    luma, *chroma = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes[:3]
    )
    if quarter_turns:
        luma, chroma = _turned(luma, quarter_turns), [_turned(plane, quarter_turns) for plane in chroma]
    full = name == "yuvj420p" or frame.color_range == ColorRange.JPEG
    return Picture(luma, (chroma[0], chroma[1]), _matrix(int(frame.colorspace), full), 0 if full else 16)


def _turned(plane: np.ndarray, quarter_turns: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(plane, quarter_turns))


# Weights of red and blue in the luma, by FFmpeg's AVColorSpace; BT.601 where nothing or something else is said, as
# swscale does it.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_matrices: dict[tuple[int, bool], np.ndarray] = {}


def _matrix(colorspace: int, full: bool) -> np.ndarray:
    """From luma and chroma to RGB (ITU-R BT.601, BT.709, BT.2020)."""
    if (colorspace, full) not in _matrices:
        weights, offset = yuv_weights(colorspace, full)
        # swscale, which converts whatever is not left as planes, drops fractions of each product
        dropped = 0.5 * (np.count_nonzero(weights[:, 1:], axis=1) + (not full))
        _matrices[colorspace, full] = np.column_stack([weights, offset - dropped]).astype(np.float32)
    return _matrices[colorspace, full]


def yuv_weights(colorspace: int, full: bool) -> tuple[np.ndarray, np.ndarray]:
    """RGB in [0, 255] = weights (3, 3) @ (luma, blue, red) + offset (3,), by FFmpeg's AVColorSpace and range."""
    red, blue = _WEIGHTS.get(colorspace, (0.299, 0.114))
    green = 1 - red - blue
    y, c, black = (1.0, 1.0, 0.0) if full else (255 / 219, 255 / 224, 16.0)
    of_blue, of_red = 2 * (1 - blue) * c, 2 * (1 - red) * c
    weights = np.array(
        [[y, 0, of_red], [y, -of_blue * blue / green, -of_red * red / green], [y, of_blue, 0]], dtype=np.float64
    )
    return weights, -weights @ np.array([black, 128, 128])


def warp(frame: Frame, transform: np.ndarray, size: tuple[int, int], *, inverse: bool = False) -> np.ndarray:
    """Affine warp with bilinear interpolation and a black border: (height, width, 3) uint8 RGB.

    Args:
        frame: RGB, its planes, or a grey array (which gives grey).
        transform: (2, 3), from pixels of the frame to pixels of the result.
        size: (width, height) of the result.
        inverse: `transform` is from the result to the frame instead.
    """
    flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if inverse else 0)
    if isinstance(frame, np.ndarray):
        return cv2.warpAffine(frame, transform, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    halved = transform.astype(np.float64)
    if inverse:
        halved = np.column_stack([halved[:, :2] / 2, (halved[:, 2] - 0.5) / 2])
    else:
        halved = np.column_stack([halved[:, :2] * 2, halved[:, 2] + halved[:, :2].sum(1) / 2])
    planes = [
        cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
        for plane, matrix, border in zip(
            (frame.luma, *frame.chroma), (transform, halved, halved), (frame.black, 128, 128)
        )
    ]
    return frame.coloured(*planes)


def shrink(frame: Frame, size: tuple[int, int]) -> np.ndarray:
    """The whole frame at (width, height), not larger than it is, (height, width, 3) uint8 RGB, for looking at coarsely.

    Every n-th pixel first, then bilinear: for large frames a third of the time of scaling at once.
    """
    scale = max(size[0] / frame.shape[1], size[1] / frame.shape[0])
    if isinstance(frame, np.ndarray):
        return _shrunk(frame, size, scale)
    return frame.coloured(
        _shrunk(frame.luma, size, scale), *(_shrunk(plane, size, min(1.0, 2 * scale)) for plane in frame.chroma)
    )


def _shrunk(plane: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    step = max(1, int(0.5 / scale))
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    return cv2.resize(plane[::step, ::step], size, interpolation=cv2.INTER_LINEAR)
