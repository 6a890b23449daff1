"""Distances of spectra in one pass (`viseme.core.losses.spectral`). Sums are of blocks' sums, in order: no atomics.

B clips, M bins of all columns, R rows, S columns.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from viseme.core.losses.linear import score_dtype
from viseme.core.losses.spectral import SOFTEST

__all__ = [
    "absolute_sums",
    "absolute_sums_backward_kernel",
    "absolute_sums_kernel",
    "spectral_sums",
    "spectral_sums_backward_kernel",
    "spectral_sums_kernel",
]

SIZE = 1024  # of a block


@triton.jit
def _magnitude(x, m, M, LEAST: tl.constexpr):
    """Real and imaginary part, power, and magnitude not below sqrt(LEAST)."""
    real = tl.load(x + 2 * m, mask=m < M, other=0.0)
    imaginary = tl.load(x + 2 * m + 1, mask=m < M, other=0.0)
    power = real * real + imaginary * imaginary
    return real, imaginary, power, tl.sqrt(tl.maximum(power, tl.full((), LEAST, power.dtype)))


@triton.jit
def spectral_sums_kernel(generated, target, sums, M, BLOCKS, LEAST: tl.constexpr, SIZE: tl.constexpr):
    """One block of a clip a program."""
    clip = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    m = block * SIZE + tl.arange(0, SIZE)
    _, _, _, g = _magnitude(generated + clip * M * 2, m, M, LEAST)
    _, _, _, t = _magnitude(target + clip * M * 2, m, M, LEAST)
    t = tl.where(m < M, t, 0.0)
    g = tl.where(m < M, g, 0.0)
    ratio = tl.where(m < M, t, 1.0) / tl.where(m < M, g, 1.0)
    place = sums + (clip * BLOCKS + block) * 3
    tl.store(place, tl.sum((t - g) * (t - g), 0))
    tl.store(place + 1, tl.sum(t * t, 0))
    tl.store(place + 2, tl.sum(tl.abs(tl.log(ratio)), 0))


@triton.jit
def spectral_sums_backward_kernel(generated, target, upstream, gradient, M, LEAST: tl.constexpr, SIZE: tl.constexpr):
    """One block of a clip a program: by the magnitude, 2 (g - t) and sign(g - t) / g; none below the least."""
    clip = tl.program_id(0).to(tl.int64)
    m = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    real, imaginary, power, g = _magnitude(generated + clip * M * 2, m, M, LEAST)
    _, _, _, t = _magnitude(target + clip * M * 2, m, M, LEAST)
    sign = (g > t).to(g.dtype) - (g < t).to(g.dtype)
    by_g = tl.load(upstream + clip * 3) * 2 * (g - t) + tl.load(upstream + clip * 3 + 2) * sign / g
    scale = tl.where(power >= tl.full((), LEAST, power.dtype), by_g / g, 0.0)
    place = gradient + clip * M * 2 + 2 * m
    tl.store(place, scale * real, mask=m < M)
    tl.store(place + 1, scale * imaginary, mask=m < M)


@triton.jit
def absolute_sums_kernel(generated, target, columns, sums, R, S, BLOCKS, SIZE: tl.constexpr):
    """One block of a clip a program; columns past the clip's own are not read."""
    clip = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    kind = sums.dtype.element_ty
    n = block * SIZE + tl.arange(0, SIZE)
    own = (n < R * S) & (n % S < tl.load(columns + clip))
    g = tl.load(generated + clip * R * S + n, mask=own, other=0.0).to(kind)
    t = tl.load(target + clip * R * S + n, mask=own, other=0.0).to(kind)
    tl.store(sums + clip * BLOCKS + block, tl.sum(tl.abs(g - t), 0))


@triton.jit
def absolute_sums_backward_kernel(generated, target, columns, upstream, gradient, R, S, SIZE: tl.constexpr):
    """One block of a clip a program."""
    clip = tl.program_id(0).to(tl.int64)
    kind = upstream.dtype.element_ty
    n = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    own = (n < R * S) & (n % S < tl.load(columns + clip))
    g = tl.load(generated + clip * R * S + n, mask=own, other=0.0).to(kind)
    t = tl.load(target + clip * R * S + n, mask=own, other=0.0).to(kind)
    sign = (g > t).to(kind) - (g < t).to(kind)
    value = (tl.load(upstream + clip) * sign).to(gradient.dtype.element_ty)
    tl.store(gradient + clip * R * S + n, value, mask=n < R * S)


class _SpectralSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, generated_BM2: Tensor, target_BM2: Tensor) -> Tensor:
        clips, bins, _ = generated_BM2.shape
        blocks = triton.cdiv(bins, SIZE)
        sums = generated_BM2.new_empty((clips, blocks, 3))
        spectral_sums_kernel[(clips, blocks)](generated_BM2, target_BM2, sums, bins, blocks, LEAST=SOFTEST, SIZE=SIZE)
        ctx.save_for_backward(generated_BM2, target_BM2)
        return sums.sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_B3: Tensor) -> tuple[Tensor, None]:
        generated_BM2, target_BM2 = ctx.saved_tensors
        clips, bins, _ = generated_BM2.shape
        gradient = torch.empty_like(generated_BM2)
        spectral_sums_backward_kernel[(clips, triton.cdiv(bins, SIZE))](
            generated_BM2, target_BM2, upstream_B3.contiguous(), gradient, bins, LEAST=SOFTEST, SIZE=SIZE
        )
        return gradient, None


class _AbsoluteSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, generated_BRS: Tensor, target_BRS: Tensor, columns_B: Tensor) -> Tensor:
        generated_BRS, target_BRS = generated_BRS.contiguous(), target_BRS.contiguous()
        clips, rows, width = generated_BRS.shape
        blocks = triton.cdiv(rows * width, SIZE)
        sums = generated_BRS.new_empty((clips, blocks), dtype=score_dtype(generated_BRS))
        absolute_sums_kernel[(clips, blocks)](
            generated_BRS, target_BRS, columns_B, sums, rows, width, blocks, SIZE=SIZE
        )
        ctx.save_for_backward(generated_BRS, target_BRS, columns_B)
        return sums.sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_B: Tensor) -> tuple[Tensor, None, None]:
        generated_BRS, target_BRS, columns_B = ctx.saved_tensors
        clips, rows, width = generated_BRS.shape
        gradient = torch.empty_like(generated_BRS)
        absolute_sums_backward_kernel[(clips, triton.cdiv(rows * width, SIZE))](
            generated_BRS, target_BRS, columns_B, upstream_B.contiguous(), gradient, rows, width, SIZE=SIZE
        )
        return gradient, None, None


def spectral_sums(generated_BM2: Tensor, target_BM2: Tensor) -> Tensor:
    """As the plain function; the target gets no gradient."""
    sums_B3: Tensor = _SpectralSums.apply(generated_BM2, target_BM2)
    return sums_B3


def absolute_sums(generated_BRS: Tensor, target_BRS: Tensor, columns_B: Tensor) -> Tensor:
    """As the plain function; the target gets no gradient."""
    sums_B: Tensor = _AbsoluteSums.apply(generated_BRS, target_BRS, columns_B)
    return sums_B
