"""Losses of spectra: waveforms compared at several resolutions, mel spectrograms over their own columns.

B clips, S samples or columns, M bins of all columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from viseme.core.losses.kernels import pick
from viseme.core.losses.linear import score_dtype
from viseme.core.signal.stft import stft

__all__ = ["RESOLUTIONS", "SOFTEST", "mel_l1_loss", "multi_resolution_stft_loss"]

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""(n_fft, hop, win) of Parallel WaveGAN (Yamamoto et al. 2020, table 1)."""

SOFTEST = 1e-7
"""Power below which a bin counts as that loud: as published, what keeps the logarithm finite."""


def multi_resolution_stft_loss(
    generated_BS: Tensor, target_BS: Tensor, resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS
) -> Tensor:
    """Spectral convergence plus log-magnitude L1, mean over resolutions and clips (Yamamoto et al. 2020, eq. 4-6).

    Args:
        generated_BS, target_BS: waveforms longer than half the largest n_fft; the target gets no gradient.
        resolutions: (n_fft, hop, win) each, in samples.
    """
    dtype = score_dtype(generated_BS)
    total = generated_BS.new_zeros((), dtype=dtype)
    for n_fft, hop, win in resolutions:
        pair = [stft(x.to(dtype), n_fft, hop, win) for x in (generated_BS, target_BS.detach())]
        generated_BM2, target_BM2 = (torch.view_as_real(x).flatten(1, 2).contiguous() for x in pair)
        sums_B3 = pick(generated_BS, "spectral", _spectral_sums)(generated_BM2, target_BM2)
        apart_B, power_B, log_B = sums_B3.unbind(1)
        # Equal spectra have no gradient, rather than one that is not a number.
        convergence_B = apart_B.clamp(min=1e-12).sqrt() / power_B.sqrt()
        total = total + (convergence_B + log_B / generated_BM2.shape[1]).mean()
    return total / len(resolutions)


def mel_l1_loss(generated: Tensor, target: Tensor, columns_B: Tensor | None = None) -> Tensor:
    """Mean absolute difference of spectrograms (B, ..., S), as published for every mel loss here; over each clip's own
    first columns where given."""
    rows = generated[0, ..., 0].numel()
    width = generated.shape[-1]
    if columns_B is None:
        columns_B = torch.full((len(generated),), width, device=generated.device)
    columns_B = columns_B.clamp(max=width)
    shape = (len(generated), rows, width)
    sums_B = pick(generated, "spectral", _absolute_sums)(
        generated.reshape(shape), target.detach().reshape(shape), columns_B
    )
    return sums_B.sum() / (columns_B.sum() * rows).clamp(min=1)


def _spectral_sums(generated_BM2: Tensor, target_BM2: Tensor) -> Tensor:
    """Over each clip's bins, of magnitudes g and t: sums of (t - g)^2, t^2 and |log t - log g|: (B, 3)."""
    g_BM, t_BM = (x.square().sum(-1).clamp(min=SOFTEST).sqrt() for x in (generated_BM2, target_BM2))
    return torch.stack([(t_BM - g_BM).square().sum(1), t_BM.square().sum(1), (t_BM / g_BM).log().abs().sum(1)], 1)


def _absolute_sums(generated_BRS: Tensor, target_BRS: Tensor, columns_B: Tensor) -> Tensor:
    """Sum of absolute differences over each clip's own columns (B,), in float32 or better."""
    dtype = score_dtype(generated_BRS)
    own_BS = torch.arange(generated_BRS.shape[2], device=columns_B.device) < columns_B[:, None]
    difference_BRS = (generated_BRS.to(dtype) - target_BRS.to(dtype)).abs()
    return difference_BRS.masked_fill(~own_BS[:, None], 0).sum((1, 2))
