"""CTC greedy and prefix scores against the sum over all paths, in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from viseme.core.decoding import CTCPrefixScorer, PrefixState, ctc_greedy
from viseme.core.decoding.prefix_score import LOG_ZERO

BLANK, EOS = 0, 3  # of a vocabulary of 4, whose eos CTC may emit like any other unit


def paths(logp_TV: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Probability of each output: every path of frames, repeats merged, blanks dropped."""
    outputs: dict[tuple[int, ...], float] = {}
    frames, vocabulary = logp_TV.shape
    for path in itertools.product(range(vocabulary), repeat=frames):
        output = tuple(unit for unit, _ in itertools.groupby(path) if unit != BLANK)
        probability = math.exp(sum(float(logp_TV[t, unit]) for t, unit in enumerate(path)))
        outputs[output] = outputs.get(output, 0.0) + probability
    return outputs


def log_or_zero(probability: float) -> float:
    return math.log(probability) if probability else -math.inf


def follow(scorer: CTCPrefixScorer, prefix: tuple[int, ...], clip: int = 0, clips: int = 1) -> PrefixState:
    state = scorer.init_state()
    for unit in prefix:
        state = scorer.advance(state, torch.zeros(clips, 1, dtype=torch.long), torch.full((clips, 1), unit))
    return state


def random_posteriors(clips: int, frames: int, seed: int = 0) -> torch.Tensor:
    return (2 * torch.randn(clips, frames, 4, generator=torch.Generator().manual_seed(seed)).double()).log_softmax(-1)


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("prefix", [(), (1,), (2, 2), (1, 2, 1), (1, 1, 2), (1, 2, 1, 2, 1, 2)])
def test_prefix_score_is_the_sum_over_paths(frames: int, prefix: tuple[int, ...]) -> None:
    logp = random_posteriors(1, frames)
    outputs = paths(logp[0])
    scorer = CTCPrefixScorer(logp, blank=BLANK, eos=EOS)
    state = follow(scorer, prefix)
    scores = (scorer.score(state) + state.score.unsqueeze(-1))[0, 0]
    for unit in (1, 2):
        longer = (*prefix, unit)
        wanted = log_or_zero(sum(p for output, p in outputs.items() if output[: len(longer)] == longer))
        if math.isinf(wanted):
            assert scores[unit] < LOG_ZERO / 2
        else:
            assert scores[unit].item() == pytest.approx(wanted, abs=1e-9)
    wanted = log_or_zero(outputs.get(prefix, 0.0))
    assert scores[EOS].item() == pytest.approx(wanted, abs=1e-9) or (math.isinf(wanted) and scores[EOS] < LOG_ZERO / 2)
    assert scores[BLANK] == LOG_ZERO


def test_candidates_score_as_in_the_whole_vocabulary() -> None:
    scorer = CTCPrefixScorer(random_posteriors(2, 6), blank=BLANK, eos=EOS)
    state = follow(scorer, (1, 2), clips=2)
    candidates = torch.tensor([[[2, 3, 0]], [[1, 1, 3]]])
    assert torch.equal(scorer.score(state, candidates), scorer.score(state).gather(-1, candidates))


def test_chunked_vocabulary_equals_unchunked(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = CTCPrefixScorer(random_posteriors(2, 6), blank=BLANK, eos=EOS)
    state = follow(scorer, (1,), clips=2)
    whole = scorer.score(state)
    monkeypatch.setattr("viseme.core.decoding.prefix_score.CHUNK_ELEMENTS", 1)
    assert torch.equal(scorer.score(state), whole)


@pytest.mark.parametrize("prefix", [(), (1,), (1, 1), (2, 1)])
def test_padding_changes_nothing(prefix: tuple[int, ...]) -> None:
    logp, lengths = random_posteriors(3, 6), torch.tensor([6, 1, 4])
    padded = CTCPrefixScorer(logp, lengths, blank=BLANK, eos=EOS)
    together = padded.score(follow(padded, prefix, clips=3))
    for clip, frames in enumerate(lengths.tolist()):
        alone = CTCPrefixScorer(logp[clip : clip + 1, :frames], blank=BLANK, eos=EOS)
        assert torch.allclose(alone.score(follow(alone, prefix)), together[clip : clip + 1], atol=1e-9)


def test_hypotheses_and_clips_are_reordered() -> None:
    logp = random_posteriors(3, 5)
    scorer = CTCPrefixScorer(logp, blank=BLANK, eos=EOS)
    state = scorer.advance(scorer.init_state(), torch.zeros(3, 2, dtype=torch.long), torch.tensor([[1, 2]] * 3))
    state = scorer.advance(
        state, torch.tensor([[1, 0, 1], [0, 0, 1]]), torch.tensor([[1, 2, 2], [1, 2, 1]]), clips_C=torch.tensor([2, 0])
    )
    wanted = {(0, 0): (2, (2, 1)), (0, 1): (2, (1, 2)), (0, 2): (2, (2, 2)), (1, 0): (0, (1, 1)), (1, 2): (0, (2, 1))}
    scores = scorer.score(state)
    for (row, slot), (clip, prefix) in wanted.items():
        alone = CTCPrefixScorer(logp[clip : clip + 1], blank=BLANK, eos=EOS)
        assert torch.allclose(alone.score(follow(alone, prefix))[0, 0], scores[row, slot], atol=1e-9)


def test_impossible_prefixes_stay_impossible() -> None:
    scorer = CTCPrefixScorer(random_posteriors(1, 5), blank=BLANK, eos=EOS)
    for unit, scored in ((BLANK, True), (1, False)):
        state = scorer.advance(
            scorer.init_state(),
            torch.zeros(1, 1, dtype=torch.long),
            torch.tensor([[unit]]),
            None,
            torch.tensor([[scored]]),
        )
        assert (scorer.score(state).abs() < 1e3).all() and state.score.item() == LOG_ZERO  # nothing is won back


def test_greedy() -> None:
    best = torch.tensor([[1, 1, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0], [2, 0, 3, 3, 3, 1], [1, 2, 2, 2, 0, 1]])
    logits = torch.nn.functional.one_hot(best, 4).float()
    lengths = torch.tensor([6, 6, 5, 1])
    assert ctc_greedy(logits, lengths) == [[1, 1, 2], [], [2, 3], [1]]
    assert ctc_greedy(logits[:1]) == [[1, 1, 2]]
    assert ctc_greedy(logits[:1], blank=1) == [[0, 2]]
    assert ctc_greedy(torch.zeros(1, 0, 4)) == [[]]
