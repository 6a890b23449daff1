"""Training samples: which frames and which sound make a pair.

A window is T = 5 frames and the 0.2 s of sound that begin with its first. S pixels, M spectrogram columns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from viseme.wav2lip.geometry import resize_crop
from viseme.wav2lip.windows import MEL_STEP, mel_start

__all__ = ["WINDOW", "expert_group", "expert_sample", "generator_sample", "usable_expert", "usable_generator"]

WINDOW = 5
"""T."""


def usable_expert(start: int, ids: Collection[int], columns: int, *, fps: float = 25.0) -> bool:
    """Whether an expert window may start at frame id `start`: five frames in a row, and sound for all of them."""
    return all(start + k in ids for k in range(WINDOW)) and mel_start(start, fps) + MEL_STEP <= columns


def usable_generator(
    start: int, ids: Collection[int], columns: int, *, fps: float = 25.0, frame_shift: int = 0
) -> bool:
    """Whether a generator window may start at `start`: also the windows of its single frames must have sound."""
    first, last = start + frame_shift, start + WINDOW - 1 + frame_shift
    return usable_expert(start, ids, columns, fps=fps) and first >= 0 and mel_start(last, fps) + MEL_STEP <= columns


def _pictures(frames: Sequence[np.ndarray], size: int) -> np.ndarray:
    """(3, T, S, S) float32 in [0, 1]."""
    resized = [frame if frame.shape[:2] == (size, size) else resize_crop(frame, size) for frame in frames]
    return np.stack(resized).transpose(3, 0, 1, 2) / np.float32(255)


def _window(mel_MT: np.ndarray, frame: int, fps: float) -> np.ndarray:
    """(1, 80, 16)."""
    start = mel_start(frame, fps)
    return np.ascontiguousarray(mel_MT[None, :, start : start + MEL_STEP], dtype=np.float32)


def expert_sample(
    frames: Sequence[np.ndarray], mel_MT: np.ndarray, start: int, *, positive: bool, size: int = 96, fps: float = 25.0
) -> dict[str, np.ndarray]:
    """x (3T, S/2, S): lower halves frame by frame, BGR; mel (1, 80, 16) of frame id `start`; y (1,).

    Args:
        frames: five BGR crops, of any size: those of `start`, or of another place for a negative sample.
    """
    x = _pictures(frames, size).transpose(1, 0, 2, 3)[:, :, size // 2 :]
    return {
        "x": np.ascontiguousarray(x.reshape(-1, *x.shape[2:])),
        "mel": _window(mel_MT, start, fps),
        "y": np.array([positive], np.float32),
    }


def generator_sample(
    frames: Sequence[np.ndarray],
    wrong_frames: Sequence[np.ndarray],
    mel_MT: np.ndarray,
    start: int,
    *,
    size: int = 96,
    fps: float = 25.0,
    frame_shift: int = 0,
) -> dict[str, np.ndarray]:
    """x (6, T, S, S): the window with its lower half black, then another one; indiv_mels (T, 1, 80, 16); mel
    (1, 80, 16); y (3, T, S, S): the window whole.

    Args:
        frames, wrong_frames: five BGR crops each (or T others), of frame id `start` on and of another place.
        frame_shift: added to each frame's id before its own sound is cut. The published training has -1, its inference
            0: the same frame hears sound that is 40 ms later there.
    """
    target = _pictures(frames, size)
    masked = target.copy()
    masked[:, :, size // 2 :] = 0
    return {
        "x": np.concatenate((masked, _pictures(wrong_frames, size))),
        "indiv_mels": np.stack([_window(mel_MT, start + k + frame_shift, fps) for k in range(len(frames))]),
        "mel": _window(mel_MT, start, fps),
        "y": target,
    }


def expert_group(
    windows: Sequence[Sequence[np.ndarray]], mel_MT: np.ndarray, starts: Sequence[int], *, size: int, fps: float = 25.0
) -> dict[str, np.ndarray]:
    """G windows of one clip: x (G, 3T, S/2, S) and mel (G, 1, 80, 16); those of one number belong together."""
    pairs = [
        expert_sample(frames, mel_MT, start, positive=True, size=size, fps=fps)
        for frames, start in zip(windows, starts, strict=True)
    ]
    return {name: np.stack([pair[name] for pair in pairs]) for name in ("x", "mel")}
