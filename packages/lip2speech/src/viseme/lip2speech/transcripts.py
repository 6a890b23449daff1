"""Transcripts of LRS2 and LRS3 as the multi-task system reads them."""

from __future__ import annotations

from viseme.core.errors import DataError
from viseme.lip2speech.items import WordSpan

__all__ = ["main_text", "word_span"]

_PREFIX = len("Text:  ")


def main_text(transcript: str) -> str:
    """The words of a transcript's first line."""
    return transcript.partition("\n")[0][_PREFIX:].strip()


def word_span(transcript: str) -> WordSpan:
    """The words with their times, from the fifth line on.

    Raises:
        DataError: no such lines.
    """
    rows = [line.split() for line in transcript.splitlines()[4:] if line.strip()]
    try:
        words, starts, ends = zip(*((row[0], float(row[1]), float(row[2])) for row in rows))
    except (ValueError, IndexError) as error:
        raise DataError("a transcript without word times", expected="lines `WORD START END SCORE`") from error
    return WordSpan(words, starts, ends)
