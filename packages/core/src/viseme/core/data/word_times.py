"""When each word is said: a manifest's column `words`, and what it says frame by frame.

Corpora with word times: LRS3's pretrain part, GRID, LRW, the embedded one. The column reads
`BIN 0.15 0.42; BLUE 0.42 0.70`: each word with its start and end in seconds from the clip's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from viseme.core.errors import DataError
from viseme.core.text import Tokenizer

__all__ = ["WORD_TIMES", "format_word_times", "frame_units", "parse_word_times"]

WORD_TIMES = "words"
"""Name of the column."""

WordTime = tuple[str, float, float]


def format_word_times(words: Iterable[WordTime]) -> str:
    """The column's text of (word, start_s, end_s).

    Raises:
        DataError: a word with a blank or a semicolon.
    """
    words = list(words)
    if wrong := [word for word, _, _ in words if not word or set(word) & set(" ;")]:
        raise DataError("a word that the column cannot hold", got=repr(wrong[0]))
    return "; ".join(f"{word} {start_s:.3f} {end_s:.3f}" for word, start_s, end_s in words)


def parse_word_times(text: str) -> list[WordTime]:
    """The inverse of `format_word_times`.

    Raises:
        DataError: not such a text, or times that run backwards.
    """
    words = []
    for part in text.split(";") if text.strip() else []:
        try:
            word, start, end = part.split()
            words.append((word, float(start), float(end)))
        except ValueError:
            raise DataError("word times", expected="WORD START END; ...", got=repr(part.strip())) from None
        if not 0 <= words[-1][1] <= words[-1][2]:
            raise DataError("word times run backwards", got=repr(part.strip()))
    return words


def frame_units(
    words: Sequence[WordTime], frames: int, tokenizer: Tokenizer, *, fps: float = 25.0, delay_frames: int = 0
) -> list[int]:
    """What a CTC path through the words at their times says on each frame.

    The units of a word share its frames evenly; a unit that follows its like leaves its last frame to the blank, which
    must stand between them.

    Args:
        words: with their times.
        frames: T of the clip.
        tokenizer: of the units.
        fps: frame rate.
        delay_frames: how much later than it is said each word stands in the path, as far as the clip's end leaves room:
            for models that cannot look ahead, which know a word only once they have seen most of it.

    Returns:
        T ids.
    """
    if words:
        delay_frames = max(0, min(delay_frames, frames - round(words[-1][2] * fps)))
    path = [tokenizer.blank] * frames
    last = tokenizer.blank
    for word, start_s, end_s in words:
        first, stop = round(start_s * fps) + delay_frames, min(round(end_s * fps) + delay_frames, frames)
        units = tokenizer.encode(word)
        for index, unit in enumerate(units):
            here = first + (stop - first) * index // len(units)
            there = first + (stop - first) * (index + 1) // len(units)
            if unit == last and 0 < here <= frames:
                path[here - 1] = tokenizer.blank
            path[here:there] = [unit] * max(0, there - here)
            last = unit if there > here else last
    return path[:frames]
