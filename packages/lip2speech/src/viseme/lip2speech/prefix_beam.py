"""CTC prefix beam search without a language model (Hannun et al. 2014): texts, not alignments, compete.

T frames, V units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

__all__ = ["PrefixHypothesis", "prefix_beam_search"]


@dataclass(frozen=True)
class PrefixHypothesis:
    """Units, and the natural logarithm of the probability of all their alignments that the beam kept."""

    tokens: list[int]
    log_prob: float


def prefix_beam_search(
    logp_TV: Tensor, *, beam_width: int = 30, cutoff_top_n: int = 40, blank: int = 0
) -> list[PrefixHypothesis]:
    """Hypotheses of one clip, best first.

    Args:
        logp_TV: log-probabilities of the clip's own frames.
        beam_width: prefixes kept after each frame.
        cutoff_top_n: units of a frame that are looked at, best first.
        blank: id of the blank.
    """
    nothing = -np.inf
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, nothing)}  # ends in a blank, in its last unit
    for frame_V in logp_TV.double().cpu().numpy():
        best = np.argsort(-frame_V, kind="stable")[:cutoff_top_n]
        grown: dict[tuple[int, ...], list[float]] = {}

        def add(prefix: tuple[int, ...], place: int, score: float, grown: dict = grown) -> None:
            scores = grown.setdefault(prefix, [nothing, nothing])
            scores[place] = np.logaddexp(scores[place], score)

        for prefix, (in_blank, in_unit) in beams.items():
            total = np.logaddexp(in_blank, in_unit)
            for unit in best.tolist():
                score = frame_V[unit]
                if unit == blank:
                    add(prefix, 0, total + score)
                elif prefix and unit == prefix[-1]:
                    add(prefix, 1, in_unit + score)
                    add((*prefix, unit), 1, in_blank + score)
                else:
                    add((*prefix, unit), 1, total + score)
        ranked = sorted(grown.items(), key=lambda item: -np.logaddexp(*item[1]))[:beam_width]
        beams = {prefix: (scores[0], scores[1]) for prefix, scores in ranked}
    return [PrefixHypothesis(list(prefix), float(np.logaddexp(*scores))) for prefix, scores in beams.items()]
