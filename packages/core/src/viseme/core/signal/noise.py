"""Noise: made, and mixed into speech at a signal-to-noise ratio.

S samples of speech, N samples of noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["NOISE_RMS", "mix_at_snr", "white_noise", "pink_noise", "babble"]

NOISE_RMS = 0.1  # level of every noise made here (-20 dBFS): audible, and far from clipping when written to a file


def mix_at_snr(
    speech: Tensor,
    noise: Tensor,
    snr_db: float | None,
    *,
    start: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Add noise to speech at a signal-to-noise ratio.

    `speech + noise * 10^((snr0 - snr_db) / 20)` with `snr0 = 10 log10(|speech|^2 / |noise|^2)`, the energies being
    those of the whole speech and of the segment of noise used. Noise shorter than the speech is repeated. Where either
    side is silent no such ratio exists and the speech comes back unchanged.

    Args:
        speech: (..., S).
        noise: (N,), the same noise for every leading dimension of `speech`.
        snr_db: decibels; None adds no noise. 0 is a ratio like any other: equal energies.
        start: first sample of the noise used; None draws it uniformly from the starts that fit
            (from every sample, where the noise has to be repeated).
        generator: for that draw.

    Returns:
        (..., S), dtype and device of `speech`.

    Raises:
        ValueError: noise is empty or not (N,), or `start` lies outside it.
    """
    if snr_db is None:
        return speech
    if noise.dim() != 1 or not len(noise):
        raise ValueError(f"noise must be (N,) with N > 0, got {tuple(noise.shape)}")
    if math.isnan(snr_db):
        raise ValueError("snr_db is not a number")
    samples = speech.shape[-1]
    if start is None:
        starts = len(noise) - samples + 1 if len(noise) >= samples else len(noise)
        start = int(torch.randint(starts, (), generator=generator))
    elif not 0 <= start < len(noise):
        raise ValueError(f"start must lie in the noise, 0 to {len(noise) - 1}, got {start}")
    segment = _loop(noise, start, samples).to(speech)

    speech_energy, noise_energy = (x.double().square().sum(-1, keepdim=True) for x in (speech, segment))
    gain = (speech_energy / noise_energy).sqrt() * 10 ** (-snr_db / 20)
    gain = torch.where(noise_energy > 0, gain, 0.0)  # a silent segment: 0/0 or x/0
    return speech + segment * gain.to(speech.dtype)


def white_noise(samples: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise of equal power at all frequencies: (samples,) float32, root mean square `NOISE_RMS`."""
    return _level(torch.randn(samples, generator=generator))


def pink_noise(samples: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise whose power falls as 1/frequency: (samples,) float32, root mean square `NOISE_RMS`."""
    if samples < 2:  # nothing left without the offset
        return torch.zeros(samples)
    spectrum = torch.fft.rfft(torch.randn(samples, generator=generator))
    shape = torch.arange(len(spectrum)).clamp(min=1).rsqrt()
    shape[0] = 0.0  # no offset
    return _level(torch.fft.irfft(spectrum * shape, n=samples))


def babble(voices: Sequence[Tensor], samples: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Many people talking at once: the sum of clips of speech, each repeated from a random start, at equal levels.

    Args:
        voices: clips (N_i,) at one sampling rate; silent ones count for nothing. The fewer, the more intelligible.
        samples: length wanted.
        generator: for the starts.

    Returns:
        (samples,) float32, root mean square `NOISE_RMS`.

    Raises:
        ValueError: no voice that is not silent.
    """
    heard = [voice for voice in voices if voice.dim() == 1 and bool((voice != 0).any())]
    if not heard:
        raise ValueError(f"babble needs at least one clip (N,) that is not silent, got {len(voices)} clips")
    total = torch.zeros(samples)
    for voice in heard:
        start = int(torch.randint(len(voice), (), generator=generator))
        total += _loop(_level(voice.float()), start, samples)
    return _level(total)


def _loop(noise: Tensor, start: int, samples: int) -> Tensor:
    """`samples` samples of the noise from `start` on, beginning again where it ends."""
    if start + samples <= len(noise):
        return noise[start : start + samples]
    repeats = -(-(start + samples) // len(noise))
    return noise.repeat(repeats)[start : start + samples]


def _level(x: Tensor) -> Tensor:
    rms = x.square().mean().sqrt()
    return x * (NOISE_RMS / rms) if rms > 0 else x
