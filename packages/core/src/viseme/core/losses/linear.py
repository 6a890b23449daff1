"""Losses over a linear layer's output that is never held whole: logits come, are scored, and go, some rows at a time.

A loss whose gradient by the logits is known once they are (softmax minus something known beforehand) needs them only
once: each chunk's gradient goes into the layer's gradients at once, in the forward pass, and nothing is computed again.

N rows, C rows of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from viseme.core.layers.linear import fast_product

__all__ = [
    "CACHED_ROWS",
    "LinearGradients",
    "linear_in_chunks",
    "operand_dtype",
    "product",
    "scaled_once",
    "score_dtype",
]

# Measured: in smaller ones the weight's gradient is read and written too often (1 MB: a third more time); oneDNN
# rearranges whole chunks, so that larger ones double the memory.
CHUNK_BYTES = {"cpu": 6 << 20, "cuda": 64 << 20}

PART_UNITS = 1280
"""Of the vocabulary, whose share of the weight's gradient is made at once."""

CACHED_ROWS = 32
"""Elementwise passes over this many rows stay in a processor's cache."""

Visit = Callable[[Tensor, slice], None]


class LinearGradients(NamedTuple):
    """Of the layer's input (N, D), weight (V, D) and bias (V,), in the score's type; None where not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def score_dtype(x: Tensor) -> torch.dtype:
    """What scores are computed in: float64 for float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def operand_dtype(hidden: Tensor) -> torch.dtype:
    """What enters the matrix products: on an accelerator what autocast says or the input has (sums are float32 all the
    same); on a CPU the score's type, which is as fast there and exact."""
    device = hidden.device.type
    if device == "cpu":
        return score_dtype(hidden)
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a @ b of matrices or batches of them, summed and given in float32 or better; in `out` where BLAS makes it."""
    if a.ndim == 2 and (made := fast_product(a, b)) is not None:
        return made
    multiply = torch.bmm if a.ndim == 3 else torch.mm
    with torch.autocast(a.device.type, enabled=False):  # which would undo the types chosen here
        if a.dtype in (torch.float16, torch.bfloat16):
            if a.is_cuda:
                return multiply(a, b, out_dtype=torch.float32)
            a, b = a.float(), b.float()
        return multiply(a, b, out=out)


def linear_in_chunks(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    visit: Visit,
    wanted: tuple[bool, bool, bool],
    rows: Tensor | None = None,
) -> LinearGradients:
    """Pass a layer's logits, chunk by chunk, to `visit`, and gather the layer's gradients.

    Args:
        hidden_ND, weight_VD, bias_V: the layer's input and parameters.
        visit: called with logits (C, V) in float32 or better and the slice of rows they are; to replace them, in place,
            by the loss's gradient by them (not needed where nothing is wanted).
        wanted: which of the three gradients.
        rows: (R,) the rows that count, in order (the slices then are of this list); None for all.
    """
    dtype, operand = score_dtype(hidden_ND), operand_dtype(hidden_ND)
    weight = weight_VD.detach().to(operand)
    bias = None if bias_V is None else bias_V.detach().to(dtype)
    hidden_ND = hidden_ND.detach()
    vocabulary = len(weight)
    total = len(hidden_ND) if rows is None else len(rows)
    limit = CHUNK_BYTES.get(hidden_ND.device.type, CHUNK_BYTES["cuda"])
    size = max(1, min(total, limit // (4 * vocabulary)))
    buffer: Tensor | None = None
    made = LinearGradients(
        torch.zeros_like(hidden_ND, dtype=dtype) if wanted[0] else None,
        torch.zeros_like(weight, dtype=dtype) if wanted[1] else None,
        hidden_ND.new_zeros(vocabulary, dtype=dtype) if wanted[2] else None,
    )
    for start in range(0, total, size):
        chunk = slice(start, min(start + size, total))
        hidden_CD = (hidden_ND[chunk] if rows is None else hidden_ND[rows[chunk]]).to(operand)
        logits_CV = fast_product(hidden_CD, weight.T)
        if logits_CV is None:
            if buffer is None:
                buffer = hidden_ND.new_empty((size, vocabulary), dtype=dtype)
            logits_CV = product(hidden_CD, weight.T, out=buffer[: len(hidden_CD)])
        if bias is not None:
            logits_CV += bias
        visit(logits_CV, chunk)
        gradient_CV = logits_CV.to(operand)
        if made.hidden is not None:
            gradient_CD = product(gradient_CV, weight)
            if rows is None:
                made.hidden[chunk] = gradient_CD
            else:
                made.hidden[rows[chunk]] = gradient_CD
        if made.weight is not None:
            _add_product(made.weight, gradient_CV, hidden_CD)
        if made.bias is not None:
            made.bias.add_(logits_CV.sum(0))
    return made


def _add_product(sum_VD: Tensor, gradient_CV: Tensor, hidden_CD: Tensor) -> None:
    """sum += gradient.T @ hidden, some of the vocabulary at a time where the product is a tensor of its own."""
    if gradient_CV.device.type != "cpu":
        if gradient_CV.dtype == sum_VD.dtype:
            torch.addmm(sum_VD, gradient_CV.T, hidden_CD, out=sum_VD)
        else:
            sum_VD.add_(product(gradient_CV.T, hidden_CD))
        return
    for part_VD, part_CV in zip(sum_VD.split(PART_UNITS), gradient_CV.split(PART_UNITS, dim=1), strict=True):
        if (fast := fast_product(part_CV.T, hidden_CD)) is not None:
            part_VD.add_(fast)
        else:
            torch.addmm(part_VD, part_CV.T, hidden_CD, out=part_VD)


def scaled_once(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...] | None:
    """The gradients that a forward pass left in `ctx.gradients`, times `upstream`, in place: they are handed on, not
    copied. None the second time somebody goes back through the graph."""
    gradients, ctx.gradients = ctx.gradients, None
    if gradients is None:
        return None
    return tuple(None if g is None else g.mul_(upstream) for g in gradients)
