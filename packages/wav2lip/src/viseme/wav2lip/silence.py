"""Where nobody speaks: frames whose mouth should rest.

T frames, S samples.
"""

from __future__ import annotations

import itertools

import numpy as np

from viseme.wav2lip.boxes import smooth_path

__all__ = ["SILENCE_DB", "speech_weights"]

SILENCE_DB = 30.0
"""Below the loud parts by so much, sound counts as silence."""
_FLOOR_DB = -55.0


def speech_weights(samples: np.ndarray, frames: int, fps: float, rate: int = 16000, *, fade: int = 5) -> np.ndarray:
    """How much each frame's mouth has to speak, (T,) in [0, 1]: 1 in speech, 0 in silence of 0.2 s or more, with soft
    changes over `fade` frames.

    Silence is 30 dB below the 95th percentile of the frames' levels, or below -55 dB of full scale.
    """
    edges = (np.arange(frames + 1) * rate / fps).astype(int).clip(0, len(samples))
    # Frame by frame: of an hour of sound, nothing as long as the sound is made.
    power = np.array([np.square(samples[a:b], dtype=np.float64).sum() for a, b in itertools.pairwise(edges)])
    level_db = 10 * np.log10(np.maximum(power / np.maximum(np.diff(edges), 1), 1e-12))
    if not frames:
        return np.zeros(0)
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
