"""Decoded pictures as arrays: colour or grey, upright."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorRange

__all__ = ["to_array"]

# 8-bit formats whose first plane is the luma, one byte a pixel
_LUMA_FIRST = {"yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuva420p", "nv12", "nv21", "gray"}
_LUMA_FIRST |= {"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"}
_BT601 = {2, 5, 6}  # FFmpeg's AVCOL_SPC_UNSPECIFIED, BT470BG and SMPTE170M
# Limited range (16 to 235) to full range, as swscale does it
_FULL_RANGE = np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


def to_array(frame: av.VideoFrame, *, gray: bool, size: tuple[int, int] | None = None) -> np.ndarray:
    """A frame as uint8 (H, W, 3) RGB or (H, W) grey, turned as its display matrix says. Transparency is dropped.

    Grey is the luma of ITU-R BT.601 at full range (0.299 R + 0.587 G + 0.114 B), what swscale gives. Where the file
    carries that luma already (all but files tagged otherwise, such as BT.709) its plane is read as it lies: five times
    faster, and bit-identical.

    Args:
        size: (width, height) as coded, to scale to; a stream may change its size under way.
    """
    width, height = size or (frame.width, frame.height)
    picture: np.ndarray
    if gray and (frame.width, frame.height) == (width, height) and _carries_luma(frame):
        plane = frame.planes[0]
        picture = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        picture = picture.copy() if _full_range(frame) else _FULL_RANGE[picture]
    else:
        picture = frame.to_ndarray(format="gray" if gray else "rgb24", width=width, height=height)
    quarter_turns = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture


def _carries_luma(frame: av.VideoFrame) -> bool:
    return frame.format.name in _LUMA_FIRST and int(frame.colorspace) in _BT601 and frame.planes[0].line_size > 0


def _full_range(frame: av.VideoFrame) -> bool:
    name = frame.format.name
    return name == "gray" or name.startswith("yuvj") or frame.color_range == ColorRange.JPEG
