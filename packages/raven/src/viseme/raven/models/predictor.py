"""The predictor: what a student puts on top of its encoder, in pre-training only, to regress a teacher's output.

B clips, T frames, D channels of the encoder, P channels of the predictor.
Source: RAVEn, section 3 ("the predictors are shallow Transformers that receive mask tokens").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from viseme.core.layers.positions import RelativePositions
from viseme.core.layers.transformer import NORM_EPS
from viseme.raven.models.block import EncoderBlock, run_blocks

__all__ = ["MaskEmbedding", "Predictor"]

MASK_STD = 0.02


class MaskEmbedding(nn.Module):
    """Linear to the predictor's width; then every masked frame's vector is replaced by a learned one.

    Args:
        dim: D of the encoder.
        width: P.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, width)
        self.mask_emb = nn.Parameter(torch.empty(width).normal_(std=MASK_STD))

    def forward(self, x_BTD: Tensor, masked_BT: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, P); `masked_BT` is True where the student saw nothing."""
        x_BTP: Tensor = self.linear(x_BTD)
        if masked_BT is None:
            return x_BTP
        return torch.where(masked_BT.unsqueeze(-1), self.mask_emb.to(x_BTP.dtype), x_BTP)


class Predictor(nn.Module):
    """Mask embedding, positions, blocks without LayerScale, final norm, linear to the target's width.

    Args:
        dim: D of the student's encoder.
        target_dim: D of the teacher.
        width, heads, units, blocks: of the predictor's Transformer.
        dropout: everywhere in it.
    """

    def __init__(
        self, dim: int, target_dim: int, width: int, heads: int, units: int, blocks: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.embed = MaskEmbedding(dim, width)
        self.positions = RelativePositions(width, dropout)
        self.encoders = nn.ModuleList(
            EncoderBlock(width, heads, units, dropout, dropout, layer_scale=None) for _ in range(blocks)
        )
        self.after_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.last_linear = nn.Linear(width, target_dim)

    @torch.no_grad()
    def start_at_unit_scale(self) -> None:
        """As `Encoder.start_at_unit_scale`; the mask embedding is small as it is."""
        for parameter in self.embed.linear.parameters():
            parameter.div_(self.embed.linear.out_features**0.5)

    def forward(self, x_BTD: Tensor, masked_BT: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, target's D). `mask` (B, 1, T) is True on valid frames."""
        x_BTP, table_1RP = self.positions(self.embed(x_BTD, masked_BT))
        return self.last_linear(self.after_norm(run_blocks(self.encoders, x_BTP, table_1RP, mask)[-1]))
