"""What a decoding says of a clip, however it was found: units, score, and how sure they are.

B clips, T frames, V units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from viseme.core.decoding.beam import Hypothesis
from viseme.core.decoding.ctc import ctc_greedy

__all__ = ["Reading", "beam_readings", "greedy_readings"]


@dataclass(frozen=True)
class Reading:
    """One reading of a clip.

    Attributes:
        tokens: its units.
        score: of the search that found it, a log-probability.
        confidence: geometric mean of the units' probabilities, 0 to 1; 0 where nothing was found.
    """

    tokens: tuple[int, ...]
    score: float
    confidence: float


def greedy_readings(logp_BTV: Tensor, lengths_B: Tensor, blank: int = 0) -> list[list[Reading]]:
    """The best CTC path of each clip; sure as the posteriors of the frames that are no blanks."""
    found = []
    for logp_TV, length, ids in zip(logp_BTV, lengths_B.tolist(), ctc_greedy(logp_BTV, lengths_B), strict=True):
        peak_T, best_T = logp_TV[:length].max(-1)
        spoken_T = best_T != blank
        mean = float(peak_T[spoken_T].mean()) if bool(spoken_T.any()) else -math.inf
        found.append([Reading(tuple(ids), float(peak_T.sum()), math.exp(mean))])
    return found


def beam_readings(hypotheses: Sequence[Sequence[Hypothesis]]) -> list[list[Reading]]:
    """What `beam_search` found for each clip, best first, at least one each; sure as the decoder is of each unit given
    the ones before."""
    found = []
    for nbest in hypotheses:
        some = []
        for hypothesis in nbest:
            ids = tuple(hypothesis.units)
            spoken = hypothesis.scores.get("decoder", hypothesis.score)
            units = len(ids) + 1  # the end is a decision too
            some.append(Reading(ids, hypothesis.score, math.exp(min(0.0, spoken / units))))
        found.append(some or [Reading((), -math.inf, 0.0)])
    return found
