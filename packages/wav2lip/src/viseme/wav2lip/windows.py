"""Which part of the spectrogram belongs to which frame: the published index arithmetic, and ours.

A window is 16 columns = 0.2 s at 80 columns a second. M columns, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from viseme.core.errors import DataError
from viseme.core.signal import WAV2LIP_MEL

__all__ = [
    "MEL_STEP",
    "SILENT_COLUMN",
    "MelWindows",
    "cut_windows",
    "evaluation_starts",
    "frame_index",
    "frame_starts",
    "inference_starts",
    "mel_start",
]

MEL_STEP = 16
COLUMNS_PER_SECOND = WAV2LIP_MEL.columns_per_second
SILENT_COLUMN = -4.0


def mel_start(frame: int, fps: float = 25.0) -> int:
    """First column of the window of frame id `frame` in training: int(80 * (frame / fps))."""
    return int(COLUMNS_PER_SECOND * (frame / float(fps)))


def evaluation_starts(columns: int, fps: float) -> list[int]:
    """First columns of all whole windows, one a frame: the published evaluation scripts'."""
    step = COLUMNS_PER_SECOND / fps
    starts: list[int] = []
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


class MelWindows:
    """Windows of a spectrogram (80, M), cut when they are asked for: `windows[numbers]` is (len(numbers), 80, 16).

    Columns outside the spectrogram hold `silence`.
    """

    def __init__(self, mel_MT: np.ndarray, starts: Sequence[int], silence: float = SILENT_COLUMN) -> None:
        self._starts = starts
        self._before = max(0, -min(starts, default=0))
        after = max(0, max(starts, default=0) + MEL_STEP - mel_MT.shape[1])
        self._padded = np.pad(mel_MT, ((0, 0), (self._before, after)), constant_values=silence)

    def __getitem__(self, numbers: Sequence[int]) -> np.ndarray:
        places = [self._starts[number] + self._before for number in numbers]
        return np.stack([self._padded[:, place : place + MEL_STEP] for place in places])


def cut_windows(mel_MT: np.ndarray, starts: Sequence[int], silence: float = SILENT_COLUMN) -> np.ndarray:
    """All windows (len(starts), 80, 16); columns outside the spectrogram hold `silence`."""
    return MelWindows(mel_MT, starts, silence)[range(len(starts))]


def frame_index(frames: int, windows: int) -> list[int]:
    """Source frame of every output frame, as published: frames beyond the windows are dropped, then they repeat."""
    if frames < 1:
        raise DataError("no frame to sync")
    used = min(frames, windows)
    return [index % used for index in range(windows)] if used else []
