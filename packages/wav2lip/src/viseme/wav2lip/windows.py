"""Which part of the spectrogram belongs to which frame: the published index arithmetic, and ours.

A window is 16 columns = 0.2 s at 80 columns a second. M columns, T frames.
"""

from __future__ import annotations

import numpy as np

from viseme.core.errors import DataError
from viseme.core.signal import WAV2LIP_MEL

__all__ = [
    "MEL_STEP",
    "cut_windows",
    "evaluation_starts",
    "frame_index",
    "frame_starts",
    "inference_starts",
    "mel_start",
]

MEL_STEP = 16
COLUMNS_PER_SECOND = WAV2LIP_MEL.columns_per_second


def mel_start(frame: int, fps: float = 25.0) -> int:
    """First column of the window of frame id `frame` in training: int(80 * (frame / fps))."""
    return int(COLUMNS_PER_SECOND * (frame / float(fps)))


def evaluation_starts(columns: int, fps: float) -> list[int]:
    """First columns of all whole windows, one a frame: the published evaluation scripts'."""
    step, starts = COLUMNS_PER_SECOND / fps, []
    while (start := int(len(starts) * step)) + MEL_STEP <= columns:
        starts.append(start)
    return starts


def inference_starts(columns: int, fps: float) -> list[int]:
    """First columns of the published inference command's windows: all whole ones, then the last 16 columns once more.

    At 25 fps that is about 0.1 s of picture less than there is sound; see `frame_starts`.

    Raises:
        DataError: less than 16 columns (0.2 s of sound).
    """
    if columns < MEL_STEP:
        raise DataError("the sound is too short", expected=f"{MEL_STEP} spectrogram columns (0.2 s)", got=columns)
    return [*evaluation_starts(columns, fps), columns - MEL_STEP]


def frame_starts(frames: int, fps: float, offset_frames: float = 0.0) -> list[int]:
    """First column of each of exactly `frames` windows; what lies outside the spectrogram is silence (`cut_windows`).

    Args:
        offset_frames: added to each frame's index; -1 is the shift that the published training has against its
            inference.
    """
    return [int(np.floor((frame + offset_frames) * (COLUMNS_PER_SECOND / fps) + 1e-9)) for frame in range(frames)]


def cut_windows(mel_MT: np.ndarray, starts: list[int], silence: float = -4.0) -> np.ndarray:
    """Windows (len(starts), 80, 16); columns outside the spectrogram hold `silence`."""
    before = max(0, -min(starts, default=0))
    after = max(0, max(starts, default=0) + MEL_STEP - mel_MT.shape[1])
    padded = np.pad(mel_MT, ((0, 0), (before, after)), constant_values=silence)
    return np.stack([padded[:, start + before : start + before + MEL_STEP] for start in starts])


def frame_index(frames: int, windows: int) -> list[int]:
    """Source frame of every output frame, as published: frames beyond the windows are dropped, then they repeat."""
    if frames < 1:
        raise DataError("no frame to sync")
    used = min(frames, windows)
    return [index % used for index in range(windows)] if used else []
