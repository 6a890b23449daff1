"""Which mouth crops a recogniser sees, and how large: kept in its model directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from viseme.core.errors import ConfigError

if TYPE_CHECKING:
    from viseme.core.faces import CropVariant

__all__ = ["MouthInput"]


@dataclass(frozen=True)
class MouthInput:
    """Mouth crops of a network.

    Attributes:
        crop: how mouths are cropped: `mediapipe` (four points) or `retinaface` (68).
        frame_size: side that the 96-pixel crops are scaled to by averaging; 96 leaves them as they are (published).
        crop_size: side of the part that the network sees (published: 88).
    """

    crop: CropVariant = "mediapipe"
    frame_size: int = 96
    crop_size: int = 88

    def __post_init__(self) -> None:
        if not 0 < self.crop_size <= self.frame_size:
            raise ConfigError("crop_size must fit into frame_size", got=f"{self.crop_size} of {self.frame_size}")

    def scale(self, crops: np.ndarray) -> np.ndarray:
        """(T, H, W[, 3]) uint8 -> (T, frame_size, frame_size[, 3])."""
        size = (self.frame_size, self.frame_size)
        if crops.shape[1:3] == size:
            return crops
        return np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in crops])
