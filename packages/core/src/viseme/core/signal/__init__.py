"""Signals: resampling exactly as the published recipes do, noise at a signal-to-noise ratio, normalisation, STFT and
mel front-ends with the published ones as named constants.

Everything here takes and gives `torch.Tensor` in float32 with time on the last axis, so that the same function serves a
dataset's worker and a model on an accelerator. A numpy array comes in through `torch.from_numpy`.
"""

from __future__ import annotations

from viseme.core.signal.mel import WAV2LIP_MEL, DecibelRange, MelSpec, mel_basis
from viseme.core.signal.noise import NOISE_RMS, babble, mix_at_snr, pink_noise, white_noise
from viseme.core.signal.normalise import layer_norm
from viseme.core.signal.resample import resample
from viseme.core.signal.stft import inverse_preemphasis, preemphasis, stft, stft_magnitude

__all__ = [
    "resample",
    "mix_at_snr",
    "white_noise",
    "pink_noise",
    "babble",
    "NOISE_RMS",
    "layer_norm",
    "MelSpec",
    "DecibelRange",
    "WAV2LIP_MEL",
    "mel_basis",
    "preemphasis",
    "inverse_preemphasis",
    "stft",
    "stft_magnitude",
]
