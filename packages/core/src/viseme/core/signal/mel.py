"""Mel spectrograms: one parameterised front-end, and the published systems' as named constants.

S samples, F frequency bins, M mel bands, T columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from viseme.core.signal.stft import preemphasis, stft_magnitude

__all__ = [
    "MULTITASK_MEL",
    "VCA_GRID_MEL",
    "VCA_LRS_MEL",
    "WAV2LIP_MEL",
    "Compression",
    "DecibelRange",
    "LogRange",
    "MelSpec",
    "mel_basis",
]

# Slaney's auditory scale: linear up to 1000 Hz (200/3 Hz a mel), then 27 mels for each factor 6.4.
_LINEAR_HZ = 200.0 / 3.0
_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, above)


@lru_cache(maxsize=16)
def _basis(rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    edges = _mel_to_hz(np.linspace(_hz_to_mel(fmin), _hz_to_mel(fmax), n_mels + 2))
    bins = np.arange(n_fft // 2 + 1) * (rate / n_fft)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return (np.maximum(0.0, np.minimum(rising, falling)) * area[:, None]).astype(np.float32)


def mel_basis(rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None) -> Tensor:
    """Triangular filters on Slaney's mel scale, each of area 1: (M, F) float32.

    M. Slaney, "Auditory Toolbox" (1998); what librosa calls `htk=False, norm="slaney"`.

    Args:
        rate: Hz.
        fmin, fmax: lowest and highest edge in Hz; `fmax` None for half the rate.
    """
    return torch.from_numpy(_basis(rate, n_fft, n_mels, float(fmin), float(rate / 2 if fmax is None else fmax)))


class Compression(Protocol):
    """How magnitudes become the numbers a network sees, and back."""

    def __call__(self, magnitude: Tensor) -> Tensor: ...

    def inverse(self, features: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class DecibelRange:
    """Decibels below a reference, scaled to a symmetric or one-sided range.

    20 log10(max(floor, m)) - ref_db, then [min_db, 0] onto [-peak, peak] (or [0, peak]), clipped.

    Attributes:
        min_db: the softest level kept; also the floor of the logarithm.
        ref_db: the level that becomes 0 dB.
        peak: the largest feature.
        symmetric: onto [-peak, peak]; else onto [0, peak].
    """

    min_db: float = -100.0
    ref_db: float = 20.0
    peak: float = 4.0
    symmetric: bool = True

    def decibels(self, magnitude: Tensor) -> Tensor:
        """20 log10 of magnitudes, not below `min_db`."""
        return 20.0 * torch.log10(magnitude.clamp(min=10.0 ** (self.min_db / 20.0)))

    def scale(self, db: Tensor) -> Tensor:
        """Decibels below the reference onto the range of features."""
        share = (db - self.min_db) / -self.min_db
        if self.symmetric:
            return (2 * self.peak * share - self.peak).clamp(-self.peak, self.peak)
        return (self.peak * share).clamp(0.0, self.peak)

    def unscale(self, features: Tensor) -> Tensor:
        """Undo `scale` (what was clipped stays at the edge)."""
        if self.symmetric:
            share = (features.clamp(-self.peak, self.peak) + self.peak) / (2 * self.peak)
        else:
            share = features.clamp(0.0, self.peak) / self.peak
        return share * -self.min_db + self.min_db

    def __call__(self, magnitude: Tensor) -> Tensor:
        return self.scale(self.decibels(magnitude) - self.ref_db)

    def inverse(self, features: Tensor) -> Tensor:
        return torch.pow(10.0, (self.unscale(features) + self.ref_db) / 20.0)


@dataclass(frozen=True)
class LogRange:
    """Natural logarithm of magnitudes, [ln floor, 0] onto [-1, 1]; a magnitude above 1 goes beyond 1.

    Attributes:
        floor: the softest magnitude kept.
    """

    floor: float = 1e-5

    def scale(self, log: Tensor) -> Tensor:
        """Natural logarithms onto features."""
        return 2 * (log - math.log(self.floor)) / -math.log(self.floor) - 1

    def unscale(self, features: Tensor) -> Tensor:
        """Undo `scale`."""
        return (features + 1) * (-math.log(self.floor) / 2) + math.log(self.floor)

    def log(self, magnitude: Tensor) -> Tensor:
        """ln max(floor, magnitude)."""
        return magnitude.clamp(min=self.floor).log()

    def __call__(self, magnitude: Tensor) -> Tensor:
        return self.scale(self.log(magnitude))

    def inverse(self, features: Tensor) -> Tensor:
        return self.unscale(features).exp()


@dataclass(frozen=True)
class MelSpec:
    """A mel front-end: pre-emphasis -> STFT magnitude (centred, reflect padding) -> mel -> compression.

    Attributes:
        rate: Hz.
        n_fft, hop, win: of the STFT, in samples; the window is a periodic Hann.
        n_mels, fmin, fmax: of the filters, in Hz.
        preemphasis: coefficient; 0 for none.
        clip: whether what pre-emphasis lifts beyond [-1, 1] is cut.
        compression: of the mel magnitudes.
    """

    rate: int
    n_fft: int
    hop: int
    win: int
    n_mels: int
    fmin: float
    fmax: float
    compression: Compression
    preemphasis: float = 0.0
    clip: bool = False

    @property
    def columns_per_second(self) -> float:
        return self.rate / self.hop

    def columns(self, samples: int) -> int:
        """T of a signal of that many samples."""
        return samples // self.hop + 1

    def basis(self) -> Tensor:
        """(M, F)."""
        return mel_basis(self.rate, self.n_fft, self.n_mels, self.fmin, self.fmax)

    def emphasise(self, x: Tensor) -> Tensor:
        """(..., S) -> (..., S): pre-emphasis, and the cut after it, where this front-end has them."""
        x = preemphasis(x, self.preemphasis) if self.preemphasis else x
        return x.clamp(-1, 1) if self.clip else x

    def magnitude(self, x: Tensor) -> Tensor:
        """(..., S) -> STFT magnitudes (..., F, T), after pre-emphasis."""
        return stft_magnitude(self.emphasise(x), self.n_fft, self.hop, self.win)

    def mel_magnitude(self, x: Tensor) -> Tensor:
        """(..., S) -> mel magnitudes (..., M, T), before compression."""
        return self.basis().to(x) @ self.magnitude(x)

    def __call__(self, x: Tensor) -> Tensor:
        """Features (..., M, T) of a signal (..., S).

        Raises:
            ValueError: not longer than half an FFT window.
        """
        return self.compression(self.mel_magnitude(x))

    def linear(self, x: Tensor) -> Tensor:
        """The same chain without mel filters: (..., F, T)."""
        return self.compression(self.magnitude(x))


WAV2LIP_MEL = MelSpec(16000, 800, 200, 800, 80, 55.0, 7600.0, DecibelRange(), preemphasis=0.97)
"""Wav2Lip's: 80 bands, 80 columns a second, features in [-4, 4]."""

VCA_LRS_MEL = MelSpec(16000, 640, 160, 640, 80, 55.0, 7600.0, LogRange(), preemphasis=0.97, clip=True)
"""VCA-GAN's on LRS2 and LRS3, and the LRW recogniser's: 100 columns a second, features in [-1, 1]. It expects a peak of
0.9 (`peak_normalise`)."""

VCA_GRID_MEL = MelSpec(16000, 640, 160, 640, 80, 55.0, 7500.0, LogRange(), preemphasis=0.97, clip=True)
"""VCA-GAN's on GRID, and the GRID recogniser's."""

MULTITASK_MEL = MelSpec(16000, 1024, 160, 640, 80, 55.0, 7500.0, LogRange(), preemphasis=0.97, clip=True)
"""The multi-task lip-to-speech system's: a window of 640 samples in an FFT of 1024."""
