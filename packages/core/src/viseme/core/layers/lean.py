"""Batch norm and what stands around it, in training, with less kept for the backward pass.

Written one module after another, norm, activation and the convolution behind them keep three tensors of the same size;
norm and activation follow from the norm's input and two numbers a channel at the cost of two passes over memory, so one
is enough. Values are those of the plain modules; gradients are, up to rounding. (Rota Bulo et al., "In-place activated
batch norm", 2018, invert the activation instead, which SiLU cannot be.)

N pictures, C channels; x what is normalised (N, C, ...), y what comes out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["norm_act", "norm_act_conv", "norm_act_pool"]

Convolution = nn.Conv1d | nn.Conv2d
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ACTS = (nn.SiLU, nn.ReLU)


def norm_act(norm: nn.Module, act: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """act(norm(x) + shortcut), keeping x and the shortcut."""
    if not _lean(norm, act, x):
        return _plain(norm, act, x, shortcut)
    y: Tensor = _NormAct.apply(x, *_parameters(norm), isinstance(act, nn.SiLU), shortcut)
    return y


def norm_act_conv(norm: nn.Module, act: nn.Module, convolution: nn.Module, x: Tensor) -> Tensor:
    """convolution(act(norm(x))), keeping x."""
    if not _lean(norm, act, x) or type(convolution) not in (nn.Conv1d, nn.Conv2d):
        y: Tensor = convolution(act(norm(x)))
        return y
    assert isinstance(convolution, Convolution)
    geometry = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
    y = _NormActConv.apply(
        x, *_parameters(norm), isinstance(act, nn.SiLU), convolution.weight, convolution.bias, geometry
    )
    return y


def norm_act_pool(norm: nn.Module, act: nn.Module, pool: nn.Module, x_NCTHW: Tensor) -> Tensor:
    """pool(act(norm(x))) for a pool that takes each picture by itself, keeping x and where the maxima stood."""
    pictures = None
    if isinstance(pool, nn.MaxPool3d) and not pool.ceil_mode and pool.dilation == 1 and x_NCTHW.dim() == 5:
        pictures = _of_pictures(pool.kernel_size, pool.stride, pool.padding)
    if pictures is None or not _lean(norm, act, x_NCTHW):
        y: Tensor = pool(act(norm(x_NCTHW)))
        return y
    y = _NormActPool.apply(x_NCTHW, *_parameters(norm), isinstance(act, nn.SiLU), *pictures)
    return y


def _of_pictures(*geometry: Any) -> list[list[int]] | None:
    """Kernel, stride and padding (frames, rows, columns) without the frames; None where they reach over several."""
    if not all(isinstance(part, tuple) for part in geometry) or [part[0] for part in geometry] != [1, 1, 0]:
        return None
    return [list(part[1:]) for part in geometry]


def _plain(norm: nn.Module, act: nn.Module, x: Tensor, shortcut: Tensor | None) -> Tensor:
    y: Tensor = norm(x)
    y = act(y if shortcut is None else y + shortcut)
    return y


def _lean(norm: nn.Module, act: nn.Module, x: Tensor) -> bool:
    """Whether there is a backward pass to keep things for, and these modules are the ones computed here.

    Not under `torch.compile`, which decides by itself what to keep, nor on accelerators, where cuDNN has its own norms
    and this has not been measured.
    """
    return bool(
        isinstance(norm, _NORMS)
        and norm.training
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and type(norm) in _NORMS  # not SyncBatchNorm
        and type(act) in _ACTS
        and norm.track_running_stats
        and norm.affine
        and x.numel() > x.shape[1]  # one value a channel is an error, which the module words
    )


def _parameters(norm: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor, float, float]:
    """Weight, bias, running mean and variance, momentum, eps; counts the batch."""
    assert isinstance(norm, _NORMS)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    return norm.weight, norm.bias, norm.running_mean, norm.running_var, momentum, norm.eps  # type: ignore[return-value]


def _normalise(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised by the batch, and the batch's mean and inverse deviation."""
    y, mean_C, inverse_C = torch.native_batch_norm(x, weight, bias, mean, var, True, momentum, eps)
    return y, mean_C, inverse_C


def _again(x: Tensor, weight: Tensor, bias: Tensor, mean_C: Tensor, inverse_C: Tensor) -> Tensor:
    """The norm's output once more."""
    return functional.batch_norm(x, mean_C, inverse_C**-2, weight, bias, training=False, eps=0.0)


def _add_(x: Tensor, shortcut: Tensor | None) -> Tensor:
    """In place, unless the shortcut has the wider type."""
    if shortcut is None:
        return x
    return x.add_(shortcut) if x.dtype == shortcut.dtype else x + shortcut


def _act_(x: Tensor, silu: bool) -> Tensor:
    return functional.silu(x, inplace=True) if silu else x.relu_()


def _act_backward(grad: Tensor, x: Tensor, silu: bool) -> Tensor:
    """From the gradient by the activation's output to that by its input x."""
    if silu:
        return torch.ops.aten.silu_backward(grad, x)
    return torch.ops.aten.threshold_backward(grad, x, 0)


def _norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean_C: Tensor, inverse_C: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """By input, weight and bias."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        grad, x, weight, None, None, mean_C, inverse_C, True, 0.0, [True, True, True]
    )
    return found


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        momentum: float,
        eps: float,
        silu: bool,
        shortcut: Tensor | None,
    ) -> Tensor:
        y, mean_C, inverse_C = _normalise(x, weight, bias, mean, var, momentum, eps)
        ctx.silu = silu
        ctx.save_for_backward(x, weight, bias, mean_C, inverse_C, shortcut)
        return _act_(_add_(y, shortcut), silu)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean_C, inverse_C, shortcut = ctx.saved_tensors
        before = _add_(_again(x, weight, bias, mean_C, inverse_C), shortcut)
        grad = _act_backward(grad, before, ctx.silu)
        del before
        by_norm = _norm_backward(grad.to(x.dtype), x, weight, mean_C, inverse_C)
        return (*by_norm, None, None, None, None, None, None if shortcut is None else grad.to(shortcut.dtype))


class _NormActConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        momentum: float,
        eps: float,
        silu: bool,
        kernel: Tensor,
        offset: Tensor | None,
        geometry: tuple[Any, ...],
    ) -> Tensor:
        y, mean_C, inverse_C = _normalise(x, weight, bias, mean, var, momentum, eps)
        ctx.silu, ctx.geometry, ctx.has_offset = silu, geometry, offset is not None
        ctx.save_for_backward(x, weight, bias, mean_C, inverse_C, kernel)
        convolve = functional.conv1d if x.dim() == 3 else functional.conv2d
        return convolve(_act_(y, silu), kernel, offset, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean_C, inverse_C, kernel = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        before = _again(x, weight, bias, mean_C, inverse_C)
        after = functional.silu(before) if ctx.silu else before.relu()
        by_after, by_kernel, by_offset = torch.ops.aten.convolution_backward(
            grad.to(after.dtype),
            after,
            kernel.to(after.dtype),  # autocast convolved in a narrower type than the parameter's
            [len(kernel)] if ctx.has_offset else None,
            stride,
            padding,
            dilation,
            False,
            [0] * len(stride),
            groups,
            [True, True, ctx.has_offset],
        )
        del after, grad
        by_before = _act_backward(by_after, before, ctx.silu)
        del before, by_after
        by_norm = _norm_backward(by_before, x, weight, mean_C, inverse_C)
        by_offset = by_offset.to(weight.dtype) if ctx.has_offset else None
        return (*by_norm, None, None, None, None, None, by_kernel.to(kernel.dtype), by_offset, None)


class _NormActPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        momentum: float,
        eps: float,
        silu: bool,
        kernel: list[int],
        stride: list[int],
        padding: list[int],
    ) -> Tensor:
        y, mean_C, inverse_C = _normalise(x, weight, bias, mean, var, momentum, eps)
        # Pictures of one channel: clips and channels are the batch, frames the channels.
        pooled, places = functional.max_pool2d_with_indices(
            _act_(y, silu).flatten(0, 1), kernel, stride, padding, return_indices=True
        )
        pixels = x.shape[-1] * x.shape[-2]
        places = places.to(torch.int16 if pixels <= 2**15 else torch.int32)
        ctx.silu, ctx.geometry = silu, (kernel, stride, padding)
        ctx.save_for_backward(x, weight, bias, mean_C, inverse_C, places)
        return pooled.unflatten(0, x.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean_C, inverse_C, places = ctx.saved_tensors
        kernel, stride, padding = ctx.geometry
        before = _again(x, weight, bias, mean_C, inverse_C)
        by_after = torch.ops.aten.max_pool2d_with_indices_backward(
            grad.flatten(0, 1), before.flatten(0, 1), kernel, stride, padding, [1, 1], False, places.long()
        ).view_as(x)
        by_before = _act_backward(by_after, before, ctx.silu)
        del before, by_after
        by_norm = _norm_backward(by_before, x, weight, mean_C, inverse_C)
        return (*by_norm, None, None, None, None, None, None, None, None)
