"""Label-smoothed cross-entropy of logits, and its gradient in their place (`viseme.core.losses.smoothed_ce`).

C rows of a chunk, V vocabulary.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from viseme.core.losses.smoothed_ce import negative_entropy

__all__ = ["score", "score_kernel"]


@triton.jit
def score_kernel(
    logits,
    weight,
    targets,
    loss,
    right,
    V,
    ENTROPY: tl.constexpr,
    KEPT: tl.constexpr,
    OFF: tl.constexpr,
    DIFFERENTIATE: tl.constexpr,
    SIZE: tl.constexpr,
):
    """One row a program."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * V
    share = tl.load(weight + row)
    v = tl.arange(0, SIZE)
    kept = tl.full((), KEPT, logits.dtype.element_ty)
    off = tl.full((), OFF, logits.dtype.element_ty)
    if share != 0:
        target = tl.load(targets + row)
        label = tl.load(logits + target)
        largest = tl.full((), float("-inf"), logits.dtype.element_ty)
        place = tl.zeros((), tl.int32)
        total = tl.zeros((), logits.dtype.element_ty)
        apart = tl.zeros((), logits.dtype.element_ty)
        for start in range(0, V, SIZE):
            inside = start + v < V
            x = tl.load(logits + start + v, mask=inside, other=float("-inf"))
            top, index = tl.max(x, 0, return_indices=True)
            place = tl.where(top > largest, start + index, place)
            new = tl.maximum(largest, top)
            safe = tl.where(new == float("-inf"), 0.0, new).to(x.dtype)
            total = total * tl.exp(largest - safe) + tl.sum(tl.exp(x - safe), 0)
            apart += tl.sum(tl.where(inside, x - label, 0.0), 0)
            largest = new
        norm = largest + tl.log(total)
        sum_log = apart + V * (label - norm)
        tl.store(loss + row, tl.full((), ENTROPY, off.dtype) - kept * (label - norm) - off * sum_log)
        tl.store(right + row, tl.where(place == target, 1.0, 0.0))
        if DIFFERENTIATE:
            for start in range(0, V, SIZE):
                inside = start + v < V
                x = tl.load(logits + start + v, mask=inside, other=float("-inf"))
                wanted = off + tl.where(start + v == target, kept, 0.0)
                tl.store(logits + start + v, share * (tl.exp(x - norm) - wanted), mask=inside)
    else:
        tl.store(loss + row, 0.0)
        tl.store(right + row, 0.0)
        if DIFFERENTIATE:
            for start in range(0, V, SIZE):
                tl.store(logits + start + v, tl.zeros((SIZE,), logits.dtype.element_ty), mask=start + v < V)


def score(
    logits_CV: Tensor, weight_C: Tensor, targets_C: Tensor, smoothing: float, differentiate: bool
) -> tuple[Tensor, Tensor]:
    """As the plain function; a row of weight 0 gets 0."""
    rows, classes = logits_CV.shape
    loss_C, right_C = torch.empty_like(weight_C), torch.empty_like(weight_C)
    off = smoothing / (classes - 1)
    score_kernel[(rows,)](
        logits_CV,
        weight_C,
        targets_C.contiguous(),
        loss_C,
        right_C,
        classes,
        ENTROPY=negative_entropy(classes, smoothing),
        KEPT=1 - smoothing - off,
        OFF=off,
        DIFFERENTIATE=differentiate,
        SIZE=min(4096, triton.next_power_of_2(classes)),
    )
    return loss_C, right_C
