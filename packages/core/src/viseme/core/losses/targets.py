"""Decoder inputs and targets from padded labels."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["IGNORE", "decoder_targets"]

IGNORE = -1  # what pads labels, and what no loss counts


def decoder_targets(labels_BL: Tensor, sos: int, eos: int, ignore: int = IGNORE) -> tuple[Tensor, Tensor]:
    """What the decoder reads and what it should say.

    Args:
        labels_BL: (B, L) labels, padded with `ignore` at the end.
        sos, eos: ids of the sentence marks (one and the same in the published models).

    Returns:
        Inputs (B, L'+1), L' the most labels of a clip: sos and the labels, padded with eos (as published: the causal
        mask hides what pads). Targets (B, L'+1): the labels and eos, padded with `ignore`.
    """
    real_BL = labels_BL != ignore
    inputs = torch.cat((labels_BL.new_full((len(labels_BL), 1), sos), labels_BL.masked_fill(~real_BL, eos)), dim=1)
    targets = torch.cat((labels_BL, labels_BL.new_full((len(labels_BL), 1), ignore)), dim=1)
    targets.scatter_(1, real_BL.sum(1, keepdim=True), eos)
    # Columns that are padding in every clip (a batch cut from a larger one) are of no use to the decoder.
    longest = int(real_BL.sum(1).max()) + 1 if len(labels_BL) else 1
    return inputs[:, :longest], targets[:, :longest]
