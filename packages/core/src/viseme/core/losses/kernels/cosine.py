"""Cosine of pairs of rows: normalise, multiply and sum in one pass (`viseme.core.losses.cosine`).

N rows, D embedding.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from viseme.core.losses.linear import score_dtype

__all__ = ["backward_kernel", "cosine_rows", "forward_kernel"]


@triton.jit
def _sums(x_row, y_row, D, SIZE: tl.constexpr, TYPE: tl.constexpr):
    """x . y, x . x, y . y."""
    xy = tl.zeros((), TYPE)
    xx = tl.zeros((), TYPE)
    yy = tl.zeros((), TYPE)
    for start in range(0, D, SIZE):
        d = start + tl.arange(0, SIZE)
        x = tl.load(x_row + d, mask=d < D, other=0.0).to(TYPE)
        y = tl.load(y_row + d, mask=d < D, other=0.0).to(TYPE)
        xy += tl.sum(x * y, 0)
        xx += tl.sum(x * x, 0)
        yy += tl.sum(y * y, 0)
    return xy, xx, yy


@triton.jit
def forward_kernel(x, y, counted, cosine, D, MASKED: tl.constexpr, SIZE: tl.constexpr):
    """One row a program."""
    row = tl.program_id(0).to(tl.int64)
    kind = cosine.dtype.element_ty
    counts = tl.load(counted + row) != 0 if MASKED else True
    if counts:
        xy, xx, yy = _sums(x + row * D, y + row * D, D, SIZE, kind)
        least = tl.full((), 1e-8, kind)
        tl.store(cosine + row, xy / (tl.maximum(tl.sqrt(xx), least) * tl.maximum(tl.sqrt(yy), least)))
    else:
        tl.store(cosine + row, tl.zeros((), kind))


@triton.jit
def backward_kernel(
    x, y, counted, upstream, dx, dy, D, MASKED: tl.constexpr, DX: tl.constexpr, DY: tl.constexpr, SIZE: tl.constexpr
):
    """One row a program: d cos / dx = y / (|x| |y|) - cos x / |x|^2; the second part not below the least norm."""
    row = tl.program_id(0).to(tl.int64)
    kind = upstream.dtype.element_ty
    x += row * D
    y += row * D
    dx += row * D
    dy += row * D
    counts = tl.load(counted + row) != 0 if MASKED else True
    if counts:
        xy, xx, yy = _sums(x, y, D, SIZE, kind)
        least = tl.full((), 1e-8, kind)
        x_norm = tl.maximum(tl.sqrt(xx), least)
        y_norm = tl.maximum(tl.sqrt(yy), least)
        scale = tl.load(upstream + row)
        cross = scale / (x_norm * y_norm)
        cosine = scale * xy / (x_norm * y_norm)
        x_part = tl.where(x_norm > least, cosine / (x_norm * x_norm), 0.0)
        y_part = tl.where(y_norm > least, cosine / (y_norm * y_norm), 0.0)
        for start in range(0, D, SIZE):
            d = start + tl.arange(0, SIZE)
            a = tl.load(x + d, mask=d < D, other=0.0).to(kind)
            b = tl.load(y + d, mask=d < D, other=0.0).to(kind)
            if DX:
                tl.store(dx + d, (cross * b - x_part * a).to(dx.dtype.element_ty), mask=d < D)
            if DY:
                tl.store(dy + d, (cross * a - y_part * b).to(dy.dtype.element_ty), mask=d < D)
    else:
        for start in range(0, D, SIZE):
            d = start + tl.arange(0, SIZE)
            if DX:
                tl.store(dx + d, tl.zeros((SIZE,), dx.dtype.element_ty), mask=d < D)
            if DY:
                tl.store(dy + d, tl.zeros((SIZE,), dy.dtype.element_ty), mask=d < D)


class _CosineRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, y_ND: Tensor, counted_N: Tensor | None) -> Tensor:
        x_ND, y_ND = x_ND.contiguous(), y_ND.contiguous()
        rows, width = x_ND.shape
        cosine_N = x_ND.new_empty(rows, dtype=score_dtype(x_ND))
        if rows:
            forward_kernel[(rows,)](
                x_ND,
                y_ND,
                cosine_N if counted_N is None else counted_N.contiguous().view(torch.uint8),
                cosine_N,
                width,
                MASKED=counted_N is not None,
                SIZE=_size(width),
            )
        ctx.save_for_backward(x_ND, y_ND, counted_N)
        return cosine_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_N: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, y_ND, counted_N = ctx.saved_tensors
        rows, width = x_ND.shape
        wants_x, wants_y = ctx.needs_input_grad[:2]
        dx_ND = torch.empty_like(x_ND) if wants_x else None
        dy_ND = torch.empty_like(y_ND) if wants_y else None
        if rows:
            backward_kernel[(rows,)](
                x_ND,
                y_ND,
                upstream_N if counted_N is None else counted_N.contiguous().view(torch.uint8),
                upstream_N.contiguous(),
                x_ND if dx_ND is None else dx_ND,
                y_ND if dy_ND is None else dy_ND,
                width,
                MASKED=counted_N is not None,
                DX=wants_x,
                DY=wants_y,
                SIZE=_size(width),
            )
        return dx_ND, dy_ND, None


def _size(width: int) -> int:
    return min(2048, triton.next_power_of_2(width))


def cosine_rows(x_ND: Tensor, y_ND: Tensor, counted_N: Tensor | None) -> Tensor:
    """As the plain function."""
    cosine_N: Tensor = _CosineRows.apply(x_ND, y_ND, counted_N)
    return cosine_N
