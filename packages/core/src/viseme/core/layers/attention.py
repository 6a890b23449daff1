"""Multi-head scaled dot-product attention (Vaswani et al. 2017, section 3.2).

Shapes: B batch, T queries, S keys, D model width, H heads, K width of a head (D = H*K).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from viseme.core.errors import ConfigError
from viseme.core.layers.linear import Linear

__all__ = ["MultiHeadAttention", "split_heads", "merge_heads"]


def split_heads(x_BTD: Tensor, heads: int) -> Tensor:
    """(B, T, H*K) as (B, H, T, K), without copying."""
    return x_BTD.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x_BHTK: Tensor) -> Tensor:
    """(B, H, T, K) as (B, T, H*K)."""
    return x_BHTK.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Attention with biased projections, under the published keys `linear_q`, `linear_k`, `linear_v`, `linear_out`.

    Args:
        dim: model width D.
        heads: number of heads H, a divisor of `dim`.
        dropout: rate on the attention weights while training.

    Raises:
        ConfigError: `dim` is not a multiple of `heads`.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(
                "the width of attention must be a multiple of its heads", expected=f"k * {heads}", got=dim
            )
        self.dim, self.heads, self.dropout = dim, heads, dropout
        self.linear_q = Linear(dim, dim)
        self.linear_k = Linear(dim, dim)
        self.linear_v = Linear(dim, dim)
        self.linear_out = Linear(dim, dim)

    def keys_values(self, key_BSD: Tensor, value_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Projected keys and values, (B, H, S, K) each: what a decoder computes once and keeps."""
        return split_heads(self.linear_k(key_BSD), self.heads), split_heads(self.linear_v(value_BSD), self.heads)

    def attend(self, query_BTD: Tensor, keys_BHSK: Tensor, values_BHSK: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of `query_BTD` to keys and values that were projected before. Mask as in `forward`."""
        query_BHTK = split_heads(self.linear_q(query_BTD), self.heads)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        # A query whose keys are all masked gets zeros here, as published, and so the bias of `linear_out` in the end.
        context_BHTK = F.scaled_dot_product_attention(
            query_BHTK, keys_BHSK, values_BHSK, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0
        )
        return self.linear_out(merge_heads(context_BHTK))

    def forward(self, query_BTD: Tensor, key_BSD: Tensor, value_BSD: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            query_BTD, key_BSD, value_BSD: inputs before projection.
            mask: bool, True where a query may look: (B, 1 or T, S) or (B, 1 or H, 1 or T, S); None for everywhere.

        Returns:
            (B, T, D). A query that may look nowhere gets the bias of `linear_out`.
        """
        return self.attend(query_BTD, *self.keys_values(key_BSD, value_BSD), mask)
