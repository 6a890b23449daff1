"""Generated faces from crops and sound: what every command does between decoding and pasting.

S pixels of the network, M spectrogram columns, T frames. Frames are BGR.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from viseme.core.errors import DataError
from viseme.core.signal import WAV2LIP_MEL
from viseme.wav2lip.geometry import batched, face_inputs, paste
from viseme.wav2lip.models.generator import Wav2LipGenerator
from viseme.wav2lip.windows import MEL_STEP, SILENT_COLUMN, cut_windows, frame_index, inference_starts

_PIECE = 1000  # columns computed at once: 12.5 s
_MARGIN = 4  # columns that reach over a cut: half a window, and the sample that pre-emphasis looks back to

MIN_SAMPLES = WAV2LIP_MEL.n_fft // 2 + 1
"""Fewer cannot be reflected at their ends."""

__all__ = ["MIN_SAMPLES", "SoundWindows", "generate_faces", "published_frames", "spectrogram", "spectrogram_pieces"]


def spectrogram(samples: Tensor) -> np.ndarray:
    """(80, M) of sound (S,) at 16 kHz in [-1, 1].

    Raises:
        DataError: not a number among the samples, or too few of them.
    """
    if not bool(torch.isfinite(samples).all()):
        raise DataError("the sound has values that are not numbers")
    if len(samples) < MIN_SAMPLES:
        raise DataError("the sound is too short", expected=f"{MIN_SAMPLES} samples or more", got=len(samples))
    made, place = np.empty((WAV2LIP_MEL.n_mels, WAV2LIP_MEL.columns(len(samples))), np.float32), 0
    for piece in spectrogram_pieces([samples.numpy()], len(samples)):
        made[:, place : place + piece.shape[1]] = piece
        place += piece.shape[1]
    return made


def spectrogram_pieces(blocks: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """The spectrogram (80, M) of `count` samples that come in blocks (S,), piece by piece, so that hours of sound need
    no more memory than a minute: each piece is computed with so many columns more at either side that its own do not
    see the cut. Where blocks end before `count`, silence follows.
    """
    total, hop = WAV2LIP_MEL.columns(count), WAV2LIP_MEL.hop
    size = total if total <= 2 * _PIECE else _PIECE
    source, held, begin = iter(blocks), np.zeros(0, np.float32), 0
    for start in range(0, total, size):
        stop = min(start + size, total)
        first, last = max(0, start - _MARGIN), min(total, stop + _MARGIN)
        # The piece ends with the signal, or a whole number of hops after its last column.
        need = (count if last == total else last * hop) - first * hop
        parts = [held[first * hop - begin :]]
        length, begin = len(parts[0]), first * hop
        while length < need:
            block = next(source, None)
            parts.append(np.zeros(need - length, np.float32) if block is None else block)
            length += len(parts[-1])
        held = parts[0] if len(parts) == 1 else np.concatenate(parts)
        part = torch.from_numpy(np.ascontiguousarray(held[:need]))
        yield WAV2LIP_MEL(part)[:, start - first : stop - first].numpy()


class SoundWindows:
    """Windows of sound that is read while they are asked for: `windows[numbers]` is (len(numbers), 80, 16).

    They are asked for in order: what lies before the first window of the last question is forgotten. Columns outside
    the spectrogram hold `silence`.

    Args:
        blocks: of samples at 16 kHz, `count` in all.
        starts: first column of each window, ascending.
    """

    def __init__(
        self, blocks: Iterable[np.ndarray], count: int, starts: Sequence[int], silence: float = SILENT_COLUMN
    ) -> None:
        count = max(count, MIN_SAMPLES)
        self._pieces, self._total = spectrogram_pieces(blocks, count), WAV2LIP_MEL.columns(count)
        self._starts, self._silence = starts, silence
        self._held, self._first = np.zeros((WAV2LIP_MEL.n_mels, 0), np.float32), 0

    def __getitem__(self, numbers: Sequence[int]) -> np.ndarray:
        starts = [self._starts[number] for number in numbers]
        out = np.full((len(starts), WAV2LIP_MEL.n_mels, MEL_STEP), self._silence, np.float32)
        if not starts:
            return out
        if max(min(starts), 0) < self._first:
            raise ValueError(f"windows go forward only: column {min(starts)} is gone, {self._first} is the first held")
        self._hold(max(min(starts), 0), min(max(starts) + MEL_STEP, self._total))
        for window, start in zip(out, starts):
            begin, end = max(start, 0), min(start + MEL_STEP, self._total)
            if begin < end:
                window[:, begin - start : end - start] = self._held[:, begin - self._first : end - self._first]
        return out

    def _hold(self, low: int, high: int) -> None:
        """Have columns from `low` on, up to `high`."""
        low = min(low, self._total)
        parts = [self._held]
        have = self._first + self._held.shape[1]
        while have < high:
            parts.append(next(self._pieces))
            have += parts[-1].shape[1]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if len(parts) > 1 or low - self._first > _PIECE:
            drop = min(low - self._first, whole.shape[1])
            self._held, self._first = whole[:, drop:].copy(), self._first + drop


@torch.inference_mode()
def generate_faces(
    generator: Wav2LipGenerator, faces_TSS6: np.ndarray, windows_TMN: np.ndarray, device: str | torch.device = "cpu"
) -> np.ndarray:
    """Generated faces (T, S, S, 3) float32 in (0, 255) for network inputs and spectrogram windows (T, 80, 16)."""
    faces = torch.from_numpy(faces_TSS6).permute(0, 3, 1, 2)  # channels last in memory, which convolutions like
    mel = torch.from_numpy(np.ascontiguousarray(windows_TMN))[:, None]
    parameter = next(generator.parameters())
    out = generator(mel.to(device, parameter.dtype), faces.to(device, parameter.dtype))
    return (out.permute(0, 2, 3, 1).float() * 255).cpu().numpy()


def published_frames(
    generator: Wav2LipGenerator,
    frames: Sequence[np.ndarray] | np.ndarray,
    samples: Tensor,
    fps: float,
    coords: np.ndarray,
    *,
    batch_size: int = 128,
    static: bool = False,
    device: str | torch.device = "cpu",
) -> Iterator[np.ndarray]:
    """Output frames of the published inference command.

    Args:
        frames: all source frames, (T, H, W, 3) BGR.
        samples: (S,) at 16 kHz.
        fps: of the frames.
        coords: y1, y2, x1, x2 of each source frame's face.
        batch_size: frames at once.
        static: the first frame only.

    Yields:
        BGR frames: as many as there are windows, which is about 0.1 s less than the sound (see `inference_starts`).
    """
    mel = spectrogram(samples)
    starts = inference_starts(mel.shape[1], fps)
    index = [0] * len(starts) if static else frame_index(len(frames), len(starts))
    size = generator.config.image_size
    windows = cut_windows(mel, starts)
    for places in batched(len(starts), batch_size):
        crops = [_crop(frames[index[i]], coords[index[i]]) for i in places]
        made = generate_faces(generator, face_inputs(crops, size), windows[places.start : places.stop], device)
        for i, prediction in zip(places, made):
            yield paste(prediction, frames[index[i]], coords[index[i]])


def _crop(frame: np.ndarray, coords: Sequence[int]) -> np.ndarray:
    y1, y2, x1, x2 = coords
    return frame[y1:y2, x1:x2]
