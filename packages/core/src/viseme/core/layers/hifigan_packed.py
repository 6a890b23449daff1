"""HiFi-GAN's generator as a CPU computes it fastest: weights once in the order that oneDNN wants, each convolution with
what follows it (leaky ReLU, residual sum) in one go, over pictures of height 1, channels last. Same values up to
rounding; for inference alone.

B clips, T frames, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PackedGenerator"]

_OPS: Any = torch.ops.mkldnn
_FRAMES = 150  # a sentence: for this length the order of the weights is chosen; others work


class _Packed:
    """One convolution over time, or a transposed one."""

    def __init__(self, conv: Any, frames: int) -> None:
        weight = conv.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
        stride, padding, dilation = [1, conv.stride[0]], [0, conv.padding[0]], [1, conv.dilation[0]]
        self.transposed = isinstance(conv, nn.ConvTranspose1d)
        self.geometry: tuple[Any, ...]
        if self.transposed:
            reorder, self.geometry = _OPS._reorder_convolution_transpose_weight, (padding, [0, 0], stride, dilation, 1)
        else:
            reorder, self.geometry = _OPS._reorder_convolution_weight, (padding, stride, dilation, 1)
        self.weight = reorder(weight, *self.geometry, [1, conv.in_channels, 1, frames])
        self.bias = conv.bias.detach()

    def __call__(self, x_BC1T: Tensor, slope: float | None = None) -> Tensor:
        """Convolved; with a slope, a leaky ReLU after it."""
        run = _OPS._convolution_transpose_pointwise if self.transposed else _OPS._convolution_pointwise
        name, options = ("none", []) if slope is None else ("leaky_relu", [slope])
        found: Tensor = run(x_BC1T, self.weight, self.bias, *self.geometry, name, options, "")
        return found

    def plus(self, x_BC1T: Tensor, other_BC1T: Tensor) -> Tensor:
        """Convolved, and `other` added."""
        run = _OPS._convolution_pointwise.binary
        found: Tensor = run(x_BC1T, other_BC1T, self.weight, self.bias, *self.geometry, "add", 1.0, None, [], None)
        return found


class PackedGenerator:
    """The weights of a `HiFiGANGenerator`, copied; float32 on a CPU.

    Args:
        generator: with plain weights.
        slope, last_slope: of its leaky ReLUs, and of the last one.
    """

    def __init__(self, generator: Any, slope: float, last_slope: float) -> None:
        self.slope, self.last_slope = slope, last_slope
        frames, kernels = _FRAMES, len(generator.geometry.resblock_kernel_sizes)
        self.first = _Packed(generator.conv_pre, frames)
        self.stages = []
        for number, up in enumerate(generator.ups):
            frames *= up.stride[0]
            blocks = [
                [(_Packed(a, frames), _Packed(b, frames)) for a, b in zip(block.convs1, block.convs2)]
                for block in generator.resblocks[number * kernels : (number + 1) * kernels]
            ]
            self.stages.append((_Packed(up, frames), blocks))
        self.last = _Packed(generator.conv_post, frames)

    @staticmethod
    def able() -> bool:
        """Whether this build of PyTorch has what it takes."""
        if not torch.backends.mkldnn.is_available():
            return False
        try:
            conv, up = _Packed(nn.Conv1d(2, 2, 3, padding=1), 4), _Packed(nn.ConvTranspose1d(2, 2, 3), 4)
            x = torch.zeros(1, 2, 1, 4)
            up(conv.plus(conv(x, 0.1), x))
        except (AttributeError, RuntimeError, NotImplementedError):
            return False
        return True

    def logits(self, x_BCT: Tensor) -> Tensor:
        """Samples before the last tanh: (B, 1, T * hop)."""
        x = self.first(x_BCT[:, :, None].contiguous(memory_format=torch.channels_last), self.slope)
        for number, (up, blocks) in enumerate(self.stages):
            x = up(x)
            activated, total = F.leaky_relu(x, self.slope), None
            for block in blocks:
                y = x
                for place, (conv1, conv2) in enumerate(block):
                    inner = conv1(F.leaky_relu(y, self.slope) if place else activated, self.slope)
                    y = conv2.plus(inner, y)
                total = y if total is None else total.add_(y)
            assert total is not None
            last = number == len(self.stages) - 1
            x = F.leaky_relu_(total.div_(len(blocks)), self.last_slope if last else self.slope)
        return self.last(x)[:, :, 0]
