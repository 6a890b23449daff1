"""A plain eager port of the published recogniser: what front-end, encoder and training step are measured against.

Same weights, every step as the paper draws it, with PyTorch's ordinary operations.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viseme.avsr.model import AVSRModel
from viseme.core.layers import linear
from viseme.core.layers.conformer import ConformerBlock
from viseme.core.layers.relative_attention import RelativeAttention
from viseme.core.layers.resnet import BasicBlock

__all__ = ["encode", "plain_products", "residual", "training_loss"]


def plain_products() -> None:
    """From here on, in this process, linear layers are PyTorch's own."""
    linear._AVAILABLE = False


def encode(model: AVSRModel, video: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, T, 1, H, W) -> (B, T, D)."""
    frontend, encoder = model.frontend, model.encoder
    x = nn.Sequential.forward(frontend.frontend3D, video.transpose(1, 2))
    batch, _, frames = x.shape[:3]
    x = x.transpose(1, 2).flatten(0, 1).contiguous()
    for number in range(1, 5):
        for block in getattr(frontend.trunk, f"layer{number}"):
            x = residual(block, x)
    x = model.proj_encoder(x.mean(dim=(2, 3)).view(batch, frames, -1))
    x, table = encoder.positions(x)
    for block in encoder.encoders:
        x = _conformer(block, x, table, mask)
    return encoder.after_norm(x)


def residual(block: BasicBlock, x: Tensor) -> Tensor:
    """A residual block, one module after another."""
    shortcut = x if block.downsample is None else block.downsample(x)
    y = block.relu1(block.bn1(block.conv1(x)))
    return block.relu2(block.bn2(block.conv2(y)) + shortcut)


def _conformer(block: ConformerBlock, x: Tensor, table: Tensor, mask: Tensor | None) -> Tensor:
    x = x + 0.5 * block.dropout(block.feed_forward_macaron(block.norm_ff_macaron(x)))
    x = x + block.dropout(_attention(block.self_attn, block.norm_mha(x), table, mask))
    module, y = block.conv_module, block.norm_conv(x).transpose(1, 2)
    y = F.glu(module.pointwise_cov1(y), dim=1)
    y = module.pointwise_cov2(F.silu(module.norm(module.depthwise_conv(y)))).transpose(1, 2)
    x = x + block.dropout(y)
    x = x + 0.5 * block.dropout(block.feed_forward(block.norm_ff(x)))
    return block.norm_final(x)


def _attention(attention: RelativeAttention, x: Tensor, table: Tensor, mask: Tensor | None) -> Tensor:
    def split(y: Tensor) -> Tensor:
        return y.unflatten(-1, (attention.heads, attention.head_dim)).transpose(1, 2)

    q, k, v = split(attention.linear_q(x)), split(attention.linear_k(x)), split(attention.linear_v(x))
    content = (q + attention.pos_bias_u[:, None]) @ k.transpose(-2, -1)
    position = attention.shift(
        (q + attention.pos_bias_v[:, None]) @ split(attention.linear_pos(table)).transpose(-2, -1)
    )
    scores = (content + position) / math.sqrt(attention.head_dim)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(~mask[:, None], 0.0)
    weights = F.dropout(weights, attention.dropout, attention.training)
    return attention.linear_out((weights @ v).transpose(1, 2).flatten(2))


def training_loss(model: AVSRModel, video: Tensor, targets_BL: Tensor) -> Tensor:
    """The hybrid loss of whole clips, as published: CTC through log-posteriors, KL divergence to smoothed targets."""
    batch, frames = video.shape[:2]
    memory = encode(model, video, torch.ones(batch, 1, frames, dtype=torch.bool))
    logp_TBV = model.ctc.ctc_lo(model.ctc.dropout(memory)).log_softmax(-1).transpose(0, 1)
    lengths = torch.full((batch,), frames), torch.full((batch,), targets_BL.shape[1])
    ctc = F.ctc_loss(logp_TBV, targets_BL, *lengths, reduction="sum", zero_infinity=True) / batch
    eos = torch.full((batch, 1), model.config.eos)
    logits = model.decoder(torch.cat((eos, targets_BL), dim=1), memory).flatten(0, 1)
    wanted = torch.cat((targets_BL, eos), dim=1).flatten()
    smooth = torch.full_like(logits, 0.1 / (logits.shape[1] - 1)).scatter_(1, wanted[:, None], 0.9)
    att = F.kl_div(logits.log_softmax(-1), smooth, reduction="none").sum() / batch
    return 0.1 * ctc + 0.9 * att
