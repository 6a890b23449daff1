"""Metrics: error rates with bootstrap intervals, and result files that say where their figures come from."""

from __future__ import annotations

from viseme.core.metrics.bootstrap import PairedComparison, bootstrap_interval, paired_bootstrap
from viseme.core.metrics.rates import ClipErrors, ErrorRate, character_error_rate, count_errors, word_error_rate
from viseme.core.metrics.results import Provenance, collect_provenance, write_clip_csv, write_results

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
]
