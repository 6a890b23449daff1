"""Losses of a neural vocoder's training (HiFi-GAN, Kong et al. 2020; durations as in Polyak et al. 2021).

B clips, U units, T frames, S samples, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from viseme.core.signal.mel import mel_basis
from viseme.core.signal.stft import stft

__all__ = [
    "DurationTargets",
    "VocoderMel",
    "adversarial_loss",
    "discriminator_loss",
    "duration_targets",
    "feature_matching_loss",
]


@dataclass(frozen=True)
class VocoderMel:
    """The log-mel spectrogram of HiFi-GAN's loss: (..., S) -> (..., M, T), T = S // hop.

    Not centred: (n_fft - hop) / 2 samples are reflected at both ends. Magnitude sqrt(re^2 + im^2 + 1e-9), natural
    logarithm of at least 1e-5.

    Attributes:
        fmax: Hz; None for half the rate.
    """

    rate: int = 16000
    n_fft: int = 1024
    hop: int = 256
    win: int = 1024
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float | None = None

    def __call__(self, x: Tensor) -> Tensor:
        pad = (self.n_fft - self.hop) // 2
        flat = F.pad(x.reshape(-1, 1, x.shape[-1]), (pad, pad), mode="reflect").squeeze(1)
        spectrum = stft(flat.float(), self.n_fft, self.hop, self.win, center=False)
        magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
        basis = mel_basis(self.rate, self.n_fft, self.n_mels, self.fmin, self.fmax).to(magnitude)
        mel = (basis @ magnitude).clamp(min=1e-5).log()
        return mel.reshape(*x.shape[:-1], *mel.shape[-2:])


def discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Least squares (Mao et al. 2017): real scores to 1, fake ones to 0; summed over discriminators."""
    return torch.stack([((1 - r) ** 2).mean() + (f**2).mean() for r, f in zip(real, fake, strict=True)]).sum()


def adversarial_loss(fake: Sequence[Tensor]) -> Tensor:
    """The generator's side: fake scores to 1; summed over discriminators."""
    return torch.stack([((1 - f) ** 2).mean() for f in fake]).sum()


def feature_matching_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """L1 between feature maps of real and fake signals, summed over maps (weight 2 as published)."""
    pairs = [(r, f) for rs, fs in zip(real, fake, strict=True) for r, f in zip(rs, fs, strict=True)]
    return torch.stack([F.l1_loss(f, r.detach()) for r, f in pairs]).sum()


@dataclass(frozen=True, eq=False)
class DurationTargets:
    """What a duration predictor learns from units, one a frame.

    Attributes:
        embedded: (B, R, E) embeddings of the runs that count, zero behind each clip's last.
        mask: (B, R) which places hold one.
        durations: (N,) frames of each, clip after clip (float).
    """

    embedded: Tensor
    mask: Tensor
    durations: Tensor

    def loss(self, log_durations_BR: Tensor) -> Tensor:
        """Mean squared error against log(d + 1)."""
        return F.mse_loss(log_durations_BR[self.mask], torch.log(self.durations + 1))


def duration_targets(units_BT: Tensor, embedded_BTE: Tensor) -> DurationTargets:
    """Runs of equal units and their lengths. The first and the last run of a clip, which the cut of a segment may have
    shortened, do not count if there are more than two.

    Args:
        units_BT: one unit a frame.
        embedded_BTE: their embeddings; a run is represented by its first frame if the outer runs do not count, else by
            its last one (this decides only where gradients arrive).
    """
    features, lengths = [], []
    for units_T, embedded_TE in zip(units_BT, embedded_BTE, strict=True):
        length_R = torch.unique_consecutive(units_T, return_counts=True)[1]
        end_R = length_R.cumsum(0)
        if len(length_R) > 2:
            place_R, length_R = end_R[:-2], length_R[1:-1]
        else:
            place_R = end_R - 1
        features.append(embedded_TE[place_R])
        lengths.append(length_R)
    embedded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
    counts_B = torch.tensor([len(length_R) for length_R in lengths], device=units_BT.device)
    mask = torch.arange(embedded.shape[1], device=units_BT.device) < counts_B[:, None]
    return DurationTargets(embedded, mask, torch.cat(lengths).float())
