"""Linear layers whose float32 products on CPUs go to oneDNN instead of BLAS.

PyTorch gives float32 products to its BLAS (MKL in the published builds), which does not use the widest instructions of
processors that are not Intel's; oneDNN, which PyTorch uses for convolutions and bfloat16, does: about twice as fast on
an AMD EPYC with AVX-512, in the forward pass and in both products of the backward pass. Same values up to rounding.

D channels in, E out, any leading shape, as `torch.nn.Linear` takes it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["Linear", "adopt", "fast_product", "linear"]

SMALLEST = 2_000_000
"""Products of fewer multiplications than this are not worth the way round."""


def _available() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        _product(torch.zeros(2, 4), torch.zeros(3, 4), None)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return True


def _product(x_RD: Tensor, weight_ED: Tensor, bias_E: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x_RD, weight_ED, bias_E, "none", [], "")
    return found


_AVAILABLE = _available()


def fast_product(a_RK: Tensor, b_KC: Tensor) -> Tensor | None:
    """a @ b of float32 matrices on a CPU, outside autograd; None where this is not the way for them."""
    if (
        not _AVAILABLE
        or torch.compiler.is_compiling()
        or a_RK.device.type != "cpu"
        or a_RK.dtype != torch.float32
        or b_KC.dtype != torch.float32
        or a_RK.numel() * b_KC.shape[1] < SMALLEST
    ):
        return None
    return _product(a_RK, b_KC.T, None)


def linear(x: Tensor, weight_ED: Tensor, bias_E: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, by the fastest way there is for these tensors."""
    if (
        not _AVAILABLE
        or torch.compiler.is_compiling()  # a graph keeps the plain operation: it may go to another runtime
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or weight_ED.dtype != torch.float32
        or x.numel() * weight_ED.shape[0] < SMALLEST
        or torch.is_autocast_enabled("cpu")
    ):
        return F.linear(x, weight_ED, bias_E)
    rows, weight_ED = x.reshape(-1, x.shape[-1]).contiguous(), weight_ED.contiguous()
    if torch.is_grad_enabled() and (x.requires_grad or weight_ED.requires_grad):
        out: Tensor = _Linear.apply(rows, weight_ED, bias_E)
    else:
        out = _product(rows, weight_ED, bias_E)
    return out.view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """The forward product in oneDNN; those of the backward pass too where there is one thread.

    With one thread a conformer's training pass takes 0.58 of the time. With two, the only quiet measurement there is
    had a full training step slower with oneDNN's backward products than without: so they are left to BLAS there.
    """

    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, weight_ED: Tensor, bias_E: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_RD, weight_ED)
        return _product(x_RD, weight_ED, bias_E)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RE: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x_RD, weight_ED = ctx.saved_tensors
        grad_RE = grad_RE.contiguous()
        for_x, for_weight, for_bias = ctx.needs_input_grad
        product = _product if torch.get_num_threads() == 1 else F.linear
        return (
            product(grad_RE, weight_ED.t(), None) if for_x else None,
            product(grad_RE.t(), x_RD.t(), None) if for_weight else None,
            grad_RE.sum(0) if for_bias else None,
        )


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`; same parameters, same keys."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def adopt(module: nn.Module) -> None:
    """Send every plain `torch.nn.Linear` inside another library's network this way; parameters and keys stay."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__ = Linear
