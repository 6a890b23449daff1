"""What is looked at before any work: the sound, and whether the result can be written. And a clock for the parts.

S samples.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from viseme.core.errors import MediaError
from viseme.core.media import probe, read_audio
from viseme.core.types import Audio

__all__ = ["RATE", "Clock", "check_output", "read_sound"]

RATE = 16000


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._sums: dict[str, float] = {}
        self._name, self._since = "", 0.0

    def __call__(self, name: str) -> Clock:
        self._name = name
        return self

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._sums[self._name] = self._sums.get(self._name, 0.0) + time.perf_counter() - self._since

    def seconds(self) -> dict[str, float]:
        return {**{k: round(v, 3) for k, v in self._sums.items()}, "total": round(time.perf_counter() - self._start, 3)}


def check_output(out: Path) -> None:
    """What can be known before minutes of work: the ending, and that the folder can be written to."""
    if out.suffix.lower() not in (".mp4", ".m4v", ".mov", ".mkv"):
        raise MediaError(
            "unknown video format", path=out, expected=".mp4, .m4v, .mov or .mkv", got=out.suffix or "none"
        )
    if out.is_dir():
        raise MediaError("is a folder", path=out, expected="a file to write")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise MediaError("cannot be written", path=out, got=error.strerror or str(error)) from error


def read_sound(path: Path) -> tuple[np.ndarray, Audio | Path, list[str]]:
    """16 kHz samples, what to hear in the result (the file itself, where that is sound), and what to say about them."""
    info = probe(path)
    if not info.has_audio:
        raise MediaError("has no sound", path=path, expected="a file with speech")
    samples = read_audio(path, rate=RATE).samples
    if len(samples) < RATE // 50:
        raise MediaError(
            "the sound is too short", path=path, expected="at least 0.02 s", got=f"{len(samples) / RATE:.3f} s"
        )
    notes: list[str] = []
    heard: Audio | Path = path
    if not bool(np.isfinite(samples).all()):
        samples = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
        notes.append("samples that are not numbers were taken as silence")
        heard = Audio(samples, RATE)
    if max(float(samples.max()), -float(samples.min())) < 1e-4:
        notes.append("the sound is silent")
    if info.truncated:
        notes.append("the sound is cut short: used as far as it goes")
    return samples, heard, notes
