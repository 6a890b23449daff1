"""Putting a generated face back: only where the mouth and the jaw are, with a soft edge and the frame's own colours.

Frames are RGB or BGR alike; S pixels of the network, H, W of the box in the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from viseme.wav2lip.boxes import JAW

__all__ = ["BlendOptions", "blend_face", "clip_box", "face_mask", "seam_gradient"]

_GRID = 96  # the mask is drawn at this size, whatever the face's
_NOSE = slice(31, 36)
_EDGE = (0.02, 0.6)  # mask values of the ring where colours are compared


@dataclass(frozen=True)
class BlendOptions:
    """How a generated face is put back.

    Attributes:
        mask: only the lower face inside the landmarks' jaw line; False pastes the whole box, as published.
        feather: width of the soft edge as a share of the face's width.
        grow: how much larger than the jaw line the mask is, so that the chin can move.
        match_colour: shift the generated colours to those of the frame around the seam.
        sharpen: strength of an unsharp mask on the generated face; 0 for none.
    """

    mask: bool = True
    feather: float = 0.07
    grow: float = 0.06
    match_colour: bool = True
    sharpen: float = 0.0


def clip_box(box: np.ndarray, frame_hw: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """x1, y1, x2, y2 as integers inside the frame; None where next to nothing is left."""
    height, width = frame_hw
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    return (x1, y1, x2, y2) if x2 - x1 >= 16 and y2 - y1 >= 16 else None


def face_mask(points: np.ndarray, box: tuple[int, int, int, int], options: BlendOptions) -> np.ndarray:
    """Weights (96, 96) float32 in [0, 1] over a box: the lower face by its landmarks (68, 2), with a soft edge."""
    x1, y1, x2, y2 = box
    scale = np.array([_GRID / (x2 - x1), _GRID / (y2 - y1)])
    outline = np.concatenate((points[JAW][2:15], points[_NOSE])).astype(np.float64)
    centre = outline.mean(0)
    outline = centre + (1 + options.grow) * (outline - centre)
    polygon = cv2.convexHull(((outline - (x1, y1)) * scale).round().astype(np.int32))
    mask = np.zeros((_GRID, _GRID), np.float32)
    cv2.fillConvexPoly(mask, polygon, 1.0)
    sigma = max(options.feather * _GRID / 2, 0.5)
    soft = cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    # What the network was shown whole needs no replacing; and nothing may change at the box's very edge.
    rows = np.clip((np.arange(_GRID) / _GRID - 0.42) / 0.12, 0, 1)[:, None]
    border = np.clip(np.minimum(np.arange(_GRID), np.arange(_GRID)[::-1]) / (0.06 * _GRID), 0, 1)
    return (soft * rows * border[None] * np.minimum(1, border[::-1, None] + (rows < 1))).astype(np.float32)


def blend_face(
    frame: np.ndarray,
    generated_SS3: np.ndarray,
    box: tuple[int, int, int, int],
    points: np.ndarray | None,
    options: BlendOptions,
    weight: float = 1.0,
) -> np.ndarray:
    """A copy of the frame with the generated face in its box.

    Args:
        generated_SS3: float32 in [0, 255], of the network's size, or of an enhancer's.
        points: landmarks (68, 2) in the frame; None, or `options.mask` False: the whole box is pasted.
        weight: of the generated face; 0 leaves the frame as it is (silence).
    """
    if weight <= 0:
        return frame.copy()
    x1, y1, x2, y2 = box
    size = (x2 - x1, y2 - y1)
    out = frame.copy()
    part = out[y1:y2, x1:x2]
    if points is None or not options.mask:
        out[y1:y2, x1:x2] = cv2.resize(generated_SS3.clip(0, 255).astype(np.uint8), size)
        return out
    mask_small = face_mask(points, box, options)
    generated = generated_SS3
    if options.match_colour:
        generated = generated + _colour_shift(generated, part, mask_small)
    # One smooth enlargement; the published paste cuts to whole levels first.
    interpolation = cv2.INTER_CUBIC if size[0] > generated.shape[1] else cv2.INTER_AREA
    large = cv2.resize(np.ascontiguousarray(generated, np.float32), size, interpolation=interpolation)
    if options.sharpen:
        blurred = cv2.GaussianBlur(large, (0, 0), max(1.0, size[0] / generated.shape[1]))
        large = large + options.sharpen * (large - blurred)
    mask = cv2.resize(mask_small, size)[..., None] * np.float32(weight)
    mixed = part + mask * (large - part)
    out[y1:y2, x1:x2] = np.rint(mixed.clip(0, 255)).astype(np.uint8)
    return out


def _colour_shift(generated: np.ndarray, part: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What to add to the generated face, per channel, so that along the mask's edge it has the frame's mean colour."""
    size = generated.shape[1], generated.shape[0]
    real = cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.resize(mask, size)
    ring = (small > _EDGE[0]) & (small < _EDGE[1])
    if not ring.any():
        return np.zeros(3, np.float32)
    return (real[ring] - generated[ring]).mean(0)


def seam_gradient(frame: np.ndarray, original: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """How visible the outline of a pasted box is: mean step across its border, in levels, beyond the original's own."""
    x1, y1, x2, y2 = box
    steps = []
    for picture in (frame, original):
        levels = picture.astype(np.float32).mean(-1)
        parts = []
        if y1 > 0:
            parts.append(np.abs(levels[y1, x1:x2] - levels[y1 - 1, x1:x2]))
        if y2 < levels.shape[0]:
            parts.append(np.abs(levels[y2 - 1, x1:x2] - levels[y2, x1:x2]))
        if x1 > 0:
            parts.append(np.abs(levels[y1:y2, x1] - levels[y1:y2, x1 - 1]))
        if x2 < levels.shape[1]:
            parts.append(np.abs(levels[y1:y2, x2 - 1] - levels[y1:y2, x2]))
        steps.append(float(np.concatenate(parts).mean()) if parts else 0.0)
    return steps[0] - steps[1]
