"""Random looks and voices for training on few speakers: an expert that knows eighteen faces and voices by heart is no
judge of others.

One draw holds for all pictures and all sound of an item, so that what belongs together still does. Not part of the
published training. S pixels, M spectrogram columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from viseme.wav2lip.geometry import resize_crop

__all__ = ["Augmentation", "draw_augmentation"]

_SHIFT, _ZOOM = 0.04, 0.06  # of the side
_CONTRAST, _TINT, _BRIGHTNESS = 0.25, 0.12, 0.08
_PITCH = 0.12  # stretch of the mel axis: shorter and longer vocal tracts (Jaitly and Hinton, "VTLP", 2013)
_LEVEL = 0.5  # of the spectrogram's range of 8: 6 dB


@dataclass(frozen=True, eq=False)
class Augmentation:
    """One draw.

    Attributes:
        matrix: (2, 3), picture to picture, in shares of the side.
        table: (256, 3) uint8, a new value for each value of B, G and R.
        rows: (80,) places on the mel axis that are read.
        level: added to the spectrogram.
    """

    matrix: np.ndarray
    table: np.ndarray
    rows: np.ndarray
    level: float

    def picture(self, crop_bgr: np.ndarray, size: int) -> np.ndarray:
        """A crop of any size -> (S, S, 3) uint8."""
        small = crop_bgr if crop_bgr.shape[:2] == (size, size) else resize_crop(crop_bgr, size)
        matrix = self.matrix.copy()
        matrix[:, 2] *= size - 1
        moved = cv2.warpAffine(small, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cv2.LUT(moved, self.table[None])

    def mel(self, mel_MT: np.ndarray) -> np.ndarray:
        """(80, M) -> (80, M): another vocal tract, nearer or farther."""
        low = np.floor(self.rows).astype(int)
        high = np.minimum(low + 1, len(mel_MT) - 1)
        share = (self.rows - low)[:, None]
        warped = mel_MT[low] * (1 - share) + mel_MT[high] * share
        return np.clip(warped + self.level, -4.0, 4.0).astype(np.float32)


def draw_augmentation(strength: float, generator: torch.Generator, mels: int = 80) -> Augmentation:
    """Mirrored or not, moved, brighter or darker, in another light, with another voice; strength 1 is ours, 0 none."""
    u = (torch.rand(10, generator=generator, dtype=torch.float64) * 2 - 1).numpy() * strength
    flip = -1.0 if strength and float(torch.rand((), generator=generator)) < 0.5 else 1.0
    zoom = 1 + _ZOOM * u[0]
    across, down = 0.5 + _SHIFT * u[1], 0.5 + _SHIFT * u[2]
    matrix = np.array([[flip * zoom, 0, across - flip * zoom * 0.5], [0, zoom, down - zoom * 0.5]])
    gains = (1 + _CONTRAST * u[3]) * (1 + _TINT * u[4:7])
    values = (np.arange(256)[:, None] - 128) * gains + 128 + 255 * _BRIGHTNESS * u[7]
    rows = np.clip(np.arange(mels) * np.exp(_PITCH * u[8]), 0, mels - 1)
    return Augmentation(matrix, np.clip(values, 0, 255).round().astype(np.uint8), rows, float(_LEVEL * u[9]))
