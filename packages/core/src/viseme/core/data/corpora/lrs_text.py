"""Transcripts as LRS2 and LRS3 write them, and the published cut of their long clips into short ones."""

from __future__ import annotations

from dataclasses import dataclass

from viseme.core.errors import DataError

__all__ = ["LrsSegment", "main_text", "split_pretrain"]

FPS = 25
SAMPLES_PER_FRAME = 640  # 16 kHz
_WORDS_HEADER = "WORD START END ASDSCORE"


@dataclass(frozen=True)
class LrsSegment:
    """A run of words of a pretrain clip: text, times in seconds, and the frames and samples of the cut."""

    content: str
    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start

    @property
    def start_frame(self) -> int:
        return int(self.start * FPS)

    @property
    def end_frame(self) -> int:
        return int(self.end * FPS)

    @property
    def start_sample(self) -> int:
        return self.start_frame * SAMPLES_PER_FRAME

    @property
    def end_sample(self) -> int:
        return self.end_frame * SAMPLES_PER_FRAME


def main_text(first_line: str) -> str:
    """The words of a transcript's first line, `Text:  WORDS ...`: the third field on when split at single blanks
    (two blanks follow the colon), braces removed."""
    return " ".join(first_line.rstrip("\r\n").split(" ")[2:]).replace("{", "").replace("}", "").strip()


def split_pretrain(transcript: str, max_s: float) -> list[LrsSegment]:
    """Cut a pretrain transcript at word boundaries into segments of at most `max_s` seconds, greedily, as published.

    A word joins the current segment if it ends before the segment's start + `max_s`, where the first segment starts
    at 0 and each later one with its first word; a single word longer than that stands alone. Silence between
    segments is dropped.

    Args:
        transcript: the whole file: header, then `WORD START END ASDSCORE` and a line for each word.
        max_s: limit in seconds (published: 24, later 16).

    Raises:
        DataError: no word times, or a line that does not fit.
    """
    lines = transcript.replace("\r\n", "\n").split("\n")
    if _WORDS_HEADER not in lines:
        raise DataError("a transcript without word times", expected=f"a line {_WORDS_HEADER!r}", got=lines[0])
    words: list[tuple[str, float, float]] = []
    for line in lines[lines.index(_WORDS_HEADER) + 1 :]:
        if not (cells := line.split()):
            continue
        try:
            words.append((cells[0], float(cells[1]), float(cells[2])))
        except (IndexError, ValueError):
            raise DataError("a line of word times", expected="WORD START END [ASDSCORE]", got=line) from None
    segments: list[LrsSegment] = []
    current: list[str] = []
    start = end = 0.0
    for word, word_start, word_end in words:
        if current and word_end >= start + max_s:
            segments.append(LrsSegment(" ".join(current), start, end))
            current, start = [], word_start
        current.append(word)
        end = word_end
    if current:
        segments.append(LrsSegment(" ".join(current), start, end))
    return segments
