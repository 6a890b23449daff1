"""Cross-entropy against smoothed labels (Szegedy et al. 2016), reported as a Kullback-Leibler divergence.

Shapes: B batch, L tokens, N = B * L, C rows of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from viseme.core.errors import ConfigError
from viseme.core.losses.kernels import pick, usable
from viseme.core.losses.linear import CACHED_ROWS, LinearGradients, linear_in_chunks, scaled_once, score_dtype
from viseme.core.losses.targets import IGNORE

__all__ = ["LossAccuracy", "label_smoothed_ce", "linear_label_smoothed_ce", "linear_label_smoothed_ce_accuracy"]

Normalize = Literal["batch", "length"]


def label_smoothed_ce(
    logits_BLV: Tensor,
    targets_BL: Tensor,
    smoothing: float = 0.1,
    ignore: int = IGNORE,
    normalize: Normalize = "batch",
) -> Tensor:
    """KL divergence from softmax(logits) to the target with `1 - smoothing` on the label and the rest spread evenly.

    Args:
        logits_BLV: before softmax.
        targets_BL: labels; positions equal to `ignore` count nothing.
        smoothing: mass given to the V-1 other classes together.
        normalize: divide the sum by the number of clips ("batch", the published default) or of tokens ("length").

    Returns:
        A scalar, float32 or better; 0 at a perfect smoothed prediction.

    Raises:
        ConfigError: `smoothing` outside [0, 1) or an unknown normalisation.
    """
    _check(smoothing, normalize)
    if logits_BLV.dtype in (torch.float16, torch.bfloat16):
        logits_BLV = logits_BLV.float()
    real_BL = targets_BL != ignore
    logp_BLV = logits_BLV.log_softmax(-1)
    label_logp_BL = logp_BLV.gather(-1, targets_BL.masked_fill(~real_BL, 0).unsqueeze(-1)).squeeze(-1)
    loss_BL = _divergence(label_logp_BL, logp_BLV.sum(-1), logits_BLV.shape[-1], smoothing)
    total = loss_BL.masked_fill(~real_BL, 0.0).sum()
    return total / (len(targets_BL) if normalize == "batch" else real_BL.sum().clamp(min=1))


def linear_label_smoothed_ce(
    hidden_BLD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_BL: Tensor,
    smoothing: float = 0.1,
    ignore: int = IGNORE,
    normalize: Normalize = "batch",
) -> Tensor:
    """`label_smoothed_ce` of `hidden @ weight.T + bias`, without ever holding all logits or a gradient of them."""
    return linear_label_smoothed_ce_accuracy(
        hidden_BLD, weight_VD, bias_V, targets_BL, smoothing, ignore, normalize
    ).loss


class LossAccuracy(NamedTuple):
    """A loss, and the share of its tokens whose largest logit is the target (float64, no gradient)."""

    loss: Tensor
    accuracy: Tensor


def linear_label_smoothed_ce_accuracy(
    hidden_BLD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_BL: Tensor,
    smoothing: float = 0.1,
    ignore: int = IGNORE,
    normalize: Normalize = "batch",
) -> LossAccuracy:
    """`linear_label_smoothed_ce` and, from the same pass over the logits, `token_accuracy`."""
    _check(smoothing, normalize)
    real_BL = targets_BL != ignore
    count = real_BL.sum()
    divisor = count.new_tensor(max(len(targets_BL), 1)) if normalize == "batch" else count.clamp(min=1)
    loss, right = _LinearSmoothedCE.apply(hidden_BLD, weight_VD, bias_V, targets_BL, real_BL, divisor, smoothing)
    return LossAccuracy(loss, right / count.clamp(min=1))


class _LinearSmoothedCE(torch.autograd.Function):
    """Gradients are made in the forward pass, and again only when the graph is gone through a second time."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_BLD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_BL: Tensor,
        real_BL: Tensor,
        divisor: Tensor,
        smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        weight_N = real_BL.reshape(-1).to(score_dtype(hidden_BLD)) / divisor
        ctx.save_for_backward(hidden_BLD, weight_VD, bias_V, targets_BL, weight_N)
        ctx.smoothing = smoothing
        wanted = ctx.needs_input_grad[:3]
        loss_N, right_N, ctx.gradients = _pass(hidden_BLD, weight_VD, bias_V, targets_BL, weight_N, smoothing, wanted)
        ctx.dtypes = [None if t is None else t.dtype for t in (hidden_BLD, weight_VD, bias_V)]
        total = (loss_N * weight_N).masked_fill(weight_N == 0, 0).sum(dtype=torch.float64).to(loss_N.dtype)
        right = right_N.sum(dtype=torch.float64)
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = scaled_once(ctx, upstream)
        if scaled is None:
            hidden, weight, bias, targets, weight_N = ctx.saved_tensors
            wanted = ctx.needs_input_grad[:3]
            scaled = _pass(hidden, weight, bias, targets, weight_N * upstream, ctx.smoothing, wanted)[2]
        gradients = [None if g is None else g.to(dtype) for g, dtype in zip(scaled, ctx.dtypes, strict=True)]
        return (*gradients, None, None, None, None)


def _pass(
    hidden_BLD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_BL: Tensor,
    weight_N: Tensor,
    smoothing: float,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, LinearGradients]:
    """One pass over all logits: `_score` of each token, and the gradients of the sum over tokens of weight * loss."""
    targets_N = targets_BL.reshape(-1)
    loss_N, right_N = torch.zeros_like(weight_N), torch.zeros_like(weight_N)
    # Skipping tokens pays on a CPU; elsewhere counting them would wait for the device.
    rows = None if usable(hidden_BLD) or hidden_BLD.device.type != "cpu" else weight_N.nonzero().squeeze(1)
    score = pick(hidden_BLD, "smoothed_ce", _score)

    def visit(logits_CV: Tensor, chunk: slice) -> None:
        row_C: Tensor | slice = chunk if rows is None else rows[chunk]
        loss_N[row_C], right_N[row_C] = score(logits_CV, weight_N[row_C], targets_N[row_C], smoothing, any(wanted))

    width = hidden_BLD.shape[-1]
    gradients = linear_in_chunks(hidden_BLD.reshape(-1, width), weight_VD, bias_V, visit, wanted, rows)
    if gradients.hidden is not None:
        gradients = gradients._replace(hidden=gradients.hidden.view_as(hidden_BLD))
    return loss_N, right_N, gradients


def _score(
    logits_CV: Tensor, weight_C: Tensor, targets_C: Tensor, smoothing: float, differentiate: bool
) -> tuple[Tensor, Tensor]:
    """Divergence of each row (arbitrary where the weight is 0), and 1 where its largest logit is the target: (C,)
    each. In place, logits become weight * (softmax - smoothed target)."""
    classes = logits_CV.shape[1]
    off = smoothing / (classes - 1)
    losses, rights = [], []
    pieces = (part.split(CACHED_ROWS) for part in (logits_CV, weight_C, targets_C))
    for logits, weight, targets in zip(*pieces, strict=True):
        label = targets.masked_fill(weight == 0, 0)[:, None]
        largest, place = logits.max(1, keepdim=True)
        logits -= largest
        label_logit, sum_logit = logits.gather(1, label), logits.sum(1, keepdim=True)
        total = logits.exp_().sum(1, keepdim=True)
        norm = total.log()
        losses.append(_divergence(label_logit - norm, sum_logit - classes * norm, classes, smoothing))
        rights.append((place == label) & (weight != 0)[:, None])
        if differentiate:
            logits.mul_(weight[:, None] / total).sub_(off * weight[:, None])
            logits.scatter_add_(1, label, (smoothing + off - 1) * weight[:, None])
    return torch.cat(losses).squeeze(1), torch.cat(rights).squeeze(1).to(weight_C.dtype)


def _check(smoothing: float, normalize: str) -> None:
    if not 0.0 <= smoothing < 1.0:
        raise ConfigError("label smoothing out of range", expected="0 <= smoothing < 1", got=smoothing)
    if normalize not in ("batch", "length"):
        raise ConfigError("unknown normalisation of the loss", expected="batch or length", got=normalize)


def _divergence(label_logp: Tensor, sum_logp: Tensor, classes: int, smoothing: float) -> Tensor:
    """KL divergence per token from the label's log-probability and the sum of all classes' log-probabilities."""
    off = smoothing / (classes - 1)
    return negative_entropy(classes, smoothing) - (1.0 - smoothing - off) * label_logp - off * sum_logp


def negative_entropy(classes: int, smoothing: float) -> float:
    """Of a smoothed target."""
    rest = smoothing * math.log(smoothing / (classes - 1)) if smoothing else 0.0
    return (1 - smoothing) * math.log1p(-smoothing) + rest
