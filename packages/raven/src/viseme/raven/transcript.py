"""What comes out of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from viseme.core.decoding import Transcript
from viseme.raven.models.encoder import Modality

__all__ = ["Features", "Transcript"]


@dataclass(frozen=True, eq=False)
class Features:
    """An encoder's features of one clip.

    Attributes:
        frames: (T, D) float32, 25 a second.
        layer: 0 the projected front-end, 1 to L the blocks; None the final layer norm.
        modality: what they were made from.
        name: of the file or clip.
        notes: what happened on the way.
    """

    frames: np.ndarray
    layer: int | None
    modality: Modality
    name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        return 25.0

    def to_dict(self) -> dict[str, Any]:
        """What they are, without the numbers."""
        shape = {"frames": self.frames.shape[0], "channels": self.frames.shape[1], "fps": self.fps}
        return {"name": self.name, "modality": self.modality, "layer": self.layer, **shape, "notes": list(self.notes)}
