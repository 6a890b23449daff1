"""How lips are cut from faces and made ready for the networks: the same in training, conversion and use.

T frames, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from viseme.core.errors import ConfigError
from viseme.core.faces import MouthCropper, interpolate_landmarks, landmarks4, smooth_landmarks
from viseme.lip2speech.crops import SIZE, normalise

__all__ = ["LRS_SHARE", "CropKind", "LipInput"]

CropKind = Literal["mouth", "lips", "grid"]

LRS_SHARE = {"LRS2": 2 * 40 * 1.4 / 160, "LRS3": 2 * 40 * 1.4 / 224, "LRS3_100": 2 * 50 * 1.4 / 224}
"""Side of the published crops as a share of the face box: the frames of LRS2 (160 pixels) and LRS3 (224) are 1.4 face
boxes wide, and the crops 80 or 100 of their pixels."""


@dataclass(frozen=True)
class LipInput:
    """Kept in the model directory.

    Attributes:
        crop: `mouth`: core's crop, laid onto the mean face; `lips`: a square around the lips' centre, upright, as large
            as a share of the face (published, LRS); `grid`: as `lips`, for models of aligned GRID faces.
        share: side of a `lips` crop over the side of the face box.
        size: pixels of what the network sees (published: 112).
    """

    crop: CropKind = "mouth"
    share: float = LRS_SHARE["LRS2"]
    size: int = SIZE

    def __post_init__(self) -> None:
        if self.crop not in get_args(CropKind):
            raise ConfigError("unknown crop", expected=" | ".join(get_args(CropKind)), got=self.crop)
        if self.size < 32 or self.share <= 0:
            raise ConfigError("size must be at least 32 pixels and share positive", got=(self.size, self.share))

    def points(self, mesh: np.ndarray) -> np.ndarray:
        """What of a face's landmarks (468, 2) the crop needs."""
        if self.crop == "mouth":
            return _MOUTH.select(mesh)
        box = mesh[:, :2]
        return np.stack([landmarks4(mesh)[3], box.min(0), box.max(0)])

    def crops(self, frames: Iterable[np.ndarray], landmarks: Sequence[np.ndarray | None]) -> Iterator[np.ndarray]:
        """Grey crops (size, size) uint8, one a frame; frames without a face take the landmarks between their
        neighbours."""
        if self.crop == "mouth":
            for crop in _MOUTH.crops(frames, landmarks, gray=True):
                yield self.scale(crop[None])[0]
            return
        smooth = smooth_landmarks(interpolate_landmarks(landmarks))
        for frame, (centre, low, high) in zip(frames, smooth):
            half = max(8.0, self.share * float((high - low).mean()) / 2)
            box = tuple(round(value) for value in (*(centre - half), *(centre + half)))
            picture = Image.fromarray(np.ascontiguousarray(frame)).crop(box)
            yield np.asarray(picture.resize((self.size, self.size), Image.Resampling.BILINEAR).convert("L"))

    def scale(self, crops: np.ndarray) -> np.ndarray:
        """Prepared crops (T, H, W) uint8 at the network's size."""
        if crops.shape[1:] == (self.size, self.size):
            return crops
        how = cv2.INTER_AREA if crops.shape[1] > self.size else cv2.INTER_LINEAR
        return np.stack([cv2.resize(crop, (self.size, self.size), interpolation=how) for crop in crops])

    def tensor(self, crops: np.ndarray) -> Tensor:
        """Crops (T, size, size) uint8 -> (1, T, size, size) normalised."""
        return normalise(self.scale(crops))


_MOUTH = MouthCropper("mediapipe")
