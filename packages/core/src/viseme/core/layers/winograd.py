"""Winograd's minimal filtering for wide convolutions on CPUs: 3x3 in a quarter of the products, 5x5 in a sixth.

Tiles of the picture, their filters and the answers are polynomials evaluated at n points, where a convolution is one
product a point, that is n * n matrix products over the channels (Winograd 1980; Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", CVPR 2016). Same values up to rounding: errors of float32 are about five times those of
the direct sum.

N pictures, C and K channels in and out, H, W pixels, R = 3 or 5 the kernel's side, m = 4 the side of what a tile gives,
n = m + R - 1 the side of what it takes, P tiles.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from viseme.core.layers.linear import fast_product

__all__ = ["WinogradConv2d", "winograd_conv2d", "winograd_pays"]

M = 4
POINTS = {3: (0.0, 1.0, -1.0, 2.0, -2.0), 5: (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)}
"""Where the polynomials are evaluated, beside infinity."""

NARROWEST = {3: 256, 5: 128}
"""Channels, in and out, from which on it is faster than the direct sum (measured on an AMD EPYC with AVX-512)."""


def winograd_pays(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that this computes, and faster: a wide one with "same" padding."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size in ((3, 3), (5, 5))
        and layer.padding == (layer.kernel_size[0] // 2,) * 2
        and layer.padding_mode == "zeros"
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and min(layer.in_channels, layer.out_channels) >= NARROWEST[layer.kernel_size[0]]
    )


@lru_cache
def _matrices(kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    """What takes answers back (m * m, n * n), filters there (n * n, R * R) and tiles there (n * n, n * n)."""
    points = np.array(POINTS[kernel])

    def evaluate(terms: int) -> np.ndarray:
        """Polynomials of so many terms at all points; at infinity the last term is all that counts."""
        return np.vstack([points[:, None] ** np.arange(terms), np.eye(terms)[-1]])

    tile = np.linalg.inv(evaluate(M + kernel - 1)).T
    share = np.abs(tile).sum(1, keepdims=True) / np.abs(tile).sum(1).mean()  # points alike in size: less rounding
    pairs = evaluate(M).T, evaluate(kernel) * share, tile / share
    back, there, tile = (np.kron(matrix, matrix) for matrix in pairs)
    return torch.from_numpy(back).float(), torch.from_numpy(there).float(), torch.from_numpy(tile).float()


def _product(a: Tensor, b: Tensor) -> Tensor:
    fast = fast_product(a, b)
    return a @ b if fast is None else fast


def _products(a_TPC: Tensor, b_TCK: Tensor) -> Tensor:
    """One matrix product a point."""
    return torch.stack([_product(a, b) for a, b in zip(a_TPC, b_TCK)])


def _filters(weight_KCRR: Tensor) -> Tensor:
    """Filters at the points: (n * n, C, K), columns contiguous."""
    outputs, inputs, kernel, _ = weight_KCRR.shape
    flat = weight_KCRR.permute(2, 3, 0, 1).reshape(kernel * kernel, -1)
    return _product(_matrices(kernel)[1], flat).view(-1, outputs, inputs).transpose(1, 2)


def _tiles(x_NCHW: Tensor, kernel: int) -> Tensor:
    """Overlapping tiles at the points: (n * n, P, C)."""
    pictures, channels, height, width = x_NCHW.shape
    rows, columns, side, reach = -(-height // M), -(-width // M), M + kernel - 1, kernel // 2
    below, right = rows * M + reach - height, columns * M + reach - width
    x_NHWC = F.pad(x_NCHW.permute(0, 2, 3, 1), (0, 0, reach, right, reach, below)).contiguous()
    picture, row, column, _ = x_NHWC.stride()
    tiles = x_NHWC.as_strided(
        (side, side, pictures, rows, columns, channels), (row, column, picture, M * row, M * column, 1)
    )
    return _product(_matrices(kernel)[2], tiles.reshape(side * side, -1)).view(side * side, -1, channels)


def _pictures(points_TPK: Tensor, shape: tuple[int, int, int], kernel: int) -> Tensor:
    """Answers at the points to pictures of `shape` (N, H, W): (N, K, H, W), channels last."""
    pictures, height, width = shape
    rows, columns, channels = -(-height // M), -(-width // M), points_TPK.shape[-1]
    y = _product(_matrices(kernel)[0], points_TPK.reshape(len(points_TPK), -1))
    y = y.view(M, M, pictures, rows, columns, channels).permute(2, 3, 0, 4, 1, 5)
    return y.reshape(pictures, rows * M, columns * M, channels)[:, :height, :width].permute(0, 3, 1, 2)


def _convolve(x_NCHW: Tensor, filters_TCK: Tensor, kernel: int) -> Tensor:
    shape = (x_NCHW.shape[0], x_NCHW.shape[2], x_NCHW.shape[3])
    return _pictures(_products(_tiles(x_NCHW, kernel), filters_TCK), shape, kernel)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _laid_out_as(x, _convolve(x, _filters(weight), weight.shape[-1]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        kernel = weight.shape[-1]
        for_x, for_weight = ctx.needs_input_grad
        grad_x = grad_weight = None
        if for_x:
            grad_x = _laid_out_as(x, _convolve(grad, _filters(weight.flip(2, 3).transpose(0, 1)), kernel))
        if for_weight:
            back, there, _ = _matrices(kernel)
            pictures, outputs, height, width = grad.shape
            rows, columns = -(-height // M), -(-width // M)
            y = F.pad(grad.permute(0, 2, 3, 1), (0, 0, 0, columns * M - width, 0, rows * M - height))
            y = y.reshape(pictures, rows, M, columns, M, outputs).permute(2, 4, 0, 1, 3, 5).reshape(M * M, -1)
            points_TPK = _product(back.T.contiguous(), y).view(len(there), -1, outputs)
            at_points = torch.stack(
                [_product(k.T.contiguous(), c) for k, c in zip(points_TPK, _tiles(x, kernel))]  # (K, C) each
            )
            flat = _product(there.T.contiguous(), at_points.view(len(there), -1))
            grad_weight = flat.view(kernel, kernel, outputs, -1).permute(2, 3, 0, 1).contiguous()
        return grad_x, grad_weight


def _laid_out_as(x: Tensor, y: Tensor) -> Tensor:
    """y in the memory layout of x: in training, what comes next is not to be channels last (`picture_layout`)."""
    return y.contiguous(memory_format=torch.contiguous_format if x.is_contiguous() else torch.channels_last)


def winograd_conv2d(x_NCHW: Tensor, weight_KCRR: Tensor, bias_K: Tensor | None = None) -> Tensor:
    """`F.conv2d` with padding R // 2, in float32 on a CPU; differentiable once.

    Args:
        weight_KCRR: R is 3 or 5.
    """
    y: Tensor = _Winograd.apply(x_NCHW, weight_KCRR)
    return y if bias_K is None else y + bias_K[:, None, None]


class WinogradConv2d(nn.Module):
    """A convolution that learns no more, its filters kept at the points: four (3x3) or 2.6 times (5x5) the memory.

    Args:
        layer: one for which `winograd_pays`.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.kernel = layer.kernel_size[0]
        with torch.no_grad():
            self.register_buffer("filters", _filters(layer.weight), persistent=False)
            self.register_buffer("bias", None if layer.bias is None else layer.bias.detach(), persistent=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y = _convolve(x_NCHW, self.get_buffer("filters"), self.kernel)
        return y if self.bias is None else y.add_(self.get_buffer("bias")[:, None, None])
