"""What the beam search asks of a decoder or a language model (joint decoding: Watanabe et al., 2017).

Shapes: C clips, N hypotheses per clip, T frames, D width of the memory, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

__all__ = ["FullScorer", "ScorerState"]


class ScorerState(Protocol):
    """The past of every hypothesis, in a form that follows the beam."""

    def select(self, parents_CN: Tensor, clips_C: Tensor | None = None) -> None:
        """In place: hypothesis (c, n) becomes what `parents_CN[c, n]` of clip `clips_C[c]` was (of clip c when None).

        The numbers of clips and of hypotheses may change.
        """


State = TypeVar("State")


class FullScorer(Protocol[State]):
    """Scores the whole vocabulary at each step: `TransformerDecoder`, `TransformerLM`, or anything with these three."""

    vocabulary: int

    def init_state(self, memory_CTD: Tensor, lengths_C: Tensor | None = None) -> State:
        """One empty hypothesis per clip."""

    def step(self, tokens_CN: Tensor, state: State) -> Tensor:
        """Log-probabilities (C, N, V) of what follows each hypothesis' newest token; moves `state` on in place."""
