"""RAVEn's arithmetic as it is usually written down: what a plain port of the published code computes.

Against ours: pictures channel by channel in memory, x * sigmoid(x) in two steps, attention with its matrices written
out, batch norm on (B, D, T) by transposing there and back.
"""

from __future__ import annotations

import math
from types import MethodType

import torch
from tools.bench.published_recogniser import residual
from torch import Tensor, nn

from viseme.core.layers.frontends import AudioFrontend, VisualFrontend
from viseme.core.layers.relative_attention import RelativeAttention
from viseme.core.layers.resnet import BasicBlock
from viseme.raven.models.block import EncoderBlock

__all__ = ["plain"]


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sigmoid()


def plain(model: nn.Module) -> None:
    """Change a model's forward passes in place; weights and keys stay."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, Swish())
        if isinstance(module, VisualFrontend):
            module.forward = MethodType(_frontend, module)  # type: ignore[method-assign]
        elif isinstance(module, AudioFrontend):
            module.trunk.forward = MethodType(_audio_trunk, module.trunk)  # type: ignore[method-assign]
        elif isinstance(module, BasicBlock):
            module.forward = MethodType(residual, module)  # type: ignore[method-assign]
        elif isinstance(module, RelativeAttention):
            module.forward = MethodType(_attention, module)  # type: ignore[method-assign]
        elif isinstance(module, EncoderBlock):
            module.forward = MethodType(_block, module)  # type: ignore[method-assign]


def _frontend(self: VisualFrontend, x_BT1HW: Tensor) -> Tensor:
    batch, frames = x_BT1HW.shape[:2]
    x_BCTHW = nn.Sequential.forward(self.frontend3D, x_BT1HW.transpose(1, 2))
    x_NCHW = self.trunk(x_BCTHW.transpose(1, 2).contiguous().flatten(0, 1))
    pooled = nn.functional.adaptive_avg_pool2d(x_NCHW, 1)
    return pooled.view(batch, frames, self.features)


def _audio_trunk(self: nn.Module, x_B1S: Tensor) -> Tensor:
    return self.stages(self.relu(self.bn1(self.conv1(x_B1S))))


def _attention(self: RelativeAttention, x_BTD: Tensor, table_1RD: Tensor, mask: Tensor | None = None) -> Tensor:
    q, k, v = (self._split(linear(x_BTD)) for linear in (self.linear_q, self.linear_k, self.linear_v))
    p = self._split(self.linear_pos(table_1RD))
    content = torch.matmul(q + self.pos_bias_u[:, None], k.transpose(-2, -1))
    position = self.shift(torch.matmul(q + self.pos_bias_v[:, None], p.transpose(-2, -1)))
    scores = (content + position) / math.sqrt(self.head_dim)
    if mask is None:
        weights = scores.softmax(-1)
    else:
        hidden = ~mask[:, None]
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1).masked_fill(hidden, 0.0)
    mixed = torch.matmul(nn.functional.dropout(weights, self.dropout, self.training), v)
    return self.linear_out(mixed.transpose(1, 2).contiguous().flatten(2))


def _block(self: EncoderBlock, x_BTD: Tensor, table_1RD: Tensor, mask: Tensor | None = None) -> Tensor:
    x_BTD = x_BTD + self._branch(self.self_attn(self.norm_mha(x_BTD), table_1RD, mask), self.gamma_mha)
    normed = self.norm_ff(x_BTD.transpose(1, 2)).transpose(1, 2)
    return x_BTD + self._branch(self.feed_forward(normed), self.gamma_ff)
