"""The conformer encoder (Gulati et al. 2020) as the published recognisers have it.

B clips, T frames, D channels. Against the paper: ReLU in the feed-forwards, batch norm and biases in the convolution
module, layer norms with eps 1e-12, a final norm after the last block.
"""

from __future__ import annotations

import copy
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from viseme.core.layers.attention import MultiHeadAttention
from viseme.core.layers.feed_forward import FeedForward
from viseme.core.layers.lean import norm_act
from viseme.core.layers.linear import linear
from viseme.core.layers.masks import chunk_mask
from viseme.core.layers.positions import AbsolutePositions, RelativePositions, ReversedPositions
from viseme.core.layers.recompute import recomputed
from viseme.core.layers.relative_attention import LegacyRelativeAttention, RelativeAttention

__all__ = ["AttentionKind", "ConformerBlock", "ConformerEncoder", "ConvolutionModule"]

AttentionKind = Literal["relative", "legacy_relative", "absolute"]

NORM_EPS = 1e-12
SILU = nn.SiLU()


class ConvolutionModule(nn.Module):
    """Pointwise, gate, depthwise, batch norm, SiLU, pointwise.

    Padding is not masked: published weights were trained with what leaks from it (`kernel // 2` frames a block).

    Args:
        dim: D.
        kernel: odd width of the depthwise convolution, in frames.
        causal: a frame sees itself and the `kernel - 1` before it, instead of as many on both sides.
    """

    def __init__(self, dim: int, kernel: int = 31, causal: bool = False) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"the depthwise kernel must be odd, got {kernel}")
        self.past = kernel - 1 if causal else 0
        self.pointwise_cov1 = nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise_conv = nn.Conv1d(dim, dim, kernel, padding=0 if causal else kernel // 2, groups=dim)
        self.norm = nn.BatchNorm1d(dim)
        self.pointwise_cov2 = nn.Conv1d(dim, dim, 1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.filter(functional.pad(self.gate(x_BTD), (self.past, 0)))

    def gate(self, x_BTD: Tensor) -> Tensor:
        """What the depthwise convolution reads, (B, D, T)."""
        weight_ED1 = self.pointwise_cov1.weight  # a convolution over one frame is a linear layer
        x_BTE = linear(x_BTD, weight_ED1.squeeze(-1), self.pointwise_cov1.bias)
        return functional.glu(x_BTE, dim=-1).transpose(1, 2)

    def filter(self, x_BDT: Tensor) -> Tensor:
        """From there on; a causal one takes `past` frames more than it gives. (B, T, D)."""
        x_BDT = norm_act(self.norm, SILU, self.depthwise_conv(x_BDT))
        return linear(x_BDT.transpose(1, 2), self.pointwise_cov2.weight.squeeze(-1), self.pointwise_cov2.bias)


class ConformerBlock(nn.Module):
    """Half a feed-forward, self-attention, convolution, half a feed-forward, norm; pre-norm residuals.

    Args:
        dim: D.
        heads: of the attention.
        units: hidden width of the feed-forwards.
        kernel: of the depthwise convolution, in frames.
        dropout: on each branch and inside the feed-forwards.
        attention_dropout: on the attention weights.
        attention: `relative`; `legacy_relative` (2022 model zoo); `absolute` (plain attention).
        causal: see `ConvolutionModule`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        units: int,
        kernel: int = 31,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        attention: AttentionKind = "relative",
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.self_attn: RelativeAttention | MultiHeadAttention
        match attention:
            case "relative":
                self.self_attn = RelativeAttention(dim, heads, attention_dropout)
            case "legacy_relative":
                self.self_attn = LegacyRelativeAttention(dim, heads, attention_dropout)
            case "absolute":
                self.self_attn = MultiHeadAttention(dim, heads, attention_dropout)
            case _:
                raise ValueError(f"attention must be relative, legacy_relative or absolute, got {attention!r}")
        self.feed_forward = FeedForward(dim, units, dropout)
        self.feed_forward_macaron = copy.deepcopy(self.feed_forward)  # the two halves start equal, as published
        self.conv_module = ConvolutionModule(dim, kernel, causal)
        self.norm_ff_macaron = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm_mha = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm_conv = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm_ff = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm_final = nn.LayerNorm(dim, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def _attend(self, x_BTD: Tensor, table_1RD: Tensor | None, mask: Tensor | None) -> Tensor:
        if isinstance(self.self_attn, RelativeAttention):
            return self.self_attn(x_BTD, table_1RD, mask)
        return self.self_attn(x_BTD, x_BTD, x_BTD, mask)

    def forward(self, x_BTD: Tensor, table_1RD: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """One block.

        Args:
            x_BTD: (B, T, D).
            table_1RD: the position table that the attention wants; None for `absolute`.
            mask: (B, 1, T) bool, True on valid frames; None where there is no padding. Only attention sees it.

        Returns:
            (B, T, D)
        """
        x_BTD = x_BTD + 0.5 * self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(x_BTD)))
        x_BTD = x_BTD + self.dropout(self._attend(self.norm_mha(x_BTD), table_1RD, mask))
        x_BTD = x_BTD + self.dropout(self.conv_module(self.norm_conv(x_BTD)))
        x_BTD = x_BTD + 0.5 * self.dropout(self.feed_forward(self.norm_ff(x_BTD)))
        return self.norm_final(x_BTD)


class ConformerEncoder(nn.Module):
    """Positions, `blocks` conformer blocks, a last layer norm.

    Args: as `ConformerBlock`; `blocks` of them.
        chunk: frames of a chunk, for an encoder that can run while frames come (`viseme.core.layers.streaming`): a
            frame sees its own chunk and the `left_chunks` before it, convolutions see the past alone. 0: whole clips.
        left_chunks: chunks of the past that attention sees.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        units: int,
        blocks: int,
        kernel: int = 31,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        attention: AttentionKind = "relative",
        chunk: int = 0,
        left_chunks: int = 4,
    ) -> None:
        super().__init__()
        if chunk and attention != "relative":
            raise ValueError(f"chunks need relative attention, got {attention!r}")
        self.chunk, self.left_chunks = chunk, left_chunks
        self.encoders = nn.ModuleList(
            ConformerBlock(dim, heads, units, kernel, dropout, attention_dropout, attention, causal=chunk > 0)
            for _ in range(blocks)
        )
        positions = {"relative": RelativePositions, "legacy_relative": ReversedPositions, "absolute": AbsolutePositions}
        self.positions = positions[attention](dim, dropout)
        self.after_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.recompute = False
        """Activation checkpointing of each block, in training."""

    def forward(self, x_BTD: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) projected features, (B, 1, T) mask or None -> (B, T, D)."""
        placed = self.positions(x_BTD)
        x_BTD, table_1RD = placed if isinstance(placed, tuple) else (placed, None)
        if self.chunk:
            near = chunk_mask(x_BTD.shape[1], self.chunk, self.left_chunks, x_BTD.device)
            mask = near if mask is None else near & mask
        for block in self.encoders:
            if self.recompute and self.training:
                x_BTD = recomputed(block, x_BTD, table_1RD, mask)
            else:
                x_BTD = block(x_BTD, table_1RD, mask)
        return self.after_norm(x_BTD)
