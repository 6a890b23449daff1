"""Signals: resampling exactly as the published recipes do, noise at a signal-to-noise ratio, normalisation, STFT and
mel front-ends with the published ones as named constants, and Griffin-Lim back from magnitudes.

Everything here takes and gives `torch.Tensor` in float32 with time on the last axis, so that the same function serves a
dataset's worker and a model on an accelerator. A numpy array comes in through `torch.from_numpy`.
"""

from __future__ import annotations

from viseme.core.signal.griffin_lim import GriffinLim, griffin_lim, spectral_convergence
from viseme.core.signal.mel import (
    MULTITASK_MEL,
    VCA_GRID_MEL,
    VCA_LRS_MEL,
    WAV2LIP_MEL,
    DecibelRange,
    LogRange,
    MelSpec,
    mel_basis,
)
from viseme.core.signal.noise import NOISE_RMS, babble, mix_at_snr, pink_noise, white_noise
from viseme.core.signal.normalise import layer_norm, peak_normalise
from viseme.core.signal.resample import resample
from viseme.core.signal.stft import inverse_preemphasis, istft, preemphasis, stft, stft_magnitude

__all__ = [
    "resample",
    "mix_at_snr",
    "white_noise",
    "pink_noise",
    "babble",
    "NOISE_RMS",
    "layer_norm",
    "peak_normalise",
    "MelSpec",
    "DecibelRange",
    "LogRange",
    "WAV2LIP_MEL",
    "VCA_LRS_MEL",
    "VCA_GRID_MEL",
    "MULTITASK_MEL",
    "mel_basis",
    "preemphasis",
    "inverse_preemphasis",
    "stft",
    "stft_magnitude",
    "istft",
    "GriffinLim",
    "griffin_lim",
    "spectral_convergence",
]
