"""Joint CTC/attention beam search (Watanabe et al. 2017), batched over clips and hypotheses.

The published search, step for step (token lists and scores agree with it), computed in another way: each clip's
cross-attention keys and values are made once for all its hypotheses and steps, and several clips run together.

Shapes: C clips, N running hypotheses per clip, M candidates per hypothesis, K hypotheses chosen, T frames, D width of
the encoder output, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from viseme.core.decoding.prefix_score import LOG_ZERO, CTCPrefixScorer, PrefixState
from viseme.core.decoding.scorers import FullScorer
from viseme.core.errors import ConfigError, DataError

__all__ = ["BeamConfig", "Hypothesis", "beam_search"]

PRE_BEAM_RATIO = 1.5  # candidates per hypothesis that CTC scores, in beams
END_LENGTHS = 3  # the newest lengths that must all have fallen behind before the search stops
END_MARGIN = 10.0  # ... by so much (natural log)


@dataclass(frozen=True)
class BeamConfig:
    """Options of the search, under their published names.

    Attributes:
        beam: hypotheses kept per clip.
        ctc_weight: weight of the CTC prefix score, 0 to 1; the decoder has the rest. A weight of 0 leaves a scorer out.
        lm_weight: weight of the language model's log-probability, added to both.
        penalty: bonus per token.
        maxlenratio: most tokens per clip: T if 0 (and stop early once longer hypotheses fall behind), int(ratio * T) if
            positive, a fixed number if negative.
        minlenratio: fewest tokens before the end, int(ratio * T). (The published search accepts and ignores it.)
        nbest: hypotheses returned per clip; None for all that ended.
        blank: id of the CTC blank.
        sos, eos: ids of the sentence marks; the last id of the vocabulary when None, as in the published models.
    """

    beam: int = 40
    ctc_weight: float = 0.1
    lm_weight: float = 0.0
    penalty: float = 0.0
    maxlenratio: float = 0.0
    minlenratio: float = 0.0
    nbest: int | None = None
    blank: int = 0
    sos: int | None = None
    eos: int | None = None

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ConfigError("the beam must hold at least one hypothesis", got=self.beam)
        if not 0.0 <= self.ctc_weight <= 1.0:
            raise ConfigError("ctc_weight out of range", expected="0 to 1", got=self.ctc_weight)
        if -1.0 < self.maxlenratio < 0.0:
            raise ConfigError(
                "a negative maxlenratio is a number of tokens",
                expected="-1 or less, or 0 or more",
                got=self.maxlenratio,
            )
        if self.minlenratio < 0.0:
            raise ConfigError("minlenratio out of range", expected="0 or more", got=self.minlenratio)

    def longest(self, frames: int) -> int:
        """Steps of the search on a clip of `frames` frames."""
        if self.maxlenratio == 0:
            return frames
        return int(-self.maxlenratio) if self.maxlenratio < 0 else max(1, int(self.maxlenratio * frames))


@dataclass(frozen=True)
class Hypothesis:
    """One way to read a clip.

    Attributes:
        tokens: from sos to eos. One that ended just at the length limit carries eos twice, as published.
        score: weighted sum of `scores`; natural logarithm.
        scores: unweighted sum of each scorer that took part: decoder, ctc, lm, length_bonus.
    """

    tokens: list[int]
    score: float
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def units(self) -> list[int]:
        """The tokens between the sentence marks."""
        units = self.tokens[1:]
        while units and units[-1] == self.tokens[-1]:
            units = units[:-1]
        return units


class _Ended:
    """The ended hypotheses of one clip, and when it is time to stop."""

    def __init__(self) -> None:
        self.hypotheses: list[Hypothesis] = []
        self.best = -math.inf
        self.best_of_length: dict[int, float] = {}

    def add(self, hypothesis: Hypothesis) -> None:
        length = len(hypothesis.tokens)
        self.hypotheses.append(hypothesis)
        self.best = max(self.best, hypothesis.score)
        self.best_of_length[length] = max(self.best_of_length.get(length, -math.inf), hypothesis.score)

    def fallen_behind(self, step: int) -> bool:
        """Whether the lengths `step`, `step - 1`, `step - 2` (sentence marks counted) are all hopeless."""
        newest = [self.best_of_length.get(step - m) for m in range(END_LENGTHS)]
        return all(score is not None and score - self.best < -END_MARGIN for score in newest)


class _Clip:
    """The host's side of one clip: its limits, the tree of its hypotheses, and those that ended."""

    def __init__(self, number: int, frames: int, config: BeamConfig) -> None:
        self.number = number
        self.longest, self.shortest = config.longest(frames), int(config.minlenratio * frames)
        self.parents: list[list[int]] = []
        self.tokens: list[list[int]] = []
        self.ended = _Ended()

    def path(self, slot: int) -> list[int]:
        """Tokens after sos of the hypothesis that now runs in `slot`."""
        tokens = []
        for parents, chosen in zip(reversed(self.parents), reversed(self.tokens)):
            tokens.append(chosen[slot])
            slot = parents[slot]
        return tokens[::-1]


@torch.inference_mode()
def beam_search(
    memory_CTD: Tensor,
    lengths_C: Tensor | None,
    decoder: FullScorer,
    ctc: Callable[[Tensor], Tensor] | None,
    lm: FullScorer | None = None,
    config: BeamConfig = BeamConfig(),
) -> list[list[Hypothesis]]:
    """The best readings of each clip.

    Args:
        memory_CTD: encoder output.
        lengths_C: frames of each clip; None when none is padded.
        decoder: the attention decoder, in eval mode.
        ctc: from encoder output to log-posteriors (C, T, V); may be None when `ctc_weight` is 0.
        lm: language model over the same vocabulary; needed when `lm_weight` is not 0.
        config: weights and limits.

    Returns:
        Per clip the ended hypotheses, best first.

    Raises:
        DataError: a clip without frames.
        ConfigError: a weight without its scorer, or scorers with different vocabularies.
    """
    return _Search(memory_CTD, lengths_C, decoder, ctc, lm, config).run()


class _Search:
    """State of one call of `beam_search`: tensors of the running hypotheses, and a `_Clip` per clip."""

    def __init__(
        self,
        memory_CTD: Tensor,
        lengths_C: Tensor | None,
        decoder: FullScorer,
        ctc: Callable[[Tensor], Tensor] | None,
        lm: FullScorer | None,
        config: BeamConfig,
    ) -> None:
        clips, frames, _ = memory_CTD.shape
        lengths = [frames] * clips if lengths_C is None else [int(n) for n in lengths_C]
        if clips and min(lengths) < 1:
            raise DataError("cannot decode a clip without frames", expected="at least 1 frame", got=min(lengths))
        if lengths_C is not None:
            lengths_C = lengths_C.to(memory_CTD.device)
        if config.ctc_weight > 0 and ctc is None:
            raise ConfigError("ctc_weight needs a CTC head", expected="ctc_weight=0 without one", got=config.ctc_weight)
        if config.lm_weight != 0 and lm is None:
            raise ConfigError("lm_weight needs a language model", expected="lm_weight=0", got=config.lm_weight)
        if lm is not None and config.lm_weight != 0 and lm.vocabulary != decoder.vocabulary:
            raise ConfigError(
                "the language model has another vocabulary than the recogniser",
                expected=decoder.vocabulary,
                got=lm.vocabulary,
            )
        self.config, self.vocabulary, self.device = config, decoder.vocabulary, memory_CTD.device
        self.sos = self.vocabulary - 1 if config.sos is None else config.sos
        self.eos = self.vocabulary - 1 if config.eos is None else config.eos
        self.all_clips = [_Clip(c, lengths[c], config) for c in range(clips)]
        self.clips = list(self.all_clips)

        scorers = {"decoder": (decoder, 1.0 - config.ctc_weight), "lm": (lm, config.lm_weight)}
        self.scorers = {
            name: (scorer, scorer.init_state(memory_CTD, lengths_C), weight)
            for name, (scorer, weight) in scorers.items()
            if scorer is not None and weight != 0
        }
        self.ctc: CTCPrefixScorer | None = None
        self.prefixes: PrefixState | None = None
        if ctc is not None and config.ctc_weight > 0:
            logp_CTV = ctc(memory_CTD)
            if logp_CTV.shape[-1] != self.vocabulary:
                raise ConfigError(
                    "the CTC head has another vocabulary than the decoder",
                    expected=self.vocabulary,
                    got=logp_CTV.shape[-1],
                )
            self.ctc = CTCPrefixScorer(at_least_float32(logp_CTV), lengths_C, blank=config.blank, eos=self.eos)
            self.prefixes = self.ctc.init_state()

        self.dtype = at_least_float32(memory_CTD[:0]).dtype
        self.tokens_CN = torch.full((clips, 1), self.sos, device=self.device)
        self.score_CN = torch.zeros(clips, 1, device=self.device, dtype=self.dtype)
        names = [*self.scorers, *(["ctc"] if self.ctc else []), *(["length_bonus"] if config.penalty else [])]
        self.parts = {name: torch.zeros_like(self.score_CN) for name in names}

    def run(self) -> list[list[Hypothesis]]:
        step = 0
        while self.clips:
            self.advance(step)
            step += 1
        ranked = [sorted(clip.ended.hypotheses, key=lambda h: -h.score) for clip in self.all_clips]
        return [hypotheses[: self.config.nbest] for hypotheses in ranked]

    def advance(self, step: int) -> None:
        """One token for every running hypothesis."""
        full = {name: at_least_float32(s.step(self.tokens_CN, state)) for name, (s, state, _) in self.scorers.items()}
        candidates_CNM = self.candidates(full)
        increments = {name: pick(logp_CNV, candidates_CNM) for name, logp_CNV in full.items()}
        total = self.score_CN.new_zeros(())
        for name, (_, _, weight) in self.scorers.items():
            total = total + weight * increments[name]
        if self.config.penalty:
            total = total + self.config.penalty
        if self.ctc is not None and self.prefixes is not None:
            increments["ctc"] = self.ctc.score(self.prefixes, candidates_CNM)
            total = total + self.config.ctc_weight * increments["ctc"]
        total = total + self.score_CN.unsqueeze(-1)
        total = self.forbid(total, candidates_CNM, step)

        # The best of all hypotheses' candidates of each clip.
        width = total.shape[-1]
        score_CK, flat_CK = total.flatten(1).topk(min(self.config.beam, total.shape[1] * width))
        parents_CK = flat_CK.div(width, rounding_mode="floor")
        tokens_CK = flat_CK % width if candidates_CNM is None else candidates_CNM.flatten(1).gather(1, flat_CK)
        for name, part_CN in self.parts.items():
            gained = increments[name].flatten(1).gather(1, flat_CK) if name in increments else 1.0
            self.parts[name] = part_CN.gather(1, parents_CK) + gained
        scored_CK = None
        if "ctc" in increments:
            scored_CK = increments["ctc"].flatten(1).gather(1, flat_CK) > LOG_ZERO / 2
        self.settle(step, score_CK, parents_CK, tokens_CK, scored_CK)

    def candidates(self, full: dict[str, Tensor]) -> Tensor | None:
        """Tokens worth a CTC score, (C, N, M): by the decoder's score alone, and eos. None for the whole vocabulary."""
        kept = int(PRE_BEAM_RATIO * self.config.beam)
        if self.ctc is None or "decoder" not in full or kept >= self.vocabulary:
            return None
        best_CNM = full["decoder"].topk(kept, sorted=False).indices
        return torch.cat((best_CNM, torch.full_like(best_CNM[..., :1], self.eos)), dim=-1)

    def forbid(self, total_CNM: Tensor, candidates_CNM: Tensor | None, step: int) -> Tensor:
        """Take out what must not be chosen: a second eos among the candidates, and eos before the shortest length."""
        if candidates_CNM is not None:
            # The last candidate is the eos that was added.
            total_CNM[..., :-1].masked_fill_(candidates_CNM[..., :-1] == self.eos, -math.inf)
        early = [step < clip.shortest and step + 1 < clip.longest for clip in self.clips]
        if any(early):
            column = self.eos if candidates_CNM is None else -1
            early_C1 = torch.tensor(early, device=self.device).unsqueeze(1)
            total_CNM[..., column].masked_fill_(early_C1, -math.inf)
        return total_CNM

    def settle(
        self, step: int, score_CK: Tensor, parents_CK: Tensor, tokens_CK: Tensor, scored_CK: Tensor | None
    ) -> None:
        """Take out the hypotheses that ended and the clips that are done; the others run on."""
        scores, parents, tokens = score_CK.tolist(), parents_CK.tolist(), tokens_CK.tolist()
        parts = {name: part_CK.tolist() for name, part_CK in self.parts.items()}
        going: list[int] = []  # clips, by their row now
        kept: list[list[int]] = []  # and the ranks of each one's running hypotheses
        for row, clip in enumerate(self.clips):
            last = step == clip.longest - 1
            ranks = []
            for rank, (score, token) in enumerate(zip(scores[row], tokens[row])):
                if score == -math.inf:
                    continue  # a slot that was only there to fill up the batch
                if not last and token != self.eos:
                    ranks.append(rank)
                    continue
                path = [self.sos, *clip.path(parents[row][rank]), token, *([self.eos] if last else [])]
                clip.ended.add(Hypothesis(path, score, {name: part[row][rank] for name, part in parts.items()}))
            clip.parents.append([parents[row][rank] for rank in ranks])
            clip.tokens.append([tokens[row][rank] for rank in ranks])
            if ranks and not (self.config.maxlenratio == 0 and clip.ended.fallen_behind(step)):
                going.append(row)
                kept.append(ranks)
        rows_C = None if len(going) == len(self.clips) else torch.tensor(going, device=self.device, dtype=torch.long)
        self.clips = [self.clips[row] for row in going]
        if self.clips:
            self.follow(rows_C, kept, score_CK, parents_CK, tokens_CK, scored_CK)

    def follow(
        self,
        rows_C: Tensor | None,
        kept: list[list[int]],
        score_CK: Tensor,
        parents_CK: Tensor,
        tokens_CK: Tensor,
        scored_CK: Tensor | None,
    ) -> None:
        """Reorder every tensor and state: slot n of a clip becomes its n-th running hypothesis."""
        most = max(len(ranks) for ranks in kept)
        # A clip with fewer hypotheses repeats one, with a score that nothing can choose.
        slots_CN = torch.tensor([ranks + ranks[:1] * (most - len(ranks)) for ranks in kept], device=self.device)
        counts_C1 = torch.tensor([[len(ranks)] for ranks in kept], device=self.device)
        spare_CN = torch.arange(most, device=self.device) >= counts_C1

        def take(x_CK: Tensor) -> Tensor:
            return (x_CK if rows_C is None else x_CK[rows_C]).gather(1, slots_CN)

        parents_CN, self.tokens_CN = take(parents_CK), take(tokens_CK)
        self.score_CN = take(score_CK).masked_fill(spare_CN, -math.inf)
        self.parts = {name: take(part_CK) for name, part_CK in self.parts.items()}
        for _, state, _ in self.scorers.values():
            state.select(parents_CN, rows_C)
        if self.ctc is not None and self.prefixes is not None and scored_CK is not None:
            self.prefixes = self.ctc.advance(self.prefixes, parents_CN, self.tokens_CN, rows_C, take(scored_CK))


def pick(logp_CNV: Tensor, candidates_CNM: Tensor | None) -> Tensor:
    """Values at the candidates, or all of them."""
    return logp_CNV if candidates_CNM is None else logp_CNV.gather(-1, candidates_CNM)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32: scores add up over a whole sentence."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
