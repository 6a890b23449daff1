"""Losses: one function per loss.

The plain PyTorch functions here are the definitions; each treats impossible, empty and ignored items as published. On
CUDA the Triton kernels in `kernels/` do the same in fewer passes over memory.
"""

from __future__ import annotations

from viseme.core.losses.accuracy import token_accuracy
from viseme.core.losses.cosine import contrastive_sync_loss, cosine_bce, cosine_sync_loss, masked_cosine
from viseme.core.losses.ctc import linear_ctc_loss
from viseme.core.losses.hybrid import HybridLosses, hybrid_losses
from viseme.core.losses.smoothed_ce import (
    label_smoothed_ce,
    linear_label_smoothed_ce,
    linear_label_smoothed_ce_accuracy,
)
from viseme.core.losses.spectral import mel_l1_loss, multi_resolution_stft_loss
from viseme.core.losses.targets import IGNORE, decoder_targets

__all__ = [
    "IGNORE",
    "HybridLosses",
    "hybrid_losses",
    "contrastive_sync_loss",
    "cosine_bce",
    "cosine_sync_loss",
    "decoder_targets",
    "label_smoothed_ce",
    "linear_ctc_loss",
    "linear_label_smoothed_ce",
    "linear_label_smoothed_ce_accuracy",
    "masked_cosine",
    "mel_l1_loss",
    "multi_resolution_stft_loss",
    "token_accuracy",
]
