"""The Transformer language model that published decoders fuse: no positions, 16 pre-norm blocks.

Shapes: B batch, L tokens, C clips, N hypotheses per clip, R rows (C*N), D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viseme.core.layers.cache import KeyValueCache
from viseme.core.layers.linear import Linear
from viseme.core.layers.masks import causal_mask
from viseme.core.layers.transformer import NORM_EPS, TransformerBlock, flat_rows

__all__ = ["TransformerLM", "LMState", "LMLoss"]

PADDING = 0  # id that the published model neither attends to nor learns from


class LMEncoder(nn.Module):
    """`embed` (Linear, LayerNorm with the default eps, dropout, ReLU), `encoders`, `after_norm`."""

    def __init__(self, embed: int, dim: int, heads: int, units: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Sequential(Linear(embed, dim), nn.LayerNorm(dim), nn.Dropout(dropout), nn.ReLU())
        self.encoders = nn.ModuleList(TransformerBlock(dim, heads, units, dropout) for _ in range(blocks))
        self.after_norm = nn.LayerNorm(dim, eps=NORM_EPS)


@dataclass
class LMState:
    """Incremental state of C*N rows: cached keys and values, and `real`, which tokens so far are
    not padding, (R, L) bool."""

    cache: KeyValueCache
    real: Tensor
    hypotheses: int = 1

    def select(self, parents_CN: Tensor, clips_C: Tensor | None = None) -> None:
        """Hypothesis (c, n) becomes what `parents_CN[c, n]` of clip `clips_C[c]` was (of clip c when None)."""
        rows_R = flat_rows(parents_CN, clips_C, self.hypotheses)
        self.cache.select(rows_R)
        self.real = self.real[rows_R]
        self.hypotheses = parents_CN.shape[1]


@dataclass(frozen=True)
class LMLoss:
    """`mean` negative log-likelihood per token, its `total`, and the `count` of tokens."""

    mean: Tensor
    total: Tensor
    count: Tensor


class TransformerLM(nn.Module):
    """Language model over the recogniser's own units; a full scorer of `viseme.core.decoding`.

    Args:
        vocabulary: V, the recogniser's.
        embed, dim, heads, units, blocks: embedding width, model width, heads, feed-forward width, blocks.
        dropout: rate everywhere (0 in the published models).
    """

    def __init__(
        self,
        vocabulary: int,
        embed: int = 128,
        dim: int = 512,
        heads: int = 8,
        units: int = 2048,
        blocks: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocabulary, self.dim = vocabulary, dim
        self.embed = nn.Embedding(vocabulary, embed)
        self.encoder = LMEncoder(embed, dim, heads, units, blocks, dropout)
        self.decoder = Linear(dim, vocabulary)

    def hidden(self, tokens_BL: Tensor) -> Tensor:
        """Encoder output, (B, L, D). Token 0 is padding: nothing attends to it."""
        mask = causal_mask(tokens_BL.shape[1], device=tokens_BL.device) & (tokens_BL != PADDING).unsqueeze(1)
        x_BLD = self.encoder.embed(self.embed(tokens_BL))
        for block in self.encoder.encoders:
            x_BLD = block(x_BLD, mask)
        return self.encoder.after_norm(x_BLD)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Logits of the next token at every position, (B, L, V)."""
        return self.decoder(self.hidden(tokens_BL))

    def loss(self, tokens_BL: Tensor, targets_BL: Tensor) -> LMLoss:
        """Cross-entropy of `targets_BL` over the positions whose input is not padding."""
        nll_BL = F.cross_entropy(self(tokens_BL).transpose(1, 2), targets_BL, reduction="none")
        real_BL = (tokens_BL != PADDING).to(nll_BL.dtype)
        total, count = (nll_BL * real_BL).sum(), real_BL.sum()
        return LMLoss(total / count.clamp(min=1), total, count)

    def init_state(self, memory_CSD: Tensor, lengths_C: Tensor | None = None) -> LMState:
        """Begin decoding: one empty prefix per clip. Only the number of clips and the device of `memory_CSD` matter."""
        clips, weight = memory_CSD.shape[0], self.embed.weight
        cache = KeyValueCache(len(self.encoder.encoders), self.dim, clips, device=weight.device, dtype=weight.dtype)
        return LMState(cache, torch.empty(clips, 0, dtype=torch.bool, device=weight.device))

    def step(self, tokens_CN: Tensor, state: LMState) -> Tensor:
        """Log-probabilities of the next token, (C, N, V), after each hypothesis' newest token; `state` moves on."""
        tokens_R = tokens_CN.flatten()
        state.cache.begin_step()
        state.real = torch.cat((state.real, (tokens_R != PADDING).unsqueeze(1)), dim=1)
        mask = None if bool(state.real.all()) else state.real.unsqueeze(1)
        x_RD = self.encoder.embed(self.embed(tokens_R))
        for layer, block in enumerate(self.encoder.encoders):
            x_RD = cast(TransformerBlock, block).step(x_RD, state.cache, layer, mask)
        logits_RV = self.decoder(self.encoder.after_norm(x_RD))
        return logits_RV.log_softmax(-1).view(*tokens_CN.shape, self.vocabulary)
