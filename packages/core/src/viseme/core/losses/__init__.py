"""Losses: one function per loss.

The plain PyTorch functions here are the definitions; each treats impossible, empty and ignored items as published.
"""

from __future__ import annotations

from viseme.core.losses.accuracy import token_accuracy
from viseme.core.losses.ctc import linear_ctc_loss
from viseme.core.losses.hybrid import HybridLosses, hybrid_losses
from viseme.core.losses.smoothed_ce import (
    label_smoothed_ce,
    linear_label_smoothed_ce,
    linear_label_smoothed_ce_accuracy,
)
from viseme.core.losses.targets import IGNORE, decoder_targets

__all__ = [
    "IGNORE",
    "HybridLosses",
    "hybrid_losses",
    "decoder_targets",
    "label_smoothed_ce",
    "linear_ctc_loss",
    "linear_label_smoothed_ce",
    "linear_label_smoothed_ce_accuracy",
    "token_accuracy",
]
