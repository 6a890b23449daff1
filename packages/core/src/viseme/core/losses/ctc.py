"""Connectionist temporal classification (Graves et al. 2006) on top of a linear layer.

The loss needs log-probabilities only of a clip's own labels, and of all units no more than the sum that normalises
them. Where a path is at a frame does not depend on that sum, so: first align by the logits of blank and labels alone,
then pass once over all logits, some frames at a time, for the sum and for the gradient, softmax minus occupancy
(Graves, equation 16).

Shapes: B batch, T frames, N = B * T, D width, V vocabulary, L labels, K = L + 1 blank and labels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from viseme.core.losses.kernels import pick, usable
from viseme.core.losses.linear import (
    CACHED_ROWS,
    LinearGradients,
    linear_in_chunks,
    operand_dtype,
    product,
    scaled_once,
    score_dtype,
)

__all__ = ["linear_ctc_loss", "plain_linear_ctc_loss"]

Reduction = Literal["batch", "none"]


def linear_ctc_loss(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_BL: Tensor,
    input_lengths_B: Tensor,
    target_lengths_B: Tensor,
    blank: int = 0,
    reduction: Reduction = "batch",
) -> Tensor:
    """CTC loss of `hidden @ weight.T + bias`, normalised as published.

    Equal to `plain_linear_ctc_loss`, without ever holding all frames' log-probabilities or a gradient of them.

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
    device = hidden_BTD.device
    input_lengths_B, target_lengths_B = input_lengths_B.to(device), target_lengths_B.to(device)
    loss: Tensor = _LinearCTC.apply(
        hidden_BTD, weight_VD, bias_V, targets_BL.to(device), input_lengths_B, target_lengths_B, blank, reduction
    )
    return loss


def plain_linear_ctc_loss(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_BL: Tensor,
    input_lengths_B: Tensor,
    target_lengths_B: Tensor,
    blank: int = 0,
    reduction: Reduction = "batch",
) -> Tensor:
    """The definition of `linear_ctc_loss`, in torch's own parts."""
    logits_BTV = F.linear(hidden_BTD, weight_VD, bias_V)
    logp_TBV = logits_BTV.to(score_dtype(logits_BTV)).log_softmax(-1).transpose(0, 1)
    labels_BL = targets_BL.clamp(min=0)  # the padding must still be an id
    loss_B = F.ctc_loss(
        logp_TBV, labels_BL, input_lengths_B, target_lengths_B, blank=blank, reduction="none", zero_infinity=True
    )
    return loss_B if reduction == "none" else loss_B.sum() / len(loss_B)


class _LinearCTC(torch.autograd.Function):
    """With reduction "batch" gradients are made in the forward pass; with "none", whose clips' weights only the
    backward pass knows, in a second pass over the logits, and so they are whenever the graph is gone through again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_BTD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_BL: Tensor,
        input_lengths_B: Tensor,
        target_lengths_B: Tensor,
        blank: int,
        reduction: Reduction,
    ) -> Tensor:
        clips, frames, _ = hidden_BTD.shape
        wanted = tuple(ctx.needs_input_grad[:3])
        # Column 0 is the blank; a label that comes again stands in its first column.
        padding_BL = torch.arange(targets_BL.shape[1], device=targets_BL.device) >= target_lengths_B[:, None]
        units_BK = F.pad(targets_BL.masked_fill(padding_BL, blank), (1, 0), value=blank).long()
        columns_BK = (units_BK[:, :, None] == units_BK[:, None, :]).byte().argmax(-1)
        logits_BTK = _logits_of(hidden_BTD, weight_VD, bias_V, units_BK)
        align = pick(hidden_BTD, "ctc", _align)
        path_B, occupancy_BTK = align(logits_BTK, columns_BK[:, 1:], input_lengths_B, target_lengths_B)
        possible_B = path_B != torch.inf
        counted_BT = torch.arange(frames, device=hidden_BTD.device) < input_lengths_B[:, None]
        weight_BT = (counted_BT & possible_B[:, None]).to(score_dtype(hidden_BTD))
        if reduction == "batch":
            weight_BT /= max(clips, 1)
            now = wanted
        else:
            now = (False, False, False)
        sum_BT, gradients = _pass(hidden_BTD, weight_VD, bias_V, weight_BT, units_BK, columns_BK, occupancy_BTK, now)
        loss_B = path_B + sum_BT.masked_fill(~counted_BT, 0).sum(1, dtype=torch.float64)
        loss_B = loss_B.masked_fill(~possible_B, 0).to(score_dtype(hidden_BTD))
        ctx.reduction = reduction
        ctx.dtypes = [None if t is None else t.dtype for t in (hidden_BTD, weight_VD, bias_V)]
        ctx.save_for_backward(hidden_BTD, weight_VD, bias_V, weight_BT, units_BK, columns_BK, occupancy_BTK)
        if reduction == "batch":
            ctx.gradients = gradients
            return loss_B.sum() / max(clips, 1)
        ctx.gradients = None
        return loss_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        scaled = scaled_once(ctx, upstream)
        if scaled is None:
            hidden, weight, bias, weight_BT, units_BK, columns_BK, occupancy_BTK = ctx.saved_tensors
            weight_BT = weight_BT * (upstream if ctx.reduction == "batch" else upstream[:, None])
            wanted = ctx.needs_input_grad[:3]
            scaled = _pass(hidden, weight, bias, weight_BT, units_BK, columns_BK, occupancy_BTK, wanted)[1]
        gradients = [None if g is None else g.to(dtype) for g, dtype in zip(scaled, ctx.dtypes, strict=True)]
        return (*gradients, None, None, None, None, None)


def _logits_of(hidden_BTD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, units_BK: Tensor) -> Tensor:
    """(B, T, K) logits of each clip's own units."""
    operand = operand_dtype(hidden_BTD)
    weight_BDK = weight_VD[units_BK].to(operand).transpose(1, 2)
    logits_BTK = product(hidden_BTD.to(operand), weight_BDK)
    return logits_BTK if bias_V is None else logits_BTK + bias_V[units_BK][:, None].to(logits_BTK)


def _pass(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    weight_BT: Tensor,
    units_BK: Tensor,
    columns_BK: Tensor,
    occupancy_BTK: Tensor,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, LinearGradients]:
    """One pass over all logits: log of the sum of their exponentials (B, T) for frames of weight other than 0, and the
    gradients of the sum over frames of weight * loss."""
    _, frames, width = hidden_BTD.shape
    weight_N = weight_BT.reshape(-1)
    sum_N = torch.zeros_like(weight_N)
    # Skipping frames pays on a CPU; elsewhere counting them would wait for the device.
    rows = None if usable(hidden_BTD) or hidden_BTD.device.type != "cpu" else weight_N.nonzero().squeeze(1)
    if rows is not None and len(rows) == len(weight_N):
        rows = None
    score = pick(hidden_BTD, "ctc", _score)
    every_N = torch.arange(len(weight_N), device=weight_N.device)
    occupancy_NK = occupancy_BTK.reshape(len(weight_N), -1)

    def visit(logits_CV: Tensor, chunk: slice) -> None:
        row_C = every_N[chunk] if rows is None else rows[chunk]
        clip_C = row_C // max(frames, 1)
        sum_N[row_C] = score(logits_CV, weight_N[row_C], units_BK, columns_BK, clip_C, occupancy_NK[row_C], any(wanted))

    gradients = linear_in_chunks(hidden_BTD.reshape(-1, width), weight_VD, bias_V, visit, wanted, rows)
    if gradients.hidden is not None:
        gradients = gradients._replace(hidden=gradients.hidden.view_as(hidden_BTD))
    return sum_N.view_as(weight_BT), gradients


def _align(
    logits_BTK: Tensor, columns_BL: Tensor, input_lengths_B: Tensor, target_lengths_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Score and place all paths through the labels, given logits of a clip's own units only.

    Args:
        logits_BTK: of the blank (column 0) and the labels.
        columns_BL: the column of each label.

    Returns:
        -log(sum over paths of exp(sum of logits)) (B,), inf where there is no path, float64; and the probability (B, T,
        K) that the path is at a column's label, arbitrary past a clip's frames and where there is no path.
    """
    dtype = torch.float32 if logits_BTK.device.type == "mps" else torch.float64  # which has no float64
    with torch.enable_grad():
        logits_TBK = logits_BTK.detach().transpose(0, 1).to(dtype).requires_grad_()
        logp_TBK = logits_TBK.log_softmax(-1)
        loss_B = F.ctc_loss(logp_TBK, columns_BL, input_lengths_B, target_lengths_B, reduction="none")
        (gradient_TBK,) = torch.autograd.grad(loss_B.sum(), logits_TBK)
    logp_TBK, loss_B = logp_TBK.detach(), loss_B.detach()
    occupancy_TBK = (logp_TBK.exp() - gradient_TBK).nan_to_num_()
    frames = torch.arange(len(logits_TBK), device=loss_B.device)[:, None] < input_lengths_B
    shift_TB = logits_TBK.detach().logsumexp(-1).masked_fill(~frames, 0)
    return loss_B - shift_TB.sum(0), occupancy_TBK.transpose(0, 1).to(logits_BTK.dtype)


def _score(
    logits_CV: Tensor,
    weight_C: Tensor,
    units_BK: Tensor,
    columns_BK: Tensor,
    clip_C: Tensor,
    occupancy_CK: Tensor,
    differentiate: bool,
) -> Tensor:
    """log(sum(exp(logits))) of each row (C,); in place, logits become weight * (softmax - occupancy).

    Args:
        units_BK, columns_BK: of each clip: its units, and the first column that each unit stands in.
        clip_C: clip of each row.
        occupancy_CK: of the columns; those of one unit add up.
    """
    sums = []
    for logits, weight in zip(logits_CV.split(CACHED_ROWS), weight_C.split(CACHED_ROWS), strict=True):
        largest = logits.amax(1, keepdim=True)
        total = logits.sub_(largest).exp_().sum(1, keepdim=True)
        sums.append(largest + total.log())
        if differentiate:
            logits.mul_(weight[:, None] / total)
    if differentiate:
        logits_CV.scatter_add_(1, units_BK[clip_C], occupancy_CK * -weight_C[:, None])
    return torch.cat(sums).squeeze(1)
