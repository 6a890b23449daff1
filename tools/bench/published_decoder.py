"""A plain eager port of the published decoder's structure: the alternative that the search is measured against.

Per step and hypothesis it projects the encoder output to keys and values again in each layer, and of the past it keeps
each layer's outputs, from which the self-attention's keys and values are made again. The rest of the search is ours, so
its figures flatter the published one (whose own CTC scores and bookkeeping took 0.17 s of 6.55 s).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from viseme.core.layers.masks import causal_mask
from viseme.core.layers.transformer import TransformerDecoder, flat_rows

__all__ = ["PublishedDecoder"]


@dataclass
class OutputCache:
    """The memory of every row (R, T, D), prefixes (R, L), and per layer the outputs so far (R, L, D)."""

    memory: Tensor
    tokens: Tensor
    outputs: list[Tensor]
    hypotheses: int = 1

    def select(self, parents_CN: Tensor, clips_C: Tensor | None = None) -> None:
        rows_R = flat_rows(parents_CN, clips_C, self.hypotheses)
        self.memory, self.tokens = self.memory[rows_R], self.tokens[rows_R]
        self.outputs = [output_RLD[rows_R] for output_RLD in self.outputs]
        self.hypotheses = parents_CN.shape[1]


class PublishedDecoder:
    """Scores as `decoder` does, in the published way."""

    def __init__(self, decoder: TransformerDecoder) -> None:
        self.decoder, self.vocabulary = decoder, decoder.vocabulary

    def init_state(self, memory_CTD: Tensor, lengths_C: Tensor | None = None) -> OutputCache:
        if lengths_C is not None:
            raise ValueError("the published search takes one clip, without padding")
        tokens_RL = torch.empty(len(memory_CTD), 0, dtype=torch.long)
        empty_RLD = memory_CTD.new_empty(len(memory_CTD), 0, self.decoder.dim)
        return OutputCache(memory_CTD, tokens_RL, [empty_RLD] * len(self.decoder.decoders))

    def step(self, tokens_CN: Tensor, state: OutputCache) -> Tensor:
        state.tokens = torch.cat((state.tokens, tokens_CN.flatten().unsqueeze(1)), dim=1)
        mask = causal_mask(state.tokens.shape[1])[:, -1:]
        x_RLD = self.decoder.embed(state.tokens)
        for layer, block in enumerate(self.decoder.blocks()):
            h_RLD = block.norm1(x_RLD)
            newest = x_RLD[:, -1:] + block.self_attn(h_RLD[:, -1:], h_RLD, h_RLD, mask)
            newest = newest + block.src_attn(block.norm2(newest), state.memory, state.memory)
            newest = newest + block.feed_forward(block.norm3(newest))
            x_RLD = state.outputs[layer] = torch.cat((state.outputs[layer], newest), dim=1)
        logits_RV = self.decoder.output_layer(self.decoder.after_norm(x_RLD[:, -1]))
        return logits_RV.log_softmax(-1).view(*tokens_CN.shape, -1)
