"""A model made ready to speak on a CPU: the same answers up to rounding, in half of the time.

Batch norms go into the convolutions before them, wide convolutions are Winograd's (`viseme.core.layers.winograd`),
weights lie as the processor wants them, and products go to oneDNN. Weights that stay as they are, are shared.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from viseme.core.layers import BasicBlock
from viseme.core.layers.linear import adopt
from viseme.core.layers.winograd import WinogradConv2d, winograd_pays
from viseme.lip2speech.models.generator import UpBlock, steady_rows
from viseme.lip2speech.models.systems import VCAGAN, MultitaskModel

__all__ = ["for_inference"]

Model = TypeVar("Model", VCAGAN, MultitaskModel)


def for_inference(model: Model, *, bf16: bool = False) -> Model:
    """A copy that speaks the same, quicker, on a CPU, and that cannot be trained or saved.

    Args:
        model: in evaluation mode; its critics are left out.
        bf16: for use under autocast: weights are cast now instead of in every pass, and no convolution is Winograd's.
    """
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    if isinstance(model, VCAGAN):
        memo |= {id(critic): nn.Identity() for critic in (model.discriminators, model.sync_discriminator)}
    ready = copy.deepcopy(model, memo)
    ready.visual_front.frontend = QuickStem(ready.visual_front.frontend)
    for part in ready.modules():
        if isinstance(part, BasicBlock):
            part.conv1, part.bn1 = fuse_conv_bn_eval(part.conv1, part.bn1), nn.Identity()
            part.conv2, part.bn2 = fuse_conv_bn_eval(part.conv2, part.bn2), nn.Identity()
            if part.downsample is not None:
                part.downsample = fuse_conv_bn_eval(*part.downsample)
        elif isinstance(part, UpBlock):
            part.conv1, part.norm2 = fuse_conv_bn_eval(part.conv1, part.norm2), nn.Identity()
            if part.steady:
                part.conv1, part.steady = SteadyConv(part.conv1, part.steady), 0
    for part in list(ready.modules()):
        for name, layer in list(part.named_children()):
            if winograd_pays(layer) and not bf16:
                setattr(part, name, WinogradConv2d(layer))
            elif isinstance(layer, nn.Conv2d):  # a new tensor: this one may be the model's own
                laid = layer.weight.detach().contiguous(memory_format=torch.channels_last)
                layer.weight = nn.Parameter(laid, requires_grad=False)
            if bf16 and isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                layer.weight = nn.Parameter(layer.weight.detach().bfloat16(), requires_grad=False)
    if not bf16:
        adopt(ready)
    return ready


class QuickStem(nn.Module):
    """`VisualStem` picture by picture, its norm in the convolution, and pooled before the activation where that never
    falls: the largest stays the largest.

    Args:
        stem: convolution, norm, activation and pooling.
    """

    def __init__(self, stem: nn.Sequential) -> None:
        super().__init__()
        fused = fuse_conv_bn_eval(stem[0], stem[1])
        _, _, _, height, width = fused.weight.shape
        self.frames = fused.kernel_size[0]
        self.conv = nn.Conv2d(self.frames, fused.out_channels, (height, width), fused.stride[1:], fused.padding[1:])
        self.conv.weight, self.conv.bias = nn.Parameter(fused.weight.detach()[:, 0], requires_grad=False), fused.bias
        self.act, self.pool = stem[2], nn.MaxPool2d(*(size[1:] for size in (stem[3].kernel_size, stem[3].stride)), 1)
        self.rising = isinstance(self.act, nn.ReLU) or bool((self.act.weight >= 0).all())

    def forward(self, x_B1THW: Tensor) -> Tensor:
        """(B, 1, T, H, W) -> (B, C, T, H / 4, W / 4)."""
        batch, frames, reach = x_B1THW.shape[0], x_B1THW.shape[2], self.frames // 2
        padded_BTHW = F.pad(x_B1THW[:, 0], (0, 0, 0, 0, reach, reach))
        around_BTHWK = padded_BTHW.unfold(1, self.frames, 1)
        x_NKHW = around_BTHWK.flatten(0, 1).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        y_NCHW = self.conv(x_NKHW)
        y_NCHW = self.act(self.pool(y_NCHW)) if self.rising else self.pool(self.act(y_NCHW))
        return y_NCHW.unflatten(0, (batch, frames)).transpose(1, 2)


class SteadyConv(nn.Module):
    """A convolution whose first input channels are the same in all rows, as two; see `UpBlock`."""

    def __init__(self, layer: nn.Conv2d, steady: int) -> None:
        super().__init__()
        self.steady = _part(layer, slice(steady), bias=False)
        self.moving = _part(layer, slice(steady, None), bias=True)
        self.split = steady

    def forward(self, x_BCFS: Tensor) -> Tensor:
        if x_BCFS.shape[2] <= 5:
            return self.moving(x_BCFS[:, self.split :]) + self.steady(x_BCFS[:, : self.split])
        steady = self.steady(x_BCFS[:, : self.split, :5])
        return self.moving(x_BCFS[:, self.split :]) + steady_rows(steady, x_BCFS.shape[2])


def _part(layer: nn.Conv2d, inputs: slice, *, bias: bool) -> nn.Conv2d:
    weight = layer.weight.detach()[:, inputs].contiguous()
    made = nn.Conv2d(weight.shape[1], weight.shape[0], layer.kernel_size, padding=layer.padding, bias=bias)
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias:
        made.bias = layer.bias
    return made
