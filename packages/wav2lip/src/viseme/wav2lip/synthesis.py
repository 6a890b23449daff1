"""Generated faces from crops and sound: what every command does between decoding and pasting.

S pixels of the network, M spectrogram columns, T frames. Frames are BGR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from viseme.core.errors import DataError
from viseme.core.signal import WAV2LIP_MEL
from viseme.wav2lip.geometry import batched, face_inputs, paste
from viseme.wav2lip.models.generator import Wav2LipGenerator
from viseme.wav2lip.windows import cut_windows, frame_index, inference_starts

_PIECE = 1000  # columns computed at once: 12.5 s
_MARGIN = 4  # columns that reach over a cut: half a window, and the sample that pre-emphasis looks back to

__all__ = ["generate_faces", "published_frames", "spectrogram"]


def spectrogram(samples: Tensor) -> np.ndarray:
    """(80, M) of sound (S,) at 16 kHz in [-1, 1].

    Raises:
        DataError: not a number among the samples, or too few of them.
    """
    if not bool(torch.isfinite(samples).all()):
        raise DataError("the sound has values that are not numbers")
    if len(samples) <= WAV2LIP_MEL.n_fft // 2:
        raise DataError(
            "the sound is too short", expected=f"more than {WAV2LIP_MEL.n_fft // 2} samples", got=len(samples)
        )
    made, place = np.empty((WAV2LIP_MEL.n_mels, WAV2LIP_MEL.columns(len(samples))), np.float32), 0
    for piece in _columns(samples):
        made[:, place : place + piece.shape[1]] = piece
        place += piece.shape[1]
    return made


def _columns(samples: Tensor) -> Iterator[np.ndarray]:
    """The spectrogram piece by piece, so that hours of sound need no more memory than a minute: each piece is computed
    with so many columns more at either side that its own do not see the cut."""
    total, hop = WAV2LIP_MEL.columns(len(samples)), WAV2LIP_MEL.hop
    if total <= 2 * _PIECE:
        yield WAV2LIP_MEL(samples).numpy()
        return
    for start in range(0, total, _PIECE):
        stop = min(start + _PIECE, total)
        first, last = max(0, start - _MARGIN), min(total, stop + _MARGIN)
        # The piece ends with the signal, or a whole number of hops after its last column.
        part = samples[first * hop : len(samples) if last == total else last * hop]
        yield WAV2LIP_MEL(part)[:, start - first : stop - first].numpy()


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
