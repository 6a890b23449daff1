"""The words of a clip, as every recogniser hands them back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Transcript"]


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
        notes: what the reader of the text should know: a face that was lost, a rate that was converted, a model that
            knows only few words.
        alternatives: texts of the next best hypotheses, best first.
    """

    text: str
    tokens: tuple[int, ...]
    confidence: float
    score: float
    modality: Literal["video", "audio", "audiovisual"]
    duration_s: float
    name: str = ""
    notes: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def __str__(self) -> str:
        return self.text
