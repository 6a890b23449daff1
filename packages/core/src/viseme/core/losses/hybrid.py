"""Recognisers' hybrid objective: CTC on the encoder's frames, label-smoothed cross-entropy on the decoder's tokens.

loss = ctc_weight * CTC + (1 - ctc_weight) * attention   (Watanabe et al. 2017)

B clips, T frames, L tokens, D channels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from viseme.core.layers.ctc import CTCHead
from viseme.core.losses.ctc import linear_ctc_loss
from viseme.core.losses.smoothed_ce import linear_label_smoothed_ce_accuracy
from viseme.core.losses.targets import IGNORE

__all__ = ["HybridLosses", "hybrid_losses"]


class HybridLosses(NamedTuple):
    """Named parts of the objective, scalars.

    Attributes:
        loss: what is minimised.
        ctc, att: its two terms, unweighted.
        accuracy: share of the decoder's next tokens that are right, given the true ones before.
    """

    loss: Tensor
    ctc: Tensor
    att: Tensor
    accuracy: Tensor


def hybrid_losses(
    memory_BTD: Tensor,
    lengths_B: Tensor,
    hidden_BLD: Tensor,
    wanted_BL: Tensor,
    targets_BL: Tensor,
    target_lengths_B: Tensor,
    ctc: CTCHead,
    output_layer: nn.Linear,
    *,
    ctc_weight: float = 0.1,
    label_smoothing: float = 0.1,
    normalize: Literal["batch", "length"] = "batch",
    blank: int = 0,
) -> HybridLosses:
    """Score a recogniser's pass.

    Args:
        memory_BTD, lengths_B: the encoder's output, and frames of each clip.
        hidden_BLD: the decoder's output before `output_layer`.
        wanted_BL: what the decoder is to say: labels, eos, padded with -1.
        targets_BL, target_lengths_B: labels padded with -1, and how many.
        ctc, output_layer: heads of the recogniser.
        ctc_weight: share of CTC (published: 0.1).
        label_smoothing: mass that the attention loss spreads over the wrong units.
        normalize: divide the attention loss by clips (`batch`, published) or by tokens (`length`).
        blank: id of the CTC blank.
    """
    loss_ctc = linear_ctc_loss(
        ctc.dropout(memory_BTD),
        ctc.ctc_lo.weight,
        ctc.ctc_lo.bias,
        targets_BL,
        lengths_B,
        target_lengths_B,
        blank=blank,
    )
    loss_att, accuracy = linear_label_smoothed_ce_accuracy(
        hidden_BLD, output_layer.weight, output_layer.bias, wanted_BL, label_smoothing, IGNORE, normalize
    )
    return HybridLosses(ctc_weight * loss_ctc + (1 - ctc_weight) * loss_att, loss_ctc, loss_att, accuracy)
