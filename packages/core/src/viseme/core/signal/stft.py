"""Short-time Fourier transform and pre-emphasis, with every choice spelled out: published features depend on them.

S samples, F frequency bins (n_fft // 2 + 1), T columns.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["PadMode", "inverse_preemphasis", "istft", "preemphasis", "stft", "stft_magnitude"]

PadMode = Literal["reflect", "constant"]

_BLOCK = 256  # samples solved at once by the inverse filter


def preemphasis(x: Tensor, coefficient: float = 0.97) -> Tensor:
    """y[0] = x[0], y[n] = x[n] - coefficient * x[n-1], along the last axis of (..., S)."""
    return torch.cat([x[..., :1], x[..., 1:] - coefficient * x[..., :-1]], dim=-1)


def inverse_preemphasis(x: Tensor, coefficient: float = 0.97) -> Tensor:
    """Undo `preemphasis`: y[n] = x[n] + coefficient * y[n-1], along the last axis of (..., S).

    Block by block: within a block the recursion is a triangular matrix, between blocks one number is carried.
    """
    steps = torch.arange(_BLOCK + 1, device=x.device)
    powers = torch.tensor(coefficient, dtype=torch.float64, device=x.device) ** steps
    lag = steps[:-1, None] - steps[None, :-1]
    response = torch.where(lag >= 0, powers[lag.clamp(min=0)], 0.0)
    last = x.new_zeros((*x.shape[:-1], 1), dtype=torch.float64)
    blocks = []
    for block in x.double().split(_BLOCK, dim=-1):
        size = block.shape[-1]
        block = block @ response[:size, :size].T + last * powers[1 : size + 1]
        last = block[..., -1:]
        blocks.append(block)
    return torch.cat(blocks, dim=-1).to(x.dtype) if blocks else x


def stft(
    x: Tensor, n_fft: int, hop: int, win: int | None = None, *, center: bool = True, pad_mode: PadMode = "reflect"
) -> Tensor:
    """Complex spectrum (..., F, T) of a signal (..., S), periodic Hann window of `win` samples centred in `n_fft`.

    Args:
        center: pad `n_fft // 2` at both ends, so that column t is centred on sample t * hop and T = S // hop + 1.
        pad_mode: how. (Libraries changed their default from `reflect` to zeros; published features have `reflect`.)

    Raises:
        ValueError: reflection needs more than `n_fft // 2` samples.
    """
    win = n_fft if win is None else win
    if center:
        if pad_mode == "reflect" and x.shape[-1] <= n_fft // 2:
            raise ValueError(f"reflect padding needs more than {n_fft // 2} samples, got {x.shape[-1]}")
        flat = x.reshape(-1, 1, x.shape[-1])
        x = F.pad(flat, (n_fft // 2, n_fft // 2), mode=pad_mode).reshape(*x.shape[:-1], -1)
    window = torch.hann_window(win, periodic=True, dtype=x.dtype, device=x.device)
    flat = x.reshape(-1, x.shape[-1])
    spectrum = torch.stft(flat, n_fft, hop, win, window, center=False, return_complex=True)
    return spectrum.reshape(*x.shape[:-1], *spectrum.shape[-2:])


def stft_magnitude(
    x: Tensor, n_fft: int, hop: int, win: int | None = None, *, center: bool = True, pad_mode: PadMode = "reflect"
) -> Tensor:
    """Magnitudes of `stft`; computed in float64 and given in the signal's type, so that they agree on any machine."""
    return stft(x.double(), n_fft, hop, win, center=center, pad_mode=pad_mode).abs().to(x.dtype)


def istft(spectrum: Tensor, n_fft: int, hop: int, win: int | None = None, *, samples: int | None = None) -> Tensor:
    """The signal (..., S) of a centred complex spectrum (..., F, T): least squares, by overlap-add over the sum of
    squared windows (Griffin and Lim 1984).

    Args:
        samples: S; hop * (T - 1) where None.
    """
    win = n_fft if win is None else win
    window = torch.hann_window(win, periodic=True, dtype=spectrum.real.dtype, device=spectrum.device)
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    x = torch.istft(flat, n_fft, hop, win, window, center=True, length=samples)
    return x.reshape(*spectrum.shape[:-2], -1)
