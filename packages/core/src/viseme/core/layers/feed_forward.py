"""The position-wise feed-forward network (Vaswani et al. 2017, section 3.3).

B clips, T positions, D channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from viseme.core.layers.linear import Linear

__all__ = ["FeedForward"]


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, linear.

    Args:
        dim: D.
        units: hidden width.
        dropout: on the hidden layer.
    """

    def __init__(self, dim: int, units: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.w_1 = Linear(dim, units)
        self.w_2 = Linear(units, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.w_2(self.dropout(self.w_1(x_BTD).relu()))
