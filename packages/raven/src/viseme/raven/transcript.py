"""What comes out of the pipeline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from viseme.raven.models.encoder import Modality

__all__ = ["Features", "Transcript"]


@dataclass(frozen=True)
class Transcript:
    """The words of one clip.

    Attributes:
        text: what was said.
        tokens: ids of its units.
        confidence: geometric mean of the units' probabilities given the ones before, 0 to 1; 0 where nothing was found.
        score: of the search that found it, a log-probability (higher is better).
        modality: what it was read from.
        duration_s: of what was read.
        name: of the file or clip.
        notes: what the reader of the text should know.
        alternatives: texts of the next best hypotheses, best first.
    """

    text: str
    tokens: tuple[int, ...]
    confidence: float
    score: float
    modality: Modality
    duration_s: float
    name: str = ""
    notes: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def __str__(self) -> str:
        return self.text


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
