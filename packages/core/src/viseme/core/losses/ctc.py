"""Connectionist temporal classification (Graves et al. 2006) on top of a linear layer.

Shapes: B batch, T frames, D width, V vocabulary, L labels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["linear_ctc_loss"]


def linear_ctc_loss(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_BL: Tensor,
    input_lengths_B: Tensor,
    target_lengths_B: Tensor,
    blank: int = 0,
    reduction: Literal["batch", "none"] = "batch",
) -> Tensor:
    """CTC loss of `hidden @ weight.T + bias`, normalised as published.

    The linear layer is part of the function, so that an implementation need never hold all frames' log-probabilities.

    Args:
        hidden_BTD: encoder output (after dropout).
        weight_VD, bias_V: the linear layer to the vocabulary.
        targets_BL: labels; whatever stands past a clip's `target_lengths_B` is ignored.
        input_lengths_B: frames of each clip, at most T.
        target_lengths_B: labels of each clip.
        blank: id of the blank.
        reduction: "batch" sums over clips and divides by B; "none" returns (B,).

    Returns:
        The loss in float32 or better. A clip that cannot be aligned (too few frames for its labels) counts 0 and has no
        gradient, but counts in the divisor.
    """
    logits_BTV = F.linear(hidden_BTD, weight_VD, bias_V)
    if logits_BTV.dtype in (torch.float16, torch.bfloat16):
        logits_BTV = logits_BTV.float()
    logp_TBV = logits_BTV.log_softmax(-1).transpose(0, 1)
    labels_BL = targets_BL.clamp(min=0)  # the padding must still be an id
    loss_B = F.ctc_loss(
        logp_TBV, labels_BL, input_lengths_B, target_lengths_B, blank=blank, reduction="none", zero_infinity=True
    )
    return loss_B if reduction == "none" else loss_B.sum() / len(loss_B)
