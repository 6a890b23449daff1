"""What comes out of a recogniser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from viseme.core import decoding
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
class Transcript(decoding.Transcript):
    """The words of one clip, or of one part of a long one.

    Attributes:
        words: with times and confidences; empty where the text cannot be laid over the frames.
        start_s: where in the file the part begins.
        speaker: number of the face, from 1; None where faces were not told apart.
        parts: of a long recording, which is read in parts; empty where it was read whole.
    """

    words: tuple[Word, ...] = ()
    start_s: float = 0.0
    speaker: int | None = None
    parts: tuple[Transcript, ...] = ()


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
