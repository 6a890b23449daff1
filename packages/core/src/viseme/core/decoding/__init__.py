"""Decoding: greedy CTC, CTC prefix scores, and the joint CTC/attention beam search with language-model fusion."""

from __future__ import annotations

from viseme.core.decoding.beam import BeamConfig, Hypothesis, beam_search
from viseme.core.decoding.ctc import ctc_greedy
from viseme.core.decoding.prefix_score import CTCPrefixScorer, PrefixState
from viseme.core.decoding.scorers import FullScorer, ScorerState

__all__ = [
    "BeamConfig",
    "CTCPrefixScorer",
    "FullScorer",
    "Hypothesis",
    "PrefixState",
    "ScorerState",
    "beam_search",
    "ctc_greedy",
]
