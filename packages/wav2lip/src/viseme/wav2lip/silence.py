"""Where nobody speaks: frames whose mouth should rest.

T frames, S samples.
"""

from __future__ import annotations

import numpy as np

from viseme.core.faces import smooth_path

__all__ = ["SILENCE_DB", "PowerMeter", "rest_weights", "speech_weights"]

SILENCE_DB = 30.0
"""Below the loud parts by so much, sound counts as silence."""
_FLOOR_DB = -55.0


class PowerMeter:
    """Mean power of each frame's sound, from blocks of any length: of an hour, nothing as long as the sound is held."""

    def __init__(self, fps: float, rate: int = 16000) -> None:
        self._fps, self._rate = fps, rate
        self._waiting: list[np.ndarray] = []
        self._length, self._begin = 0, 0  # of what waits, and where it begins
        self._made: list[np.ndarray] = []
        self._count = 0

    def add(self, samples: np.ndarray) -> None:
        """The next samples (S,)."""
        self._waiting.append(samples)
        self._length += len(samples)
        if self._length >= 4 * self._rate:
            self._measure(int((self._begin + self._length) * self._fps / self._rate) - 1)

    def finish(self) -> np.ndarray:
        """(T,) float64: T covers all samples; the last frame may be cut short."""
        total = self._begin + self._length
        self._measure(max(1, int(np.ceil(total * self._fps / self._rate - 1e-6))))
        return np.concatenate(self._made)

    def _measure(self, upto: int) -> None:
        """The frames before `upto` that are not measured yet."""
        if upto <= self._count:
            return
        held = np.concatenate(self._waiting) if self._waiting else np.zeros(0)
        edges = (np.arange(self._count, upto + 1) * self._rate / self._fps).astype(int) - self._begin
        edges = edges.clip(0, len(held))
        sums = np.concatenate(([0.0], np.cumsum(np.square(held, dtype=np.float64))))[edges]
        self._made.append(np.diff(sums) / np.maximum(np.diff(edges), 1))
        self._waiting, self._begin = [held[edges[-1] :]], self._begin + int(edges[-1])
        self._length, self._count = len(held) - int(edges[-1]), upto


def speech_weights(samples: np.ndarray, frames: int, fps: float, rate: int = 16000, *, fade: int = 5) -> np.ndarray:
    """`rest_weights` of the sound (S,) of so many frames."""
    if not frames:
        return np.zeros(0)
    meter = PowerMeter(fps, rate)
    meter.add(samples)
    power = meter.finish()[:frames]
    return rest_weights(np.pad(power, (0, frames - len(power))), fps, fade=fade)


def rest_weights(power_T: np.ndarray, fps: float, *, fade: int = 5) -> np.ndarray:
    """How much each frame's mouth has to speak, (T,) in [0, 1]: 1 in speech, 0 in silence of 0.2 s or more, with soft
    changes over `fade` frames.

    Silence is 30 dB below the 95th percentile of the frames' levels, or below -55 dB of full scale.
    """
    level_db = 10 * np.log10(np.maximum(power_T, 1e-12))
    limit = max(_FLOOR_DB, float(np.percentile(level_db, 95)) - SILENCE_DB)
    speaks = level_db > limit
    short = max(1, round(0.2 * fps))
    silent_edges = np.flatnonzero(np.diff(np.concatenate(([False], ~speaks, [False])))).reshape(-1, 2)
    for start, stop in silent_edges:
        if stop - start < short:  # a pause for breath between two words is no rest
            speaks[start:stop] = True
    widened = speaks.copy()
    widened[1:] |= speaks[:-1]
    widened[:-1] |= speaks[1:]
    return smooth_path(widened.astype(np.float64), fade).clip(0.0, 1.0)
