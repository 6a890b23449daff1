"""The beam search against exhaustive search and a naive decoder, and its promises about batches and caches; float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from viseme.core.decoding import BeamConfig, Hypothesis, beam_search
from viseme.core.errors import ConfigError, DataError
from viseme.core.layers.ctc import CTCHead
from viseme.core.layers.language_model import TransformerLM
from viseme.core.layers.transformer import TransformerDecoder

V, D = 5, 8
EOS = V - 1


@pytest.fixture(scope="module")
def scorers() -> tuple[TransformerDecoder, CTCHead, TransformerLM]:
    torch.manual_seed(3)
    decoder = TransformerDecoder(V, D, heads=2, units=16, blocks=2).double().eval()
    ctc, lm = CTCHead(D, V).double().eval(), TransformerLM(V, 4, D, 2, 16, 2).double().eval()
    with torch.no_grad():
        for module in (decoder.output_layer, ctc.ctc_lo, lm.decoder):
            module.weight.mul_(4)
    return decoder, ctc, lm


def memory(clips: int, frames: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(clips, frames, D, generator=torch.Generator().manual_seed(seed)).double()


def same(got: list[Hypothesis], wanted: list[Hypothesis]) -> None:
    assert [h.tokens for h in got] == [h.tokens for h in wanted]
    for a, b in zip(got, wanted):
        assert a.score == pytest.approx(b.score, abs=1e-9)
        assert a.scores == pytest.approx(b.scores, abs=1e-9)


class NaiveScorer:
    """A scorer that keeps no cache: the whole prefix, and the whole clip, go through the model at every step."""

    def __init__(self, model: TransformerDecoder | TransformerLM) -> None:
        self.model, self.vocabulary = model, model.vocabulary

    class State:
        def __init__(self, memory_CTD: Tensor, lengths_C: Tensor | None) -> None:
            self.memory = memory_CTD
            self.lengths = torch.full((len(memory_CTD),), memory_CTD.shape[1]) if lengths_C is None else lengths_C
            self.prefix_CNL = torch.empty(len(memory_CTD), 1, 0, dtype=torch.long)

        def select(self, parents_CN: Tensor, clips_C: Tensor | None = None) -> None:
            if clips_C is not None:
                self.memory, self.lengths = self.memory[clips_C], self.lengths[clips_C]
                self.prefix_CNL = self.prefix_CNL[clips_C]
            self.prefix_CNL = torch.stack([prefixes[p] for prefixes, p in zip(self.prefix_CNL, parents_CN)])

    def init_state(self, memory_CTD: Tensor, lengths_C: Tensor | None = None) -> State:
        return self.State(memory_CTD, lengths_C)

    def step(self, tokens_CN: Tensor, state: State) -> Tensor:
        state.prefix_CNL = torch.cat((state.prefix_CNL, tokens_CN.unsqueeze(-1)), dim=-1)
        rows = []
        for clip, frames, prefixes in zip(state.memory, state.lengths.tolist(), state.prefix_CNL):
            if isinstance(self.model, TransformerLM):
                logits = self.model(prefixes)
            else:
                logits = self.model(prefixes, clip[None, :frames].expand(len(prefixes), -1, -1))
            rows.append(logits[:, -1].log_softmax(-1))
        return torch.stack(rows)


CONFIGS = [
    BeamConfig(beam=1),
    BeamConfig(beam=2, ctc_weight=0.3),
    BeamConfig(beam=3, ctc_weight=0.0),
    BeamConfig(beam=3, ctc_weight=1.0, lm_weight=0.5),
    BeamConfig(beam=4, ctc_weight=0.5, lm_weight=0.3, penalty=0.5),
    BeamConfig(beam=2, maxlenratio=0.5),
    BeamConfig(beam=2, maxlenratio=-4),
]


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_cached_equals_uncached(scorers: tuple, config: BeamConfig) -> None:
    decoder, ctc, lm = scorers
    memory_CTD, lengths = memory(3, 7), torch.tensor([7, 4, 1])
    cached = beam_search(memory_CTD, lengths, decoder, ctc, lm, config)
    naive = beam_search(memory_CTD, lengths, NaiveScorer(decoder), ctc, NaiveScorer(lm), config)
    for got, wanted in zip(cached, naive):
        same(got, wanted)


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_batched_equals_single(scorers: tuple, config: BeamConfig) -> None:
    decoder, ctc, lm = scorers
    memory_CTD, lengths = memory(4, 9, seed=1), torch.tensor([5, 9, 1, 6])
    together = beam_search(memory_CTD, lengths, decoder, ctc, lm, config)
    for clip, frames, got in zip(memory_CTD, lengths.tolist(), together):
        same(got, beam_search(clip[None, :frames], None, decoder, ctc, lm, config)[0])


def exhaustive(memory_1TD: Tensor, scorers: tuple, config: BeamConfig) -> list[Hypothesis]:
    """Every sequence with an end of its own within the length limit that CTC can emit, with its exact score."""
    decoder, ctc, lm = scorers
    logp_1TV = ctc(memory_1TD)
    frames, longest = memory_1TD.shape[1], config.longest(memory_1TD.shape[1])
    found = []
    for length in range(longest):
        for units in itertools.product(range(1, V - 1), repeat=length):
            tokens = torch.tensor([[EOS, *units]])
            targets = torch.tensor([[*units, EOS]])
            parts = {
                "decoder": decoder(tokens, memory_1TD).log_softmax(-1).gather(-1, targets[..., None]).sum().item(),
                "lm": lm(tokens).log_softmax(-1).gather(-1, targets[..., None]).sum().item(),
                "length_bonus": float(length + 1),
            }
            ctc_loss = F.ctc_loss(
                logp_1TV.transpose(0, 1),
                targets[:, :-1],
                torch.tensor([frames]),
                torch.tensor([length]),
                reduction="sum",
            )
            parts["ctc"] = -ctc_loss.item()
            weights = {"decoder": 1 - config.ctc_weight, "ctc": config.ctc_weight, "lm": config.lm_weight}
            score = sum(weights.get(name, config.penalty) * part for name, part in parts.items())
            if math.isfinite(score):
                found.append(Hypothesis([EOS, *units, EOS], score, parts))
    return sorted(found, key=lambda h: -h.score)


@pytest.mark.parametrize("frames", [2, 5])
@torch.no_grad()
def test_a_huge_beam_is_exhaustive(scorers: tuple, frames: int) -> None:
    config = BeamConfig(beam=V**4, ctc_weight=0.4, lm_weight=0.3, penalty=0.2, maxlenratio=-4)
    memory_1TD = memory(1, frames, seed=2)
    ended = beam_search(memory_1TD, None, *scorers, config)[0]
    # At the last step all get one more eos; what CTC cannot emit has a score near minus infinity.
    last = config.longest(frames) + 2
    own_end = [h for h in ended if h.score > -1e6 and (len(h.tokens) < last or h.tokens[-2] == EOS)]
    ended = [Hypothesis([EOS, *h.units, EOS], h.score, h.scores) for h in own_end]
    same(ended, exhaustive(memory_1TD, scorers, config))


@pytest.mark.parametrize("maxlenratio", [0.0, 3.0, -12.0])
@pytest.mark.parametrize("frames", [1, 2])
def test_short_clips_and_prefixes_longer_than_the_frames(scorers: tuple, maxlenratio: float, frames: int) -> None:
    ended = beam_search(memory(1, frames), None, *scorers, BeamConfig(beam=4, maxlenratio=maxlenratio))[0]
    assert ended and ended[0].score > -1e6
    assert all(h.tokens[0] == EOS == h.tokens[-1] for h in ended)
    assert len(ended[0].units) <= frames


def test_certain_silence_reads_as_nothing(scorers: tuple) -> None:
    decoder, _, lm = scorers
    silence = torch.full((1, 6, V), -1e10).double()
    silence[..., 0] = 0.0
    ended = beam_search(memory(1, 6), None, decoder, lambda _: silence, lm, BeamConfig(beam=3, ctc_weight=0.5))[0]
    assert ended[0].units == [] and ended[0].scores["ctc"] == pytest.approx(0.0)


def test_nbest_and_order(scorers: tuple) -> None:
    every = beam_search(memory(1, 8), None, *scorers, BeamConfig(beam=6))[0]
    assert [h.score for h in every] == sorted((h.score for h in every), reverse=True)
    same(beam_search(memory(1, 8), None, *scorers, BeamConfig(beam=6, nbest=2))[0], every[:2])


def test_minlenratio_forbids_an_early_end(scorers: tuple) -> None:
    ended = beam_search(memory(2, 8), None, *scorers, BeamConfig(beam=5, ctc_weight=0.0, minlenratio=0.5))
    assert all(len(h.tokens) >= 4 + 2 for hypotheses in ended for h in hypotheses)


def test_half_precision_memory_scores_in_float32(scorers: tuple) -> None:
    torch.manual_seed(0)
    decoder, ctc = TransformerDecoder(V, D, 2, 16, 1).eval().bfloat16(), CTCHead(D, V).eval().bfloat16()
    ended = beam_search(memory(1, 6).bfloat16(), None, decoder, ctc, None, BeamConfig(beam=3))[0]
    weighted = 0.9 * ended[0].scores["decoder"] + 0.1 * ended[0].scores["ctc"]
    assert ended[0].score == pytest.approx(weighted, abs=1e-5)


def test_no_clips(scorers: tuple) -> None:
    assert beam_search(memory(0, 4), None, *scorers, BeamConfig()) == []


def test_bad_requests(scorers: tuple) -> None:
    decoder, ctc, _ = scorers
    with pytest.raises(DataError, match="without frames"):
        beam_search(memory(2, 4), torch.tensor([4, 0]), decoder, ctc)
    with pytest.raises(ConfigError, match="CTC head"):
        beam_search(memory(1, 4), None, decoder, None)
    with pytest.raises(ConfigError, match="language model"):
        beam_search(memory(1, 4), None, decoder, ctc, None, BeamConfig(lm_weight=0.3))
    other = TransformerLM(V + 1, 4, D, 2, 16, 1).double()
    with pytest.raises(ConfigError, match="another vocabulary"):
        beam_search(memory(1, 4), None, decoder, ctc, other, BeamConfig(lm_weight=0.3))
    for wrong in ({"beam": 0}, {"ctc_weight": 1.5}, {"maxlenratio": -0.5}, {"minlenratio": -1.0}):
        with pytest.raises(ConfigError):
            BeamConfig(**wrong)  # type: ignore[arg-type]
