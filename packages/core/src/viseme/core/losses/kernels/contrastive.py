"""Both softmaxes of a clip's frame-by-frame similarities, which are never stored (`viseme.core.losses.cosine`).

B clips, T frames, D embedding.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["contrast", "gradient_kernel", "norm_kernel"]

FRAMES, WIDTH = 16, 64  # of a block


@triton.jit
def _similarities(x, y, i, j, T, D, TEMPERATURE: tl.constexpr, FRAMES: tl.constexpr, WIDTH: tl.constexpr):
    """x_i . y_j / TEMPERATURE for the frames i and j of a block."""
    kind = x.dtype.element_ty
    total = tl.zeros((FRAMES, FRAMES), kind)
    for start in range(0, D, WIDTH):
        d = start + tl.arange(0, WIDTH)
        a = tl.load(x + i[:, None] * D + d[None, :], mask=(i[:, None] < T) & (d[None, :] < D), other=0.0)
        b = tl.load(y + j[None, :] * D + d[:, None], mask=(j[None, :] < T) & (d[:, None] < D), other=0.0)
        total += tl.dot(a, b, input_precision="ieee", out_dtype=kind)
    return total / tl.full((), TEMPERATURE, kind)


@triton.jit
def norm_kernel(x, y, norm, own, T, D, TEMPERATURE: tl.constexpr, FRAMES: tl.constexpr, WIDTH: tl.constexpr):
    """Some frames of x a program: log of the sum over y's frames of exp(similarity), and the similarity to its own."""
    clip = tl.program_id(0).to(tl.int64)
    kind = x.dtype.element_ty
    x += clip * T * D
    y += clip * T * D
    i = tl.program_id(1) * FRAMES + tl.arange(0, FRAMES)
    largest = tl.full((FRAMES,), float("-inf"), kind)
    total = tl.zeros((FRAMES,), kind)
    diagonal = tl.zeros((FRAMES,), kind)
    for start in range(0, T, FRAMES):
        j = start + tl.arange(0, FRAMES)
        s = _similarities(x, y, i, j, T, D, TEMPERATURE, FRAMES, WIDTH)
        diagonal += tl.sum(tl.where(i[:, None] == j[None, :], s, 0.0), 1)
        s = tl.where(j[None, :] < T, s, float("-inf"))
        new = tl.maximum(largest, tl.max(s, 1))
        total = total * tl.exp(largest - new) + tl.sum(tl.exp(s - new[:, None]), 1)
        largest = new
    tl.store(norm + clip * T + i, largest + tl.log(total), mask=i < T)
    tl.store(own + clip * T + i, diagonal, mask=i < T)


@triton.jit
def gradient_kernel(
    x, y, x_norm, y_norm, upstream, dx, T, D, TEMPERATURE: tl.constexpr, FRAMES: tl.constexpr, WIDTH: tl.constexpr
):
    """Some frames and channels of x a program: sum over y's frames of (both softmaxes - 2 [i = j]) y / (2 T)."""
    clip = tl.program_id(0).to(tl.int64)
    kind = x.dtype.element_ty
    x += clip * T * D
    y += clip * T * D
    i = tl.program_id(1) * FRAMES + tl.arange(0, FRAMES)
    d = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    from_x = tl.load(x_norm + clip * T + i, mask=i < T, other=0.0)
    total = tl.zeros((FRAMES, WIDTH), kind)
    for start in range(0, T, FRAMES):
        j = start + tl.arange(0, FRAMES)
        from_y = tl.load(y_norm + clip * T + j, mask=j < T, other=0.0)
        s = _similarities(x, y, i, j, T, D, TEMPERATURE, FRAMES, WIDTH)
        share = tl.exp(s - from_x[:, None]) + tl.exp(s - from_y[None, :])
        share = tl.where(i[:, None] == j[None, :], share - 2.0, share)
        share = tl.where((i[:, None] < T) & (j[None, :] < T), share, 0.0).to(kind)
        b = tl.load(y + j[:, None] * D + d[None, :], mask=(j[:, None] < T) & (d[None, :] < D), other=0.0)
        total += tl.dot(share, b, input_precision="ieee", out_dtype=kind)
    scale = tl.load(upstream + clip) / (2.0 * T * tl.full((), TEMPERATURE, kind))
    place = dx + clip * T * D + i[:, None] * D + d[None, :]
    tl.store(place, (total * scale).to(kind), mask=(i[:, None] < T) & (d[None, :] < D))


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, y_BTD: Tensor, temperature: float) -> Tensor:
        x_BTD, y_BTD = x_BTD.contiguous(), y_BTD.contiguous()
        clips, frames, width = x_BTD.shape
        x_norm_BT, y_norm_BT, own_BT = (x_BTD.new_empty((clips, frames)) for _ in range(3))
        grid = (clips, triton.cdiv(frames, FRAMES))
        for a, b, norm in ((x_BTD, y_BTD, x_norm_BT), (y_BTD, x_BTD, y_norm_BT)):
            norm_kernel[grid](a, b, norm, own_BT, frames, width, TEMPERATURE=temperature, FRAMES=FRAMES, WIDTH=WIDTH)
        ctx.save_for_backward(x_BTD, y_BTD, x_norm_BT, y_norm_BT)
        ctx.temperature = temperature
        return (x_norm_BT + y_norm_BT - 2 * own_BT).mean(1) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_B: Tensor) -> tuple[Tensor | None, ...]:
        x, y, x_norm, y_norm = ctx.saved_tensors
        clips, frames, width = x.shape
        grid = (clips, triton.cdiv(frames, FRAMES), triton.cdiv(width, WIDTH))
        gradients: list[Tensor | None] = []
        for wanted, mine, other, mine_norm, other_norm in (
            (ctx.needs_input_grad[0], x, y, x_norm, y_norm),
            (ctx.needs_input_grad[1], y, x, y_norm, x_norm),
        ):
            made = torch.empty_like(mine) if wanted else None
            if made is not None:
                gradient_kernel[grid](
                    mine,
                    other,
                    mine_norm,
                    other_norm,
                    upstream_B.contiguous(),
                    made,
                    frames,
                    width,
                    TEMPERATURE=ctx.temperature,
                    FRAMES=FRAMES,
                    WIDTH=WIDTH,
                )
            gradients.append(made)
        return (*gradients, None)


def contrast(x_BTD: Tensor, y_BTD: Tensor, temperature: float) -> Tensor:
    """As the plain function."""
    loss_B: Tensor = _Contrast.apply(x_BTD, y_BTD, temperature)
    return loss_B
