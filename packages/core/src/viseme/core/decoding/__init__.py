"""Decoding: greedy CTC, CTC prefix scores, the joint CTC/attention beam search with language-model fusion, and the
alignment of a text with CTC posteriors."""

from __future__ import annotations

from viseme.core.decoding.alignment import UnitSpan, ctc_align
from viseme.core.decoding.beam import BeamConfig, Hypothesis, beam_search
from viseme.core.decoding.ctc import ctc_greedy
from viseme.core.decoding.prefix_score import CTCPrefixScorer, PrefixState
from viseme.core.decoding.readings import Reading, beam_readings, greedy_readings
from viseme.core.decoding.scorers import FullScorer, ScorerState
from viseme.core.decoding.transcript import Transcript

__all__ = [
    "BeamConfig",
    "CTCPrefixScorer",
    "FullScorer",
    "Hypothesis",
    "PrefixState",
    "Reading",
    "ScorerState",
    "Transcript",
    "UnitSpan",
    "beam_readings",
    "beam_search",
    "ctc_align",
    "ctc_greedy",
    "greedy_readings",
]
