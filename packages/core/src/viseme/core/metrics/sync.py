"""Sync scores: LSE-D, LSE-C and the offset between lips and sound, as the published evaluation computes them.

Embeddings of every 0.2 s of picture are compared with those of the sound, shifted by up to 15 frames either way. The
mean distance at the best shift is LSE-D (lower is better), its lead over the median shift is LSE-C, the confidence
(higher is better). Chung and Zisserman (2016); Prajwal et al. (2020). Works with any pair of embeddings:
SyncNet v2 and its MFCCs
are what published figures used.

F windows, D embedding, K = 2 * shift + 1 shifts, S samples, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from scipy.fft import dct
from scipy.signal import medfilt
from torch import Tensor
from torch.nn import functional as F

from viseme.core.errors import DataError
from viseme.core.layers.syncnet import SyncNetV2

__all__ = [
    "MFCC_PER_FRAME",
    "SyncNetScorer",
    "SyncScore",
    "filterbank_energies",
    "mfcc",
    "scored_windows",
    "shifted_distances",
    "sync_score",
]

RATE = 16000
FPS = 25
SAMPLES_PER_FRAME = 640
WINDOW_FRAMES = 5
WINDOW_MFCC = 20
MFCC_PER_FRAME = 4
SHIFT = 15
SIZE_PX = 224

_FRAME, _HOP, _FFT, _FILTERS, _COEFFICIENTS, _LIFTER, _PREEMPHASIS = 400, 160, 512, 26, 13, 22, 0.97
_EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class SyncScore:
    """How well lips and sound of one clip fit.

    Attributes:
        lse_d: mean distance at the best shift; lower is better.
        lse_c: median over shifts less that; higher is better.
        offset: of the best shift in frames; positive: the sound that fits lies earlier than the picture.
        distances: (K,) mean distance at each shift.
        confidences: (F,) per window, the median over shifts less the distance at the best one.
    """

    lse_d: float
    lse_c: float
    offset: int
    distances: np.ndarray
    confidences: np.ndarray

    @property
    def smooth_confidences(self) -> np.ndarray:
        """`confidences` after a median filter over 9 windows."""
        return medfilt(self.confidences, kernel_size=9)


def shifted_distances(lips_FD: Tensor, audio_FD: Tensor, shift: int = SHIFT) -> Tensor:
    """Distances (F, K) of each window's picture to the sound `k - shift` windows later; beyond the ends, to zeros."""
    padded = F.pad(audio_FD, (0, 0, shift, shift))
    columns = [F.pairwise_distance(lips_FD, padded[k : k + len(lips_FD)]) for k in range(2 * shift + 1)]
    return torch.stack(columns, dim=1)


def sync_score(lips_FD: Tensor, audio_FD: Tensor, shift: int = SHIFT) -> SyncScore:
    """The scores of a clip's embeddings.

    Raises:
        DataError: not the same number of windows, or none.
    """
    if len(lips_FD) != len(audio_FD) or not len(lips_FD):
        raise DataError("sync scores need as many windows of picture as of sound", got=(len(lips_FD), len(audio_FD)))
    distances_FK = shifted_distances(lips_FD, audio_FD, shift)
    mean_K = distances_FK.mean(0)
    best = int(mean_K.argmin())
    confidence_K = mean_K.median() - mean_K
    confidence_F = mean_K.median() - distances_FK[:, best]
    return SyncScore(
        float(mean_K[best]),
        float(confidence_K[best]),
        shift - best,
        mean_K.cpu().numpy(),
        confidence_F.cpu().numpy(),
    )


def scored_windows(frames: int, samples: int) -> int:
    """Windows that are scored of a clip of so many frames at 25 fps and samples at 16 kHz; 0 where it is too short."""
    return max(0, min(frames, samples // SAMPLES_PER_FRAME) - WINDOW_FRAMES)


@lru_cache(maxsize=2)
def _filters() -> np.ndarray:
    """(26, 257) triangles between 0 and 8000 Hz on the scale 2595 log10(1 + f / 700), edges at whole bins."""
    mel = np.linspace(0.0, 2595 * np.log10(1 + RATE / 2 / 700.0), _FILTERS + 2)
    edges = np.floor((_FFT + 1) * (700 * (10 ** (mel / 2595.0) - 1)) / RATE)
    made = np.zeros((_FILTERS, _FFT // 2 + 1))
    for row in range(_FILTERS):
        low, middle, high = (int(edge) for edge in edges[row : row + 3])
        made[row, low:middle] = (np.arange(low, middle) - low) / max(middle - low, 1)
        made[row, middle:high] = (high - np.arange(middle, high)) / max(high - middle, 1)
    return made


def filterbank_energies(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mel filterbank energies (N, 26) and frame energies (N,) of int16 values (S,) at 16 kHz."""
    x = np.asarray(samples, np.float64)
    x = np.append(x[:1], x[1:] - _PREEMPHASIS * x[:-1])
    count = 1 if len(x) <= _FRAME else 1 + -(-(len(x) - _FRAME) // _HOP)
    x = np.pad(x, (0, max(0, (count - 1) * _HOP + _FRAME - len(x))))
    frames = np.lib.stride_tricks.sliding_window_view(x, _FRAME)[::_HOP][:count]
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 / _FFT
    energy, bands = power.sum(1), power @ _filters().T
    return np.where(bands == 0, _EPS, bands), np.where(energy == 0, _EPS, energy)


def mfcc(samples: np.ndarray) -> np.ndarray:
    """13 mel-frequency cepstral coefficients (13, N) of int16 values (S,) at 16 kHz, 100 columns a second.

    Frames of 25 ms without a window, 26 filters, orthonormal DCT-II, lifter 22, coefficient 0 the log energy.
    """
    bands, energy = filterbank_energies(samples)
    cepstra = dct(np.log(bands), type=2, axis=1, norm="ortho")[:, :_COEFFICIENTS]
    cepstra *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(_COEFFICIENTS) / _LIFTER)
    cepstra[:, 0] = np.log(energy)
    return cepstra.T


class SyncNetScorer:
    """Scores whole clips with SyncNet v2 as the published scripts do: the frame whole, resized to 224 pixels.

    Args:
        model: with published weights; put in evaluation mode and on `device`.
        batch: windows at once.
    """

    def __init__(self, model: SyncNetV2, *, device: str | torch.device = "cpu", batch: int = 20) -> None:
        self.model, self.device, self.batch = model.eval().to(device), torch.device(device), batch

    def __call__(self, frames: np.ndarray, samples: np.ndarray, shift: int = SHIFT) -> SyncScore:
        """Score one clip.

        Args:
            frames: (T, H, W, 3) RGB uint8 at 25 fps; a face crop, or a frame that is centred on a face.
            samples: (S,) float32 in [-1, 1] at 16 kHz.

        Raises:
            DataError: less than six frames or 0.24 s of sound.
        """
        windows = scored_windows(len(frames), len(samples))
        if not windows:
            raise DataError(
                "too short for a sync score", expected="at least 6 frames and 0.24 s", got=(len(frames), len(samples))
            )
        lips_FD, audio_FD = self.embed(frames, samples, windows)
        return sync_score(lips_FD, audio_FD, shift)

    @torch.inference_mode()
    def embed(self, frames: np.ndarray, samples: np.ndarray, windows: int) -> tuple[Tensor, Tensor]:
        """Embeddings (F, 1024) of the first `windows` windows: of the lips, and of the sound."""
        coefficients = torch.from_numpy(mfcc(np.round(np.clip(samples, -1, 1) * 32767))).float()
        pictures = torch.from_numpy(
            np.stack(
                [cv2.resize(frame[:, :, ::-1], (SIZE_PX, SIZE_PX)) for frame in frames[: windows + WINDOW_FRAMES - 1]]
            )
        ).permute(3, 0, 1, 2)
        lips, audio = [], []
        for start in range(0, windows, self.batch):
            places = range(start, min(start + self.batch, windows))
            pictures_B = torch.stack([pictures[:, f : f + WINDOW_FRAMES] for f in places]).float()
            mfcc_B = torch.stack(
                [coefficients[None, :, MFCC_PER_FRAME * f : MFCC_PER_FRAME * f + WINDOW_MFCC] for f in places]
            )
            lips.append(self.model.embed_lips(pictures_B.to(self.device)))
            audio.append(self.model.embed_audio(mfcc_B.to(self.device)))
        return torch.cat(lips), torch.cat(audio)
