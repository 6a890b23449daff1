"""When each unit of a known text was spoken: the best path of that text through CTC posteriors (Viterbi over the
states of Graves et al., "Connectionist temporal classification", 2006).

T frames, V units, L units of the text, S = 2L + 1 states (a blank before, between and after the units).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from viseme.core.errors import DataError

__all__ = ["UnitSpan", "ctc_align"]


@dataclass(frozen=True)
class UnitSpan:
    """Where one unit lies.

    Attributes:
        start, end: first frame, and the one after the last.
        logp: mean log-posterior of the unit over these frames.
    """

    start: int
    end: int
    logp: float


def ctc_align(logp_TV: Tensor, tokens: Sequence[int], *, blank: int = 0) -> list[UnitSpan] | None:
    """Lay a text over CTC posteriors.

    CTC peaks are narrow and a little late or early, so the spans are good to some frames, not to the sample.

    Args:
        logp_TV: log-posteriors of one clip.
        tokens: L unit ids, without sentence marks.
        blank: id of the blank.

    Returns:
        One span per unit, in order; None where the text does not fit into the frames (fewer frames than units, with
        one more for each pair of equal neighbours, or posteriors of zero).

    Raises:
        DataError: the blank, or an id outside the vocabulary, among the tokens.
    """
    frames, vocabulary = logp_TV.shape
    if wrong := [token for token in tokens if token == blank or not 0 <= token < vocabulary]:
        raise DataError("this unit cannot be aligned", expected=f"1..{vocabulary - 1}", got=wrong[0])
    if not tokens:
        return []
    states_S = np.full(2 * len(tokens) + 1, blank)
    states_S[1::2] = tokens
    logp_TS = logp_TV[:, states_S.tolist()].detach().double().cpu().numpy()
    may_skip_S = np.zeros(len(states_S), bool)
    may_skip_S[3::2] = states_S[3::2] != states_S[1:-2:2]  # over a blank, between two different units

    score_S = np.full(len(states_S), -np.inf)
    score_S[:2] = logp_TS[0, :2]
    came_TS = np.zeros((frames, len(states_S)), np.int8)  # by how many states the best path moved
    for t in range(1, frames):
        options = np.full((3, len(states_S)), -np.inf)
        options[0] = score_S
        options[1, 1:] = score_S[:-1]
        options[2, 2:] = np.where(may_skip_S[2:], score_S[:-2], -np.inf)
        came_TS[t] = options.argmax(0)
        score_S = options.max(0) + logp_TS[t]
    state = int(len(states_S) - 1 if score_S[-1] >= score_S[-2] else len(states_S) - 2)
    if not np.isfinite(score_S[state]):
        return None
    path_T = np.empty(frames, int)
    for t in range(frames - 1, -1, -1):
        path_T[t] = state
        state -= int(came_TS[t, state])
    spans = []
    for unit in range(len(tokens)):
        at = np.flatnonzero(path_T == 2 * unit + 1)
        spans.append(UnitSpan(int(at[0]), int(at[-1]) + 1, float(logp_TS[at, 2 * unit + 1].mean())))
    return spans
