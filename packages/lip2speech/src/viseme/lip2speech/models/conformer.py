"""The multi-task system's conformer: sinusoid positions of its own form, and scores divided by the model's width.

Gulati et al., "Conformer" (2020), with the relative attention of Transformer-XL (Dai et al. 2019) as published with
Kim, Hong, Ro, "Lip-to-Speech Synthesis in the Wild with Multi-task Learning" (ICASSP 2023). State-dict keys are the
published ones.

B clips, T frames, D features, H heads, E = D / H.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.layers.linear import Linear

__all__ = ["Conformer", "sinusoid"]


def sinusoid(positions_T: Tensor, width: int) -> Tensor:
    """(T, D): sine at even, cosine at odd channels, of positions times exp(-2i ln(10000) / D)."""
    rates = torch.exp(torch.arange(0, width, 2, device=positions_T.device) * (-math.log(10000.0) / width))
    angles = positions_T[:, None].float() * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Wrapped(nn.Module):
    """Holds a module under the published name `module`, or a layer under `linear` or `conv`."""

    def __init__(self, **held: nn.Module) -> None:
        super().__init__()
        for name, module in held.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        (module,) = self.children()
        return module(x)


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> Wrapped:
    layer = Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return Wrapped(linear=layer)


class Sequence(nn.Module):
    """A sequence under the published name `sequential`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.sequential = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.sequential(x)


def _feed_forward(dim: int, expansion: int, dropout: float) -> Wrapped:
    return Wrapped(
        module=Sequence(
            nn.LayerNorm(dim),
            _linear(dim, expansion * dim),
            nn.SiLU(),
            nn.Dropout(dropout),
            _linear(expansion * dim, dim),
            nn.Dropout(dropout),
        )
    )


class ConvolutionModule(nn.Module):
    """Layer norm, gated 1x1 convolution, depthwise convolution, batch norm, 1x1 convolution."""

    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.sequential = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Identity(),
            Wrapped(conv=nn.Conv1d(dim, 2 * dim, 1)),
            nn.Identity(),
            Wrapped(conv=nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)),
            nn.BatchNorm1d(dim),
            nn.SiLU(),
            Wrapped(conv=nn.Conv1d(dim, dim, 1)),
            nn.Dropout(dropout),
        )

    def forward(self, x_BTD: Tensor, outside_BT: Tensor | None = None) -> Tensor:
        """`outside_BT`: frames to silence before the depthwise convolution; it sees padding where None (published)."""
        norm, _, widen, _, depthwise, batch_norm, swish, narrow, dropout = self.sequential
        y_BDT = F.glu(widen(norm(x_BTD).transpose(1, 2)), dim=1)
        if outside_BT is not None:
            y_BDT = y_BDT.masked_fill(outside_BT[:, None], 0.0)
        return dropout(narrow(swish(batch_norm(depthwise(y_BDT))))).transpose(1, 2)


class Attention(nn.Module):
    """Attention over content and position.

    Args:
        dim: D.
        heads: H.
        dropout: on the attention weights.
        published_padding: positions as published: the causal shift of Transformer-XL without its causal mask, in
            which a look back of 0 frames reads the table's row T - 1, so that answers depend on the padded T. Else
            positions are the distances, whatever T is.
    """

    def __init__(self, dim: int, heads: int, dropout: float, *, published_padding: bool) -> None:
        super().__init__()
        self.dim, self.heads, self.dropout, self.published_padding = dim, heads, dropout, published_padding
        self.query_proj, self.key_proj, self.value_proj, self.out_proj = (_linear(dim, dim) for _ in range(4))
        self.pos_proj = _linear(dim, dim, bias=False)
        self.u_bias = nn.Parameter(torch.empty(heads, dim // heads))
        self.v_bias = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_uniform_(self.u_bias)
        nn.init.xavier_uniform_(self.v_bias)

    def forward(self, x_BTD: Tensor, outside_BT: Tensor | None = None) -> Tensor:
        batch, frames, _ = x_BTD.shape

        def split(layer: nn.Module, of: Tensor) -> Tensor:
            return layer(of).view(len(of), -1, self.heads, self.dim // self.heads)

        query_BTHE = split(self.query_proj, x_BTD)
        key_BHTE, value_BHTE = (split(layer, x_BTD).transpose(1, 2) for layer in (self.key_proj, self.value_proj))
        position_HTE = split(self.pos_proj, self._table(frames, x_BTD)[None])[0].transpose(0, 1)
        scale = 1 / math.sqrt(self.dim)
        raw_BHTT = (query_BTHE + self.v_bias).transpose(1, 2) @ position_HTE.transpose(1, 2)
        bias_BHTT = self._shift(raw_BHTT, frames) * scale
        if outside_BT is not None:
            bias_BHTT = bias_BHTT.masked_fill(outside_BT[:, None, None], -torch.inf)
        context_BHTE = F.scaled_dot_product_attention(
            (query_BTHE + self.u_bias).transpose(1, 2),
            key_BHTE,
            value_BHTE,
            bias_BHTT,
            dropout_p=self.dropout if self.training else 0.0,
            scale=scale,
        )
        return self.out_proj(context_BHTE.transpose(1, 2).reshape(batch, frames, self.dim))

    def _table(self, frames: int, like: Tensor) -> Tensor:
        if self.published_padding:
            positions = torch.arange(frames, device=like.device)
        else:
            positions = torch.arange(frames - 1, -frames, -1, device=like.device)
        return sinusoid(positions, self.dim).to(like.dtype)

    def _shift(self, raw: Tensor, frames: int) -> Tensor:
        """Score of query i and key j from the table's columns; for distances, column n is the distance T - 1 - n."""
        batch, heads, _, columns = raw.shape
        padded = F.pad(raw, (1, 0)).view(batch, heads, columns + 1, frames)
        return padded[:, :, 1:].reshape(batch, heads, frames, columns)[..., :frames]


class AttentionModule(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float, *, published_padding: bool) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout, published_padding=published_padding)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, outside_BT: Tensor | None = None) -> Tensor:
        return self.dropout(self.attention(self.layer_norm(x_BTD), outside_BT))


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, layer norm."""

    def __init__(
        self, dim: int, heads: int, kernel: int, expansion: int, dropout: float, *, published_padding: bool
    ) -> None:
        super().__init__()
        self.published_padding = published_padding
        self.feed_forward1 = _feed_forward(dim, expansion, dropout)
        self.MHA = Wrapped(module=AttentionModule(dim, heads, dropout, published_padding=published_padding))
        self.Conv = Wrapped(module=ConvolutionModule(dim, kernel, dropout))
        self.feed_forward2 = _feed_forward(dim, expansion, dropout)
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, x_BTD: Tensor, outside_BT: Tensor | None = None) -> Tensor:
        x_BTD = x_BTD + 0.5 * self.feed_forward1(x_BTD)
        x_BTD = x_BTD + self.MHA.module(x_BTD, outside_BT)
        x_BTD = x_BTD + self.Conv.module(x_BTD, None if self.published_padding else outside_BT)
        x_BTD = x_BTD + 0.5 * self.feed_forward2(x_BTD)
        return self.layer_norm(x_BTD)


class Conformer(nn.Module):
    """Conformer blocks in a row; no projection before and no norm after.

    Args:
        dim, heads, layers, kernel, expansion: geometry.
        dropout: everywhere.
        published_padding: padding leaks into clips as it did in the published models: see `Attention`; the depthwise
            convolution is not masked either. Only a batch of one is then free of its neighbours.
    """

    def __init__(
        self,
        dim: int = 512,
        heads: int = 8,
        layers: int = 12,
        kernel: int = 31,
        expansion: int = 4,
        dropout: float = 0.1,
        *,
        published_padding: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ConformerBlock(dim, heads, kernel, expansion, dropout, published_padding=published_padding)
            for _ in range(layers)
        )

    def forward(self, x_BTD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D). `lengths_B`: frames of each clip; where None, all are whole."""
        outside_BT = None
        if lengths_B is not None:
            outside_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) >= lengths_B.to(x_BTD.device)[:, None]
        for layer in self.layers:
            x_BTD = layer(x_BTD, outside_BT)
        return x_BTD
