"""The encoder block of RAVEn, and the stack that encoder and predictor share.

    x <- x + drop_path(dropout(gamma_mha * attention(norm_mha(x))))
    x <- x + drop_path(dropout(gamma_ff * feed_forward(norm_ff(x))))

B clips, T frames, D channels, R = 2T-1 relative offsets.
Source: Haliassos et al., "Jointly Learning Visual and Auditory Speech Representations from Raw Data" (ICLR 2023),
appendix; CaiT's LayerScale (Touvron et al. 2021).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from viseme.core.layers.feed_forward import FeedForward
from viseme.core.layers.relative_attention import RelativeAttention
from viseme.core.layers.transformer import NORM_EPS

__all__ = ["DropPath", "EncoderBlock", "FeedForwardNorm", "run_blocks"]

FeedForwardNorm = Literal["batch", "layer"]


class DropPath(nn.Module):
    """Stochastic depth: a clip's branch is left out with probability `rate`; survivors are divided by 1 - rate."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x_BTD: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x_BTD
        keep = 1.0 - self.rate
        mask_B11 = x_BTD.new_empty(x_BTD.shape[0], 1, 1).bernoulli_(keep).div_(keep)
        return x_BTD * mask_B11


class EncoderBlock(nn.Module):
    """Pre-norm relative self-attention and feed-forward, with LayerScale; keys as published.

    Args:
        dim, heads, units: D, attention heads, feed-forward width.
        dropout: on both branches and inside the feed-forward.
        attention_dropout: on the attention weights.
        drop_path: rate of stochastic depth.
        layer_scale: initial value of `gamma_mha` and `gamma_ff`; None for none (predictors, the ESPnet form).
        ff_norm: before the feed-forward: `batch` (published; in training its statistics are over all frames of the
            batch, padding included) or `layer`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        units: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        drop_path: float = 0.0,
        layer_scale: float | None = 0.1,
        ff_norm: FeedForwardNorm = "batch",
    ) -> None:
        super().__init__()
        self.gamma_mha: nn.Parameter | None = None
        self.gamma_ff: nn.Parameter | None = None
        if layer_scale is not None:
            self.gamma_mha = nn.Parameter(torch.full((dim,), layer_scale))
            self.gamma_ff = nn.Parameter(torch.full((dim,), layer_scale))
        self.self_attn = RelativeAttention(dim, heads, attention_dropout)
        self.feed_forward = FeedForward(dim, units, dropout)
        self.norm_ff: nn.Module = nn.BatchNorm1d(dim) if ff_norm == "batch" else nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm_mha = nn.LayerNorm(dim, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)
        self.ff_norm = ff_norm

    def _branch(self, branch_BTD: Tensor, gamma_D: Tensor | None) -> Tensor:
        if gamma_D is not None:
            branch_BTD = gamma_D * branch_BTD
        return self.drop_path(self.dropout(branch_BTD))

    def forward(self, x_BTD: Tensor, table_1RD: Tensor, mask: Tensor | None = None) -> Tensor:
        """One block.

        Args:
            x_BTD: (B, T, D).
            table_1RD: of `RelativePositions`.
            mask: (B, 1, T) bool, True on valid frames; None where there is no padding. Only attention sees it.
        """
        x_BTD = x_BTD + self._branch(self.self_attn(self.norm_mha(x_BTD), table_1RD, mask), self.gamma_mha)
        if self.ff_norm == "batch":  # frames of all clips are so many items: no transposing
            normed_BTD = self.norm_ff(x_BTD.flatten(0, 1)).view_as(x_BTD)
        else:
            normed_BTD = self.norm_ff(x_BTD)
        return x_BTD + self._branch(self.feed_forward(normed_BTD), self.gamma_ff)


def run_blocks(
    blocks: nn.ModuleList, x_BTD: Tensor, table_1RD: Tensor, mask: Tensor | None, *, recompute: bool = False
) -> list[Tensor]:
    """The output of every block, first to last.

    Args:
        recompute: keep only the blocks' inputs for the backward pass (activation checkpointing).
    """
    outputs = []
    for block in blocks:
        if recompute and torch.is_grad_enabled():
            x_BTD = checkpoint(block, x_BTD, table_1RD, mask, use_reentrant=False)  # type: ignore[assignment]
        else:
            x_BTD = block(x_BTD, table_1RD, mask)
        outputs.append(x_BTD)
    return outputs
