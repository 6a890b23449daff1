"""Sound, looked through once before any work and read again piece by piece as it is needed; whether the result can be
written; and a clock for the parts.

S samples, T frames.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from viseme.core.errors import MediaError
from viseme.core.media import probe, read_audio, stream_audio
from viseme.core.types import Audio
from viseme.wav2lip.silence import PowerMeter

__all__ = ["RATE", "Clock", "Sound", "check_output", "open_sound"]

RATE = 16000


class Clock:
    """Seconds by name, over all threads: parts that run beside one another add up to more than the total."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._sums: dict[str, float] = {}
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        since = time.perf_counter()
        try:
            yield
        finally:
            with self._one_at_a_time:
                self._sums[name] = self._sums.get(name, 0.0) + time.perf_counter() - since

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


@dataclass(frozen=True, eq=False)
class Sound:
    """The sound of a file, of which only figures are held.

    Attributes:
        path: of the file.
        count: S, at 16 kHz.
        power: (T,) mean power of each frame's sound; the last frame may be cut short.
        finite: no sample but is a number.
        notes: what a user should know.
    """

    path: Path
    count: int
    power: np.ndarray
    finite: bool
    notes: tuple[str, ...]

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples at 16 kHz, (S,) float32, block by block; what is no number is silence."""
        for block in stream_audio(self.path, rate=RATE):
            yield block if self.finite else _numbers(block)

    def heard(self) -> Audio | Path:
        """What is to be heard in the result: the file itself, where that is sound."""
        return self.path if self.finite else Audio(_numbers(read_audio(self.path, rate=RATE).samples), RATE)


def _numbers(samples: np.ndarray) -> np.ndarray:
    return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)


def open_sound(path: Path, fps: float) -> Sound:
    """Read a file's sound from end to end, holding next to nothing of it.

    Args:
        fps: of the frames whose power is wanted.

    Raises:
        MediaError: unreadable, without sound, or with less than 0.02 s of it.
    """
    info = probe(path)
    if not info.has_audio:
        raise MediaError("has no sound", path=path, expected="a file with speech")
    meter, count, peak, finite = PowerMeter(fps, RATE), 0, 0.0, True
    for block in stream_audio(path, rate=RATE):
        if not bool(np.isfinite(block).all()):
            finite, block = False, _numbers(block)
        meter.add(block)
        count += len(block)
        peak = max(peak, float(block.max()), -float(block.min()))
    if count < RATE // 50:
        raise MediaError("the sound is too short", path=path, expected="at least 0.02 s", got=f"{count / RATE:.3f} s")
    notes: list[str] = []
    if not finite:
        notes.append("samples that are not numbers were taken as silence")
    if peak < 1e-4:
        notes.append("the sound is silent")
    if info.truncated:
        notes.append("the sound is cut short: used as far as it goes")
    return Sound(path, count, meter.finish(), finite, tuple(notes))
