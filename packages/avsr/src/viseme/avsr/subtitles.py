"""Transcripts as subtitles: SubRip (.srt) and WebVTT (.vtt)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from viseme.avsr.transcript import Transcript, Word

__all__ = ["Cue", "cues", "to_srt", "to_vtt"]

MOST_CHARACTERS = 84
"""Two lines of 42, what subtitlers' guides allow at once."""
LONGEST_S, PAUSE_S, SHORTEST_S = 6.0, 1.0, 0.8


@dataclass(frozen=True)
class Cue:
    """One subtitle."""

    start_s: float
    end_s: float
    text: str
    speaker: int | None = None


def cues(transcripts: Iterable[Transcript]) -> list[Cue]:
    """Subtitles of a file's transcripts (one per speaker), in order of time.

    A new one begins after a pause, when the text gets too long for two lines, or the time too long to keep it up. Parts
    whose words have no times become one subtitle each.
    """
    found = []
    for transcript in transcripts:
        for part in transcript.parts or (transcript,):
            if part.words:
                found += [_cue(group, part.speaker) for group in _groups(part.words)]
            elif part.text:
                found.append(Cue(part.start_s, part.start_s + part.duration_s, part.text, part.speaker))
    found.sort(key=lambda cue: (cue.start_s, cue.speaker or 0))
    return [_readable(cue, after) for cue, after in zip(found, [*found[1:], None])]


def _groups(words: Sequence[Word]) -> list[list[Word]]:
    groups: list[list[Word]] = []
    for word in words:
        now = groups[-1] if groups else []
        length = sum(len(each.text) + 1 for each in now) + len(word.text)
        if (
            not now
            or word.start_s - now[-1].end_s > PAUSE_S
            or length > MOST_CHARACTERS
            or word.end_s - now[0].start_s > LONGEST_S
        ):
            groups.append([])
        groups[-1].append(word)
    return groups


def _cue(words: Sequence[Word], speaker: int | None) -> Cue:
    return Cue(words[0].start_s, words[-1].end_s, " ".join(word.text for word in words), speaker)


def _readable(cue: Cue, after: Cue | None) -> Cue:
    """Kept up long enough to be read, unless the same speaker goes on before."""
    end_s = max(cue.end_s, cue.start_s + SHORTEST_S)
    if after is not None and after.speaker == cue.speaker:
        end_s = min(end_s, max(after.start_s, cue.end_s))
    return Cue(cue.start_s, end_s, cue.text, cue.speaker)


def to_srt(transcripts: Iterable[Transcript]) -> str:
    """SubRip text; speakers are named in brackets."""
    blocks = []
    for number, cue in enumerate(cues(transcripts), start=1):
        who = f"[Face {cue.speaker}] " if cue.speaker else ""
        blocks.append(f"{number}\n{_time(cue.start_s, ',')} --> {_time(cue.end_s, ',')}\n{who}{cue.text}\n")
    return "\n".join(blocks)


def to_vtt(transcripts: Iterable[Transcript]) -> str:
    """WebVTT text; speakers are voices."""
    blocks = ["WEBVTT\n"]
    for cue in cues(transcripts):
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        who = f"<v Face {cue.speaker}>" if cue.speaker else ""
        blocks.append(f"{_time(cue.start_s, '.')} --> {_time(cue.end_s, '.')}\n{who}{text}\n")
    return "\n".join(blocks)


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
