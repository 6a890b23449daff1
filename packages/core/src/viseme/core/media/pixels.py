"""Decoded pictures as arrays: colour or grey, upright."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange

from viseme.core.media.tone import hdr_name, tone_mapped

__all__ = ["to_array", "is_mirrored"]

# 8-bit formats whose first plane is the luma, one byte a pixel
_LUMA_FIRST = {"yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuva420p", "nv12", "nv21", "gray"}
_LUMA_FIRST |= {"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"}
_BT601 = {2, 5, 6}  # FFmpeg's AVCOL_SPC_UNSPECIFIED, BT470BG and SMPTE170M
# Limited range (16 to 235) to full range, as swscale does it
_FULL_RANGE = np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


def to_array(
    frame: av.VideoFrame, *, gray: bool, size: tuple[int, int] | None = None, mirrored: bool = False
) -> np.ndarray:
    """A frame as uint8 (H, W, 3) RGB or (H, W) grey, turned as its display matrix says. Transparency is dropped.

    Grey is the luma of ITU-R BT.601 at full range, 0.299 R + 0.587 G + 0.114 B. Where the file carries that already
    (all but files tagged otherwise, such as BT.709) its plane is read as it lies: bit-identical to swscale, and faster.

    Args:
        size: (width, height) as coded, to scale to; a stream may change its size under way.
        mirrored: what `is_mirrored` says of a still picture.
    """
    width, height = size or (frame.width, frame.height)
    picture: np.ndarray
    if hdr_name(frame.color_trc):
        picture = tone_mapped(frame, (width, height))
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if gray else picture
    elif gray and (frame.width, frame.height) == (width, height) and _carries_luma(frame):
        plane = frame.planes[0]
        picture = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        picture = picture.copy() if _full_range(frame) else cv2.LUT(picture, _FULL_RANGE)
    else:
        # one thread: swscale's own cost more than they give, and workers run side by side
        by_swscale = "gray" if gray and int(frame.colorspace) in _BT601 else "rgb24"
        picture = frame.reformat(width, height, by_swscale, threads=1).to_ndarray()
        if gray and picture.ndim == 3:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if mirrored:
        picture = np.ascontiguousarray(picture[::-1])
    quarter_turns = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture


def is_mirrored(path: Path) -> bool:
    """Whether the EXIF orientation of a JPEG or PNG mirrors it (2, 4, 5, 7), which FFmpeg's rotation leaves out."""
    content = path.read_bytes()
    for mark in (b"Exif\0\0", b"eXIf"):
        place = content.find(mark)
        tiff = content[place + len(mark) :] if place >= 0 else b""
        order: Literal["little", "big"] = "little" if tiff.startswith(b"II*\0") else "big"
        if order == "big" and not tiff.startswith(b"MM\0*"):
            continue
        entries = int.from_bytes(tiff[4:8], order)
        for entry in range(int.from_bytes(tiff[entries : entries + 2], order)):
            at = entries + 2 + 12 * entry
            if int.from_bytes(tiff[at : at + 2], order) == 0x112:
                return int.from_bytes(tiff[at + 8 : at + 10], order) in (2, 4, 5, 7)
    return False


def _carries_luma(frame: av.VideoFrame) -> bool:
    return frame.format.name in _LUMA_FIRST and int(frame.colorspace) in _BT601 and frame.planes[0].line_size > 0


def _full_range(frame: av.VideoFrame) -> bool:
    name = frame.format.name
    return name == "gray" or name.startswith("yuvj") or frame.color_range == ColorRange.JPEG
