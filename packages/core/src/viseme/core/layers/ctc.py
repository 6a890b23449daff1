"""The CTC head: dropout and one linear layer over the encoder's frames (Graves et al., 2006).

B clips, T frames, D channels, V units.
"""

from __future__ import annotations

from torch import Tensor, nn

from viseme.core.layers.linear import Linear

__all__ = ["CTCHead"]


class CTCHead(nn.Module):
    """Log-posteriors of the units per frame.

    Args:
        dim: D.
        vocabulary: V, blank included.
        dropout: on the input, in training only.
    """

    def __init__(self, dim: int, vocabulary: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.ctc_lo = Linear(dim, vocabulary)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V) log-probabilities."""
        return self.ctc_lo(self.dropout(x_BTD)).log_softmax(dim=-1)
