"""Generation with the image encoded once: greedy and beam search over GIT's layers, all images of a batch together.

The keys and values of an image are computed once and shared by all its hypotheses, which are never copied when
hypotheses are reordered; only those of the text are. Results are those of transformers' `generate` (a test compares).

B images, K hypotheses of each, N image tokens, L text tokens, D width, H heads, E head width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GitForCausalLM

from viseme.core.errors import ConfigError

__all__ = ["Generation", "GenerationConfig", "generate"]

_NEVER = -1.0e9
_GROWTH = 64  # tokens that the cache has room for at first; doubled when full


@dataclass(frozen=True)
class GenerationConfig:
    """Attributes:
    beam: hypotheses; 1 is greedy.
    max_tokens: longest result, start and end included (published: 512).
    length_penalty: the score of a hypothesis is its log-probability divided by (length without start)^penalty.
    """

    beam: int = 1
    max_tokens: int = 512
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ConfigError("a beam holds at least one hypothesis", got=self.beam)
        if self.max_tokens < 2:
            raise ConfigError("max_tokens counts start and end", expected="at least 2", got=self.max_tokens)


@dataclass(frozen=True, eq=False)
class Generation:
    """What was generated for one image.

    Attributes:
        tokens: start first, the end last where it came.
        score: log-probability / (length without start)^penalty.
        logits: (steps, V) raw scores of each step, for greedy search and where asked.
    """

    tokens: list[int]
    score: float
    logits: Tensor | None = None


class _Cache:
    """Keys and values: of images (B, H, N, E) per layer; of the text (layers, B, K, H, L, E), filled to `length`."""

    def __init__(self, model: GitForCausalLM, image_BND: Tensor, hypotheses: int) -> None:
        layers = model.git.encoder.layer
        attention = layers[0].attention.self
        heads, width = attention.num_attention_heads, attention.attention_head_size
        self.image: list[tuple[Tensor, Tensor]] = []
        x_BND = image_BND
        for number, layer in enumerate(layers):
            own = layer.attention.self
            key, value = (_split(part(x_BND), heads) for part in (own.key, own.value))
            self.image.append((key, value))
            if number + 1 < len(layers):  # image rows see image columns only: the text need not be there yet
                context = F.scaled_dot_product_attention(_split(own.query(x_BND), heads), key, value)
                x_BND = layer.feed_forward_chunk(layer.attention.output(context.transpose(1, 2).flatten(2), x_BND))
        shape = (len(layers), len(image_BND), hypotheses, heads, _GROWTH, width)
        self.keys, self.values = image_BND.new_zeros(shape), image_BND.new_zeros(shape)
        self.length = 0

    def reserve(self) -> None:
        """Make room for one more token."""
        if self.length == self.keys.shape[-2]:
            self.keys, self.values = (F.pad(part, (0, 0, 0, self.length)) for part in (self.keys, self.values))

    def select(self, parents_BK: Tensor, images_B: Tensor | None = None) -> None:
        """Go on with these hypotheses (and, where given, with these images alone)."""
        rows_B1 = torch.arange(len(parents_BK), device=parents_BK.device)[:, None]
        if images_B is not None:
            rows_B1 = images_B[:, None]
            self.image = [(key[images_B], value[images_B]) for key, value in self.image]
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old if images_B is None else old.new_zeros(old.shape[0], len(parents_BK), *old.shape[2:])
            new[..., : self.length, :] = old[:, rows_B1, parents_BK, :, : self.length]
            setattr(self, name, new)


def _split(x_BND: Tensor, heads: int) -> Tensor:
    return x_BND.unflatten(2, (heads, -1)).transpose(1, 2)


def _step(model: GitForCausalLM, tokens_BK: Tensor, cache: _Cache) -> Tensor:
    """Scores (B, K, V) of what follows; the tokens go into the cache."""
    cache.reserve()
    at = cache.length
    position = torch.full_like(tokens_BK, at)
    x_BKD = model.git.embeddings(input_ids=tokens_BK, position_ids=position)
    for number, layer in enumerate(model.git.encoder.layer):
        own = layer.attention.self
        heads, scale = own.num_attention_heads, own.attention_head_size**-0.5
        query = own.query(x_BKD).unflatten(2, (heads, -1)) * scale  # B K H E
        cache.keys[number, :, :, :, at] = own.key(x_BKD).unflatten(2, (heads, -1))
        cache.values[number, :, :, :, at] = own.value(x_BKD).unflatten(2, (heads, -1))
        text_key, text_value = (part[number, ..., : at + 1, :] for part in (cache.keys, cache.values))  # B K H L E
        image_key, image_value = cache.image[number]
        on_image = query.transpose(1, 2) @ image_key.transpose(2, 3)  # B H K N
        on_text = (text_key @ query.unsqueeze(-1)).squeeze(-1)  # B K H L
        weights = torch.cat([on_image.transpose(1, 2), on_text], dim=-1).softmax(-1)
        image_tokens = image_key.shape[2]
        context = (weights[..., :image_tokens].transpose(1, 2) @ image_value).transpose(1, 2)
        context = context + (weights[..., None, image_tokens:] @ text_value).squeeze(-2)
        x_BKD = layer.feed_forward_chunk(layer.attention.output(context.flatten(2), x_BKD))
    cache.length = at + 1
    return model.output(x_BKD)


@torch.no_grad()
def generate(
    model: GitForCausalLM, image_BND: Tensor, config: GenerationConfig | None = None, *, keep_logits: bool = False
) -> list[Generation]:
    """The best token sequence of each image.

    Args:
        model: GIT, in evaluation mode.
        image_BND: projected image tokens.
        config: how to search.
        keep_logits: keep the raw scores of each step (greedy search).

    Raises:
        ConfigError: more tokens asked for than the decoder has positions.
    """
    config = config or GenerationConfig()
    positions = model.config.max_position_embeddings
    if config.max_tokens > positions:
        raise ConfigError("max_tokens exceeds the decoder's positions", expected=positions, got=config.max_tokens)
    if config.beam == 1:
        return _greedy(model, image_BND, config, keep_logits)
    return _beam(model, image_BND, config)


def _greedy(model: GitForCausalLM, image_BND: Tensor, config: GenerationConfig, keep: bool) -> list[Generation]:
    bos, eos = model.config.bos_token_id, model.config.eos_token_id
    cache = _Cache(model, image_BND, 1)
    tokens: list[list[int]] = [[bos] for _ in image_BND]
    totals, logits = [0.0] * len(tokens), [[] for _ in tokens]  # type: ignore[var-annotated]
    live = list(range(len(tokens)))
    last_B1 = torch.full((len(tokens), 1), bos, device=image_BND.device)
    for _ in range(config.max_tokens - 1):
        logits_BV = _step(model, last_B1, cache)[:, 0]
        best_B = logits_BV.argmax(-1)
        gained = logits_BV.log_softmax(-1).gather(1, best_B[:, None])[:, 0].tolist()
        for row, (number, token) in enumerate(zip(live, best_B.tolist())):
            tokens[number].append(token)
            totals[number] += gained[row]
            if keep:
                logits[number].append(logits_BV[row].clone())
        going = [row for row, number in enumerate(live) if tokens[number][-1] != eos]
        if not going:
            break
        last_B1 = best_B[:, None]
        if len(going) < len(live):  # what has ended costs nothing any more
            images_B = torch.tensor(going, device=best_B.device)
            cache.select(torch.zeros(len(going), 1, dtype=torch.long, device=best_B.device), images_B)
            last_B1, live = last_B1[images_B], [live[row] for row in going]
    return [
        Generation(row, total / (len(row) - 1) ** config.length_penalty, torch.stack(some) if some else None)
        for row, total, some in zip(tokens, totals, logits)
    ]


def _beam(model: GitForCausalLM, image_BND: Tensor, config: GenerationConfig) -> list[Generation]:
    """Beam search that stops for an image as soon as `beam` hypotheses have ended (transformers' early stopping).

    Of the 2 K best continuations, those that end count only if they are among the first K; the K best that do not end
    go on. At the length limit all count.
    """
    bos, eos, beam = model.config.bos_token_id, model.config.eos_token_id, config.beam
    device, images = image_BND.device, len(image_BND)
    cache = _Cache(model, image_BND, beam)
    rows_BKL = torch.full((images, beam, 1), bos, device=device)
    score_BK = torch.full((images, beam), _NEVER, device=device)
    score_BK[:, 0] = 0.0
    ended: list[list[Generation]] = [[] for _ in range(images)]
    live = torch.arange(images, device=device)
    for length in range(1, config.max_tokens):  # of the hypotheses after this step, without their start
        logp_BKV = _step(model, rows_BKL[..., -1], cache).log_softmax(-1)
        vocabulary = logp_BKV.shape[-1]
        best_BC, flat_BC = (score_BK[..., None] + logp_BKV).flatten(1).topk(2 * beam)
        parent_BC, token_BC = flat_BC // vocabulary, flat_BC % vocabulary
        full = length + 1 == config.max_tokens
        ends_BC = token_BC.eq(eos) | full
        for row, column in ends_BC[:, :beam].nonzero().tolist():
            found = ended[int(live[row])]
            if best_BC[row, column] <= _NEVER / 2:  # a continuation of a hypothesis that there is not
                continue
            tokens = [*rows_BKL[row, parent_BC[row, column]].tolist(), int(token_BC[row, column])]
            found.append(Generation(tokens, float(best_BC[row, column]) / length**config.length_penalty))
        going = [row for row, number in enumerate(live.tolist()) if len(ended[number]) < beam]
        if full or not going:
            break
        kept_B = torch.tensor(going, device=device)
        best_BC, parent_BC, token_BC = (x[kept_B] for x in (best_BC, parent_BC, token_BC))
        score_BK, order_BK = best_BC.masked_fill(ends_BC[kept_B], _NEVER).topk(beam)
        parents_BK, tokens_BK = parent_BC.gather(1, order_BK), token_BC.gather(1, order_BK)
        rows_BKL = torch.cat([rows_BKL[kept_B[:, None], parents_BK], tokens_BK[..., None]], dim=-1)
        cache.select(parents_BK, kept_B if len(going) < len(live) else None)
        live = live[kept_B]
    return [max(found[:beam], key=lambda generation: generation.score) for found in ended]
