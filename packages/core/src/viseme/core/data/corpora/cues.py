"""Subtitles: SubRip (.srt) and WebVTT (.vtt) as timed text, and their joining into clips of a bounded length."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from viseme.core.errors import DataError

__all__ = ["Cue", "join_cues", "read_cues"]

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")


@dataclass(frozen=True)
class Cue:
    """Text spoken from `start_s` to `end_s`."""

    start_s: float
    end_s: float
    text: str


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def read_cues(text: str) -> list[Cue]:
    """The cues of a .srt or .vtt file's text, in order of time; tags (`<i>`, `{\\an8}`) and empty cues are dropped.

    Raises:
        DataError: no cue at all, or one that ends before it starts.
    """
    cues: list[Cue] = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip("\n").split("\n")
        at = next((i for i, line in enumerate(lines) if _TIMES.match(line)), None)
        if at is None:
            continue
        times = _TIMES.match(lines[at])
        assert times is not None
        start, end = _seconds(*times.groups()[:4]), _seconds(*times.groups()[4:])
        words = html.unescape(re.sub(r"<[^>]*>|\{\\[^}]*\}", "", " ".join(lines[at + 1 :])))
        if end < start:
            raise DataError("a cue ends before it starts", got=lines[at].strip())
        if words.split() and end > start:
            cues.append(Cue(start, end, " ".join(words.split())))
    if not cues:
        raise DataError("no timed text in the subtitles", expected="lines such as `00:00:01,000 --> 00:00:02,500`")
    return sorted(cues, key=lambda cue: (cue.start_s, cue.end_s))


def join_cues(cues: Sequence[Cue], max_s: float) -> list[Cue]:
    """Neighbouring cues joined greedily while the whole lasts at most `max_s` seconds; a longer cue stands alone."""
    joined: list[Cue] = []
    for cue in cues:
        if joined and max(cue.end_s, joined[-1].end_s) - joined[-1].start_s <= max_s:
            last = joined[-1]
            joined[-1] = Cue(last.start_s, max(last.end_s, cue.end_s), f"{last.text} {cue.text}")
        else:
            joined.append(cue)
    return joined
