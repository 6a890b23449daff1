"""Self-attention with relative positions (Dai et al., "Transformer-XL", 2019, section 3.3), and its 2022 variant.

B clips, H heads, T frames, R rows of the position table, D channels, K = D/H channels of a head.

    score(i, j) = [ (q_i + u) . k_j + (q_i + v) . p_(i-j) ] / sqrt(K)

The second term is an additive bias, so the rest is `scaled_dot_product_attention`, fused where the device can.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from viseme.core.layers.linear import Linear

__all__ = ["LegacyRelativeAttention", "RelativeAttention", "legacy_relative_shift", "relative_shift"]


def relative_shift(x_BHTR: Tensor) -> Tensor:
    """(B, H, T, 2T-1) over offsets T-1..-(T-1) -> (B, H, T, T): entry (i, j) is that of offset i - j."""
    batch, heads, frames, offsets = x_BHTR.shape
    # Row i of the padded matrix, read on into the next one, is shifted by i; the first T entries are nobody's.
    padded = functional.pad(x_BHTR, (1, 0)).flatten(2)[..., frames:]
    return padded.view(batch, heads, frames, offsets)[..., :frames]


def legacy_relative_shift(x_BHTT: Tensor) -> Tensor:
    """The same trick on a T x T matrix M, as the 2022 models have it.

    Entry (i, j) is M(i, T-1+j-i) for j <= i, 0 for j = i+1 and M(i+1, j-i-2) beyond: the future half is not what the
    paper defines, and published weights depend on it.
    """
    batch, heads, frames, _ = x_BHTT.shape
    padded = functional.pad(x_BHTT, (1, 0)).view(batch, heads, frames + 1, frames)
    return padded[:, :, 1:]


class RelativeAttention(nn.Module):
    """Multi-head self-attention over the table of `RelativePositions`.

    Args:
        dim: D.
        heads: H; must divide D.
        dropout: on the attention weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide a width of {dim}")
        self.heads, self.head_dim, self.dropout = heads, dim // heads, dropout
        self.linear_q = Linear(dim, dim)
        self.linear_k = Linear(dim, dim)
        self.linear_v = Linear(dim, dim)
        self.linear_out = Linear(dim, dim)
        self.linear_pos = Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, self.head_dim))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, self.head_dim))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def shift(self, scores_BHTR: Tensor) -> Tensor:
        """From one column per row of the table to one per key."""
        return relative_shift(scores_BHTR)

    def _split(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def query_and_bias(self, x_BTD: Tensor, table_1RD: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """q + u (B, H, T, K), and the scaled position term with forbidden keys at half the dtype's minimum."""
        q_BHTK = self._split(self.linear_q(x_BTD))
        p_1HRK = self._split(self.linear_pos(table_1RD))
        with_v = (q_BHTK + self.pos_bias_v[:, None]) * (1 / math.sqrt(self.head_dim))
        bias_BHTT = self.shift(with_v @ p_1HRK.transpose(-2, -1))
        if mask is not None:
            # Not -inf: a row without any allowed key must stay finite, in its gradient too. Half, so that adding the
            # content score cannot overflow.
            bias_BHTT = bias_BHTT.masked_fill(~mask[:, None], torch.finfo(bias_BHTT.dtype).min / 2)
        return q_BHTK + self.pos_bias_u[:, None], bias_BHTT

    def weights(self, x_BTD: Tensor, table_1RD: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention weights (B, H, T, T) written out, without dropout: for looking at, and as the plain twin."""
        q_BHTK, bias_BHTT = self.query_and_bias(x_BTD, table_1RD, mask)
        k_BHTK = self._split(self.linear_k(x_BTD))
        weights = (q_BHTK @ k_BHTK.transpose(-2, -1) / math.sqrt(self.head_dim) + bias_BHTT).softmax(dim=-1)
        return weights if mask is None else weights.masked_fill(~mask[:, None], 0.0)

    def forward(self, x_BTD: Tensor, table_1RD: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within each clip.

        Args:
            x_BTD: (B, T, D) queries, keys and values.
            table_1RD: (1, 2T-1, D) from `RelativePositions`.
            mask: (B, 1, T) or (B, T, T) bool, True where attending is allowed; None allows all. A frame that may
                attend to nothing yields `linear_out`'s bias.

        Returns:
            (B, T, D)
        """
        q_BHTK, bias_BHTT = self.query_and_bias(x_BTD, table_1RD, mask)
        y_BHTK = functional.scaled_dot_product_attention(
            q_BHTK,
            self._split(self.linear_k(x_BTD)),
            self._split(self.linear_v(x_BTD)),
            attn_mask=bias_BHTT,
            dropout_p=self.dropout if self.training else 0.0,
        )
        if mask is not None:
            y_BHTK = y_BHTK * mask.any(dim=-1)[:, None, :, None]
        return self.linear_out(y_BHTK.transpose(1, 2).flatten(2))


class LegacyRelativeAttention(RelativeAttention):
    """The 2022 model zoo's attention: same parameters, the table of `ReversedPositions` (1, T, D), the legacy shift."""

    def shift(self, scores_BHTR: Tensor) -> Tensor:
        return legacy_relative_shift(scores_BHTR)
