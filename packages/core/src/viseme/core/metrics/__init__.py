"""Metrics: error rates with bootstrap intervals, intelligibility and quality of speech, and result files that say where
their figures come from."""

from __future__ import annotations

from viseme.core.metrics.bootstrap import PairedComparison, bootstrap_interval, paired_bootstrap
from viseme.core.metrics.comparison import Change, Comparison, compare
from viseme.core.metrics.evaluation import EvaluationFiles, read_evaluation, write_evaluation
from viseme.core.metrics.rates import ClipErrors, ErrorRate, character_error_rate, count_errors, word_error_rate
from viseme.core.metrics.results import Provenance, collect_provenance, write_clip_csv, write_results
from viseme.core.metrics.speech import PESQ_CONVENTIONS, PesqConvention, SpeechScores, estoi, pesq, speech_scores, stoi

__all__ = [
    "ClipErrors",
    "ErrorRate",
    "count_errors",
    "word_error_rate",
    "character_error_rate",
    "PairedComparison",
    "bootstrap_interval",
    "paired_bootstrap",
    "Provenance",
    "collect_provenance",
    "write_clip_csv",
    "write_results",
    "EvaluationFiles",
    "read_evaluation",
    "write_evaluation",
    "Change",
    "Comparison",
    "compare",
    "PESQ_CONVENTIONS",
    "PesqConvention",
    "SpeechScores",
    "speech_scores",
    "stoi",
    "estoi",
    "pesq",
]
