"""Transformer blocks and the attention decoder (Vaswani et al. 2017; pre-norm).

Shapes: B batch (clips C when decoding), L tokens, S memory frames, N hypotheses per clip, D model width, V vocabulary,
H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from viseme.core.layers.attention import MultiHeadAttention
from viseme.core.layers.cache import KeyValueCache
from viseme.core.layers.feed_forward import FeedForward
from viseme.core.layers.linear import Linear
from viseme.core.layers.masks import causal_mask, padding_mask
from viseme.core.layers.positions import AbsolutePositions
from viseme.core.layers.recompute import recomputed

__all__ = ["TransformerBlock", "DecoderBlock", "TransformerDecoder", "DecoderState"]

NORM_EPS = 1e-12  # of the published encoders, decoders and language models; the default 1e-5 gives other answers


def attend_to_past(
    attention: MultiHeadAttention, x_RD: Tensor, cache: KeyValueCache, layer: int, mask: Tensor | None
) -> Tensor:
    """Self-attention of the newest token to itself and all before it, (R, D); stores its key and value."""
    cache.put(layer, attention.linear_k(x_RD), attention.linear_v(x_RD))
    keys_RHLK, values_RHLK = cache.get(layer, attention.heads)
    return attention.attend(x_RD.unsqueeze(1), keys_RHLK, values_RHLK, mask).squeeze(1)


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward, with the keys `norm_mha`, `self_attn`, `norm_ff`, `feed_forward`.

    Args:
        dim, heads, units: model width, attention heads, feed-forward width.
        dropout: rate on both branches and inside the feed-forward.
        attention_dropout: rate on the attention weights; `dropout` when None.
    """

    def __init__(
        self, dim: int, heads: int, units: int, dropout: float = 0.0, attention_dropout: float | None = None
    ) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(dim, heads, dropout if attention_dropout is None else attention_dropout)
        self.feed_forward = FeedForward(dim, units, dropout)
        self.norm_mha = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm_ff = nn.LayerNorm(dim, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, D) to (B, L, D); mask as in `MultiHeadAttention`."""
        h_BLD = self.norm_mha(x_BLD)
        x_BLD = x_BLD + self.dropout(self.self_attn(h_BLD, h_BLD, h_BLD, mask))
        return x_BLD + self.dropout(self.feed_forward(self.norm_ff(x_BLD)))

    def step(self, x_RD: Tensor, cache: KeyValueCache, layer: int, mask: Tensor | None = None) -> Tensor:
        """One token per row, (R, D), given the cached ones. `mask` (R, 1, L): True where a past token may be seen."""
        x_RD = x_RD + attend_to_past(self.self_attn, self.norm_mha(x_RD), cache, layer, mask)
        return x_RD + self.feed_forward(self.norm_ff(x_RD))


class DecoderBlock(nn.Module):
    """Pre-norm self-attention, cross-attention to the memory, feed-forward: `norm1`, `self_attn`, `norm2`, `src_attn`,
    `norm3`, `feed_forward`. Arguments as of `TransformerBlock`."""

    def __init__(self, dim: int, heads: int, units: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(dim, heads, attention_dropout)
        self.src_attn = MultiHeadAttention(dim, heads, attention_dropout)
        self.feed_forward = FeedForward(dim, units, dropout)
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.norm3 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, mask: Tensor, memory_BSD: Tensor, memory_mask: Tensor | None) -> Tensor:
        """(B, L, D) to (B, L, D); masks as in `MultiHeadAttention`."""
        h_BLD = self.norm1(x_BLD)
        x_BLD = x_BLD + self.dropout(self.self_attn(h_BLD, h_BLD, h_BLD, mask))
        x_BLD = x_BLD + self.dropout(self.src_attn(self.norm2(x_BLD), memory_BSD, memory_BSD, memory_mask))
        return x_BLD + self.dropout(self.feed_forward(self.norm3(x_BLD)))

    def step(self, x_CND: Tensor, state: DecoderState, layer: int) -> Tensor:
        """The newest token of every hypothesis, (C, N, D)."""
        own_RD = attend_to_past(self.self_attn, self.norm1(x_CND).flatten(0, 1), state.cache, layer, None)
        x_CND = x_CND + own_RD.view_as(x_CND)
        # The hypotheses of a clip are so many queries to one set of keys and values.
        keys_CHSK, values_CHSK = state.memory[layer]
        x_CND = x_CND + self.src_attn.attend(self.norm2(x_CND), keys_CHSK, values_CHSK, state.memory_mask)
        return x_CND + self.feed_forward(self.norm3(x_CND))


@dataclass
class DecoderState:
    """What incremental decoding keeps of C clips with N hypotheses each.

    Attributes:
        memory: per layer the cross-attention's keys and values (C, H, S, K), one copy per clip.
        memory_mask: (C, 1, S) bool, True on real frames; None when no clip is padded.
        cache: self-attention keys and values, C*N rows.
        hypotheses: N.
    """

    memory: list[tuple[Tensor, Tensor]]
    memory_mask: Tensor | None
    cache: KeyValueCache
    hypotheses: int = 1

    def select(self, parents_CN: Tensor, clips_C: Tensor | None = None) -> None:
        """Hypothesis (c, n) becomes what `parents_CN[c, n]` of clip `clips_C[c]` was (of clip c when None)."""
        self.cache.select(flat_rows(parents_CN, clips_C, self.hypotheses))
        self.hypotheses = parents_CN.shape[1]
        if clips_C is not None:
            self.memory = [(keys[clips_C], values[clips_C]) for keys, values in self.memory]
            self.memory_mask = None if self.memory_mask is None else self.memory_mask[clips_C]


def flat_rows(parents_CN: Tensor, clips_C: Tensor | None, hypotheses: int) -> Tensor:
    """Row numbers, (C*N,), of hypotheses in a (clips x hypotheses) batch laid out flat."""
    if clips_C is None:
        clips_C = torch.arange(parents_CN.shape[0], device=parents_CN.device)
    return (clips_C.unsqueeze(1) * hypotheses + parents_CN).flatten()


class TransformerDecoder(nn.Module):
    """The attention decoder of the published recognisers: `embed`, `decoders`, `after_norm`, `output_layer`.

    It is also a full scorer of `viseme.core.decoding`: `init_state`, then `step` once per token.

    Args:
        vocabulary: V.
        dim, heads, units, blocks: width D, attention heads, feed-forward width, number of blocks.
        dropout: on the embedding, on every branch and in the feed-forward.
        attention_dropout: on the attention weights; `dropout` when None.
        memory_dim: width of the encoder's output; where it differs from `dim`, `proj_decoder` maps it.
    """

    def __init__(
        self,
        vocabulary: int,
        dim: int = 768,
        heads: int = 12,
        units: int = 3072,
        blocks: int = 6,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        memory_dim: int | None = None,
    ) -> None:
        super().__init__()
        attention_dropout = dropout if attention_dropout is None else attention_dropout
        self.vocabulary, self.dim, self.heads = vocabulary, dim, heads
        self.proj_decoder = Linear(memory_dim, dim) if memory_dim not in (None, dim) else None
        self.embed = nn.Sequential(nn.Embedding(vocabulary, dim), AbsolutePositions(dim, dropout))
        self.decoders = nn.ModuleList(
            DecoderBlock(dim, heads, units, dropout, attention_dropout) for _ in range(blocks)
        )
        self.after_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.output_layer = Linear(dim, vocabulary)
        self.recompute = False
        """Activation checkpointing of each block, in training."""

    def blocks(self) -> Iterator[DecoderBlock]:
        """The decoder blocks, in order."""
        return (cast(DecoderBlock, block) for block in self.decoders)

    def hidden(self, tokens_BL: Tensor, memory_BSD: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """Teacher-forced output before `output_layer`, (B, L, D): for losses that fuse that layer."""
        if self.proj_decoder is not None:
            memory_BSD = self.proj_decoder(memory_BSD)
        mask = causal_mask(tokens_BL.shape[1], device=tokens_BL.device)
        x_BLD = self.embed(tokens_BL)
        for block in self.decoders:
            if self.recompute and self.training:
                x_BLD = recomputed(block, x_BLD, mask, memory_BSD, memory_mask)
            else:
                x_BLD = block(x_BLD, mask, memory_BSD, memory_mask)
        return self.after_norm(x_BLD)

    def forward(self, tokens_BL: Tensor, memory_BSD: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """Teacher-forced logits, (B, L, V).

        Args:
            tokens_BL: sos and labels, padded with eos (which no earlier token sees).
            memory_BSD: the encoder's output.
            memory_mask: (B, 1, S) bool, True on real frames.
        """
        return self.output_layer(self.hidden(tokens_BL, memory_BSD, memory_mask))

    def init_state(self, memory_CSD: Tensor, lengths_C: Tensor | None = None) -> DecoderState:
        """Begin decoding: the cross-attention's keys and values of every clip, made once.

        Args:
            memory_CSD: the encoder's output.
            lengths_C: real frames of each clip; None when none is padded.
        """
        if self.proj_decoder is not None:
            memory_CSD = self.proj_decoder(memory_CSD)
        clips, frames, _ = memory_CSD.shape
        mask = None
        if lengths_C is not None and int(lengths_C.min()) < frames:
            mask = padding_mask(lengths_C, frames)
        memory = [block.src_attn.keys_values(memory_CSD, memory_CSD) for block in self.blocks()]
        memory = [(keys.contiguous(), values.contiguous()) for keys, values in memory]
        cache = KeyValueCache(len(self.decoders), self.dim, clips, device=memory_CSD.device, dtype=memory_CSD.dtype)
        return DecoderState(memory, mask, cache)

    def step(self, tokens_CN: Tensor, state: DecoderState) -> Tensor:
        """Log-probabilities of the next token, (C, N, V), after each hypothesis' newest token; `state` moves on."""
        position = state.cache.length
        state.cache.begin_step()
        embedding, positions = self.embed
        x_CND = positions(embedding(tokens_CN.reshape(-1, 1)), start=position).view(*tokens_CN.shape, self.dim)
        for layer, block in enumerate(self.blocks()):
            x_CND = block.step(x_CND, state, layer)
        return self.output_layer(self.after_norm(x_CND)).log_softmax(-1)
