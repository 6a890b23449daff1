"""What shows between open lips: teeth fixed to the skull, teeth and tongue that ride on the jaw, and darkness.

Lip readers tell /f/ from /s/ from /l/ from /th/ by these, so they follow the parameters of `visemes`, not chance.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from viseme.core.synthetic.face import Face

__all__ = ["Placement", "paint_mouth"]

_DARK = np.array([46.0, 16.0, 18.0])
_TEETH = np.array([236.0, 228.0, 214.0])
_TONGUE = np.array([190.0, 92.0, 92.0])
_SUBPIXEL_BITS = 4

Placement = Callable[[np.ndarray], np.ndarray]


def _fill(picture: np.ndarray, polygon: np.ndarray, colour: np.ndarray | float) -> None:
    fixed = np.round(polygon * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    value = [float(c) for c in np.atleast_1d(colour)]
    cv2.fillPoly(picture, [fixed], value, cv2.LINE_AA, _SUBPIXEL_BITS)


def _teeth(half_width: float, near: float, far: float, sag: float) -> np.ndarray:
    """A row of teeth in the face's axes, relative to the mouth's centre: biting edge at `near`, root at `far`."""
    u = np.linspace(-1, 1, 9)
    edge = np.stack([u * half_width, near - sag * u**2], -1)
    return np.vstack([edge, [[half_width, far], [-half_width, far]]])


def _oval(centre_down: float, half_width: float, half_height: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return np.stack([half_width * np.cos(angle), centre_down + half_height * np.sin(angle)], -1)


def paint_mouth(
    frame: np.ndarray,
    face: Face,
    lips: np.ndarray,
    place: Placement,
    *,
    jaw_drop: float,
    narrow: float,
    tongue: float,
    dental: float,
) -> None:
    """Paint the inside of the mouth into `frame` (H, W, 3) uint8, in place.

    Args:
        lips: (L, 2) inner lips in the frame; a closed mouth is left alone.
        place: takes points (N, 2) in the face's axes (pixels across and down from the mouth's centre) to the frame.
        jaw_drop: pixels by which the lower teeth and the tongue have come down.
        narrow: factor on widths, below 1 for rounded lips.
        tongue, dental: the parameters of those names.
    """
    gap = float(np.linalg.norm(lips[5] - lips[15]))
    if gap < 0.5:
        return
    height, width = frame.shape[:2]
    low = np.clip(np.floor(lips.min(0)).astype(int) - 2, 0, (width - 2, height - 2))
    high = np.clip(np.ceil(lips.max(0)).astype(int) + 3, low + 2, (width, height))
    window = frame[low[1] : high[1], low[0] : high[0]]

    eyes, light = face.eye_distance, 0.45 + 0.75 * face.brightness
    half = face.mouth_half_width * narrow
    inside = np.empty(window.shape, np.uint8)
    inside[:] = _DARK

    def fill(shape: np.ndarray, colour: np.ndarray) -> None:
        _fill(inside, place(shape) - low, np.minimum(colour * light, 250))

    bed = 0.06 * eyes + 0.86 * jaw_drop
    ridge = 0.06 * eyes
    fill(_oval(bed + (ridge - bed) * tongue, (0.62 - 0.15 * tongue) * half, (0.08 + 0.02 * tongue) * eyes), _TONGUE)
    fill(_teeth(0.85 * half, 0.045 * eyes, -0.2 * eyes, 0.03 * eyes), _TEETH)
    lower = 0.052 * eyes + 0.82 * jaw_drop
    fill(_teeth(0.7 * half, lower, lower + 0.2 * eyes, -0.02 * eyes), _TEETH * 0.86)
    if dental > 0.05:
        fill(_oval(0.052 * eyes + 0.5 * jaw_drop, 0.48 * half, 0.06 * eyes * dental), _TONGUE * 1.08)

    mask = np.zeros(window.shape[:2], np.uint8)
    _fill(mask, lips - low, 255.0)
    alpha = mask.astype(np.float32) / 255
    # Lips shade what is behind them: darker toward the rim.
    shade = 0.5 + 0.5 * np.clip(cv2.GaussianBlur(alpha, (0, 0), max(0.7, 0.035 * eyes)) * 1.6 - 0.6, 0, 1)
    cover = (cv2.GaussianBlur(alpha, (3, 3), 0.6) * min(1.0, gap / 1.4))[..., None]
    window[:] = np.clip(window * (1 - cover) + inside * shade[..., None] * cover, 0, 255).astype(np.uint8)
