"""ResNet-18 trunks without their stem (He et al. 2016), over pictures (2-D) or signals (1-D).

N pictures or signals, C channels, then H, W or L.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from viseme.core.layers.lean import norm_act, norm_act_conv
from viseme.core.layers.recompute import recomputed

__all__ = ["Activation", "BasicBlock", "ResNetTrunk", "activation"]

Activation = Literal["swish", "relu", "prelu"]

WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages in every published model."""


def activation(name: Activation, channels: int) -> nn.Module:
    """A fresh activation: `swish`, `relu`, or `prelu` with one slope a channel."""
    match name:
        case "swish":
            return nn.SiLU()
        case "relu":
            return nn.ReLU()
        case "prelu":
            return nn.PReLU(channels)
    raise ValueError(f"activation must be swish, relu or prelu, got {name!r}")


def _convolution(dimensions: int, in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
    cls = nn.Conv1d if dimensions == 1 else nn.Conv2d
    return cls(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def _norm(dimensions: int, channels: int) -> nn.Module:
    return nn.BatchNorm1d(channels) if dimensions == 1 else nn.BatchNorm2d(channels)


class BasicBlock(nn.Module):
    """Two 3-wide convolutions with batch norm, the shortcut added before the last activation.

    Args:
        dimensions: 1 for signals, 2 for pictures.
        in_channels, channels: width before and after.
        stride: of the first convolution and of the shortcut.
        activation_name: `swish`, `relu` or `prelu`.
    """

    def __init__(
        self, dimensions: int, in_channels: int, channels: int, stride: int = 1, activation_name: Activation = "swish"
    ) -> None:
        super().__init__()
        self.conv1 = _convolution(dimensions, in_channels, channels, 3, stride)
        self.bn1 = _norm(dimensions, channels)
        self.relu1 = activation(activation_name, channels)
        self.conv2 = _convolution(dimensions, channels, channels, 3, 1)
        self.bn2 = _norm(dimensions, channels)
        self.relu2 = activation(activation_name, channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                _convolution(dimensions, in_channels, channels, 1, stride), _norm(dimensions, channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = norm_act_conv(self.bn1, self.relu1, self.conv2, self.conv1(x))
        return norm_act(self.bn2, self.relu2, y, shortcut)


class ResNetTrunk(nn.Module):
    """Four stages of two basic blocks, `layer1` to `layer4`; strides 1, 2, 2, 2.

    Args:
        dimensions: 1 for signals, 2 for pictures.
        widths: channels of the stages; `widths[0]` is also the number of channels that come in.
        activation_name: `swish`, `relu` or `prelu`.
    """

    def __init__(
        self, dimensions: int, widths: tuple[int, ...] = WIDTHS, activation_name: Activation = "swish"
    ) -> None:
        super().__init__()
        if len(widths) != len(WIDTHS):
            raise ValueError(f"a ResNet-18 has {len(WIDTHS)} stages, got widths {widths}")
        self.widths = tuple(widths)
        self.recompute = False
        """Activation checkpointing of each block, in training."""
        before = widths[0]
        for number, width in enumerate(widths, start=1):
            first = BasicBlock(dimensions, before, width, 1 if number == 1 else 2, activation_name)
            second = BasicBlock(dimensions, width, width, 1, activation_name)
            self.add_module(f"layer{number}", nn.Sequential(first, second))
            before = width

    def stages(self, x: Tensor) -> Tensor:
        """(N, widths[0], ...) -> (N, widths[-1], ...), an eighth as long in each dimension."""
        for number in range(1, len(self.widths) + 1):
            stage: nn.Sequential = getattr(self, f"layer{number}")
            if self.recompute and self.training:
                for block in stage:
                    x = recomputed(block, x)
            else:
                x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)
