"""Attention masks: True where attending is allowed.

B clips, T frames (keys), L tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["causal_mask", "chunk_mask", "padding_mask"]


def padding_mask(lengths_B: Tensor, frames: int | None = None) -> Tensor:
    """True on each clip's own frames, False on its padding.

    Args:
        lengths_B: (B,) integer frames of each clip.
        frames: T, the padded length; the longest clip's where None.

    Returns:
        (B, 1, T) bool: the middle axis broadcasts over queries.
    """
    frames = int(lengths_B.max()) if frames is None else frames
    return (torch.arange(frames, device=lengths_B.device) < lengths_B[:, None])[:, None]


def causal_mask(tokens: int, device: torch.device | str | None = None) -> Tensor:
    """(1, L, L) bool: row i is True on columns 0..i."""
    return torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()[None]


def chunk_mask(frames: int, chunk: int, left_chunks: int, device: torch.device | str | None = None) -> Tensor:
    """(1, T, T) bool: a frame sees its own chunk and the `left_chunks` chunks before it."""
    number_T = torch.arange(frames, device=device) // chunk
    behind_TT = number_T[:, None] - number_T[None]
    return ((behind_TT >= 0) & (behind_TT <= left_chunks))[None]
