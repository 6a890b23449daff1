"""What comes out of a recogniser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from viseme.avsr.model import Modality
from viseme.core.decoding import UnitSpan

__all__ = ["Transcript", "Word", "join", "words_of"]


@dataclass(frozen=True)
class Word:
    """One word, when it was said, and how sure the CTC posteriors are of it.

    Attributes:
        text: the word.
        start_s, end_s: from the beginning of the file; good to some frames, as CTC peaks are.
        confidence: geometric mean of its units' posteriors in their frames, 0 to 1.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """The words of one clip, or of one part of a long one.

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
        words: with times and confidences; empty where the text cannot be laid over the frames.
        start_s: where in the file the part begins.
        speaker: number of the face, from 1; None where faces were not told apart.
        parts: of a long recording, which is read in parts; empty where it was read whole.
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
    words: tuple[Word, ...] = ()
    start_s: float = 0.0
    speaker: int | None = None
    parts: tuple[Transcript, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    def __str__(self) -> str:
        return self.text


def words_of(
    tokens: Sequence[int],
    spans: Sequence[UnitSpan],
    decode: Callable[[Sequence[int]], str],
    *,
    fps: float,
    start_s: float = 0.0,
) -> tuple[Word, ...]:
    """Units and where they lie -> words with times.

    Whatever the units are (sub-words, characters, words): a unit belongs to the word that the text ends in once it is
    there; units that add nothing to the text (blanks between words) belong to none.

    Args:
        tokens, spans: units and their frames.
        decode: ids to text.
        fps: frames a second.
        start_s: time of the first frame.
    """
    groups: dict[int, list[UnitSpan]] = {}
    before = ""
    for count, span in enumerate(spans, start=1):
        text = decode(tokens[:count])
        if text != before and text:
            groups.setdefault(len(text.split()) - 1, []).append(span)
        before = text
    words = before.split()
    found = []
    for index, group in groups.items():
        frames = sum(span.end - span.start for span in group)
        mean = sum(span.logp * (span.end - span.start) for span in group) / frames
        start, end = start_s + group[0].start / fps, start_s + group[-1].end / fps
        found.append(Word(words[index], round(start, 3), round(end, 3), math.exp(min(0.0, mean))))
    return tuple(found)


def join(parts: Sequence[Transcript], *, name: str, duration_s: float) -> Transcript:
    """One transcript of a recording that was read in parts (at least one)."""
    if len(parts) == 1:
        return replace(parts[0], duration_s=duration_s) if parts[0].start_s else parts[0]
    spoken = [part for part in parts if part.tokens]
    units = sum(len(part.tokens) for part in spoken)
    mean = sum(math.log(max(part.confidence, 1e-30)) * len(part.tokens) for part in spoken) / max(1, units)
    notes = [note for part in parts for note in part.notes if note != "no words found" or not spoken]
    read_from = {part.modality for part in parts}
    return Transcript(
        text=" ".join(part.text for part in spoken if part.text),
        tokens=tuple(token for part in parts for token in part.tokens),
        confidence=math.exp(mean) if units else 0.0,
        score=sum(part.score for part in parts),
        modality=parts[0].modality if len(read_from) == 1 else "audiovisual",
        duration_s=duration_s,
        name=name,
        notes=tuple(dict.fromkeys(notes)),
        words=tuple(word for part in parts for word in part.words),
        start_s=parts[0].start_s,
        speaker=parts[0].speaker,
        parts=tuple(parts),
    )
