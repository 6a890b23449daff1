"""Sinusoidal positions: absolute, relative (Dai et al. 2019), and the reversed table of the 2022 model zoo.

B clips, T frames, R = 2T-1 relative offsets, D channels.

Tables are computed from the length at hand rather than stored: they are never part of a state dict, no length is too
long, and a graph traced with a symbolic T stays valid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = [
    "AbsolutePositions",
    "RelativePositions",
    "ReversedPositions",
    "sinusoids",
]

REVERSED_TABLE_ROWS = 5000
"""Rows of the table from whose start `ReversedPositions` reads; published weights depend on it."""


def sinusoids(positions_T: Tensor, dim: int) -> Tensor:
    """(T, D) float32: column 2i holds sin(p w_i), column 2i+1 cos(p w_i), with w_i = 10000^(-2i/D)."""
    rates = torch.exp(
        torch.arange(0, dim, 2, dtype=torch.float32, device=positions_T.device) * -(math.log(10000.0) / dim)
    )
    angles = positions_T.to(torch.float32)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


class _Positions(nn.Module):
    """What the three share: inputs are scaled by sqrt(D), and dropout acts on input and table separately."""

    def __init__(self, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"sinusoidal positions need an even width, got {dim}")
        self.dim = dim
        self.dropout = nn.Dropout(dropout)

    def scaled(self, x_BTD: Tensor) -> Tensor:
        return x_BTD * math.sqrt(self.dim)


class AbsolutePositions(_Positions):
    """x sqrt(D) + table, then dropout: what the decoder reads."""

    def table(self, frames: int, device: torch.device | None = None, start: int = 0) -> Tensor:
        """(1, T, D): positions start, start + 1, ..."""
        return sinusoids(torch.arange(start, start + frames, device=device), self.dim)[None]

    def forward(self, x_BTD: Tensor, start: int = 0) -> Tensor:
        """`start` is the position of the first frame: an incremental decoder hands over one token at a time."""
        table_1TD = self.table(x_BTD.shape[1], x_BTD.device, start)
        return self.dropout(self.scaled(x_BTD) + table_1TD.to(x_BTD.dtype))


class RelativePositions(_Positions):
    """x sqrt(D), and beside it the table of the offsets T-1, ..., 0, ..., -(T-1) for `RelativeAttention`."""

    def table(self, frames: int, device: torch.device | None = None) -> Tensor:
        """(1, R, D)"""
        return sinusoids(torch.arange(frames - 1, -frames, -1, device=device), self.dim)[None]

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> scaled input (B, T, D), table (1, rows, D); dropout on each."""
        table_1RD = self.table(x_BTD.shape[1], x_BTD.device).to(x_BTD.dtype)
        return self.dropout(self.scaled(x_BTD)), self.dropout(table_1RD)


class ReversedPositions(RelativePositions):
    """The table of the 2022 model zoo, for `LegacyRelativeAttention`: T rows, row j at position 4999 - j.

    That is the start of an absolute table of 5000 rows written backwards (longer only where T is). It is not what the
    paper meant, but published weights were trained with it.
    """

    def table(self, frames: int, device: torch.device | None = None) -> Tensor:
        """(1, T, D)"""
        last = max(REVERSED_TABLE_ROWS, frames) - 1
        return sinusoids(torch.arange(last, last - frames, -1, device=device), self.dim)[None]
