"""Lip crops as the published systems cut them from face videos, and the normalised tensors that networks see.

T frames, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from viseme.core.errors import DataError

__all__ = [
    "ERASE_SIZE",
    "GRID_BOX",
    "LIP_HALF_SIZE",
    "SIZE",
    "box_crops",
    "erase",
    "lip_crops",
    "normalise",
    "parse_lip_centres",
    "read_lip_centres",
]

SIZE = 112
"""Width and height of a crop in pixels."""

GRID_BOX = (59, 95, 195, 231)
"""Left, top, right, bottom of GRID's crop in aligned 256x256 frames."""

LIP_HALF_SIZE = {"vca": {"LRS2": 40, "LRS3": 40}, "multitask": {"LRS2": 40, "LRS3": 50}}
"""Half the side of the crop around the lips' centre, in pixels of the corpus' own frames, by system and corpus."""

ERASE_SIZE = 56
"""Side of the square that the erase augmentation blanks."""

MEAN, STD = 0.4136, 0.17


def lip_crops(
    frames: np.ndarray, centres: np.ndarray, half: int, *, shift: int = 0, flip: bool = False, size: int = SIZE
) -> np.ndarray:
    """Grey crops (T, size, size) uint8 around the lips of RGB frames (T, H, W, 3).

    Args:
        centres: (T, 2) integers, x and y of the lips' centre.
        half: half the side of the box.
        shift: added to x and y of every box alike (augmentation).
        flip: mirror.

    Raises:
        DataError: fewer centres than frames.
    """
    if len(centres) < len(frames):
        raise DataError("fewer lip centres than frames", expected=len(frames), got=len(centres))
    boxes = ((x - half + shift, y - half + shift, x + half + shift, y + half + shift) for x, y in centres.tolist())
    return _crop(frames, boxes, flip, size)


def box_crops(
    frames: np.ndarray, box: tuple[int, int, int, int] = GRID_BOX, *, flip: bool = False, size: int = SIZE
) -> np.ndarray:
    """The same with one box (left, top, right, bottom) for all frames."""
    return _crop(frames, (box for _ in frames), flip, size)


def _crop(frames: np.ndarray, boxes: Iterable[tuple[int, int, int, int]], flip: bool, size: int) -> np.ndarray:
    out = np.empty((len(frames), size, size), np.uint8)
    for index, (frame, box) in enumerate(zip(frames, boxes)):
        picture = Image.fromarray(frame).crop(box).resize((size, size), Image.Resampling.BILINEAR)
        if flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        out[index] = np.asarray(picture.convert("L"))
    return out


def normalise(crops: np.ndarray, frames: int | None = None) -> Tensor:
    """Grey crops (T, H, W) uint8 to (1, frames, H, W) float32; what is past the end is 0."""
    x = (torch.from_numpy(crops).float() / 255 - MEAN) / STD
    if frames is not None and frames > len(x):
        x = torch.cat([x, x.new_zeros(frames - len(x), *x.shape[1:])])
    return x[None]


def erase(x_1THW: Tensor, left: int, top: int, size: int = ERASE_SIZE) -> Tensor:
    """A copy with a square of every frame at 0; what lies outside the frame is cut off."""
    x_1THW = x_1THW.clone()
    x_1THW[..., max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)] = 0
    return x_1THW


def parse_lip_centres(line: str) -> tuple[str, np.ndarray]:
    """`<video>/<clip>.mp4:x0/y0/x1/y1/...` to the clip's name and (T, 2) centres.

    Raises:
        DataError: anything else.
    """
    name, dot, rest = line.strip().partition(".")
    try:
        values = np.array(rest[4:].split("/"), dtype=np.int64).reshape(-1, 2)
    except ValueError as error:
        raise DataError("a line of lip centres", expected="<video>/<clip>.mp4:x/y/x/y/...", got=line[:80]) from error
    if not dot or not name or not len(values):
        raise DataError("a line of lip centres", expected="<video>/<clip>.mp4:x/y/x/y/...", got=line[:80])
    return name, values


def read_lip_centres(path: str | Path) -> dict[str, np.ndarray]:
    """All clips of a lip-centre file (`preprocess_*.txt`): name -> (T, 2).

    Raises:
        DataError: unreadable, or a line that is none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot read the lip centres", path=path, got=str(error)) from error
    return dict(parse_lip_centres(line) for line in lines if line.strip())
