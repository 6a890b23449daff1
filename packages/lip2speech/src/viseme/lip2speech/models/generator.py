"""VCA-GAN's generator: from lip features to mel spectrograms at three scales, and on to a linear spectrogram.

At each of the two joints the visual context attention looks at the whole clip's global feature. Kim, Hong, Ro
(NeurIPS 2021), sections 3.2 and 3.3. State-dict keys are the published ones.

B clips, T frames, D visual features, C channels of a map, F its rows (mel bands), S its columns (T, 2T, 4T).
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.layers.layout import picture_layout
from viseme.core.layers.winograd import winograd_conv2d, winograd_pays

__all__ = ["GeneratedMels", "Generator", "Postnet", "UpBlock", "VisualContextAttention", "steady_rows"]

ROWS = 20
"""Rows of the coarsest map; the finest has four times as many: the mel bands."""

SQRT_HALF = 1 / math.sqrt(2)


class GeneratedMels(NamedTuple):
    """Mels of one pass in [-1, 1]: coarse (B, 1, 20, T), middle (B, 1, 40, 2T), fine (B, 1, 80, 4T)."""

    coarse: Tensor
    middle: Tensor
    fine: Tensor


def by_winograd(layer: nn.Module, x: Tensor) -> bool:
    """Whether a convolution is computed Winograd's way: on CPUs, in float32, where it is wide."""
    eager = not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    return eager and x.device.type == "cpu" and x.dtype == torch.float32 and winograd_pays(layer)


def convolve(layer: nn.Conv2d, x_BCFS: Tensor) -> Tensor:
    """What the layer gives, by the faster of two ways."""
    if by_winograd(layer, x_BCFS):
        return winograd_conv2d(x_BCFS, layer.weight, layer.bias)
    return layer(x_BCFS)


class UpBlock(nn.Module):
    """Residual block of two 5x5 convolutions behind batch norms; `up` doubles both axes first (nearest).

    Args:
        steady: how many of the first channels are the same in all rows. Their convolution, too, is the same in all
            rows but the first and the last two, which see padding: it is computed for five rows only.
    """

    def __init__(self, inputs: int, outputs: int, *, up: bool = False, steady: int = 0) -> None:
        super().__init__()
        self.up, self.steady = up, steady
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 5, padding=2)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 5, padding=2)
        self.conv1x1 = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x_BCFS: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm1(x_BCFS), 0.2)
        # A 1x1 convolution commutes with repeating pixels: done before, it costs a quarter.
        shortcut = x_BCFS if self.conv1x1 is None else self.conv1x1(x_BCFS)
        if self.up:
            y, shortcut = (F.interpolate(z, scale_factor=2, mode="nearest") for z in (y, shortcut))
        y = self._mixed(y) if self.steady and y.shape[2] > 5 else convolve(self.conv1, y)
        y = convolve(self.conv2, F.leaky_relu(self.norm2(y), 0.2))
        return (y + shortcut) * SQRT_HALF

    def _mixed(self, y_BCFS: Tensor) -> Tensor:
        """`conv1`, whose first channels are steady: five rows of them give every row that there is."""
        weight, rows = self.conv1.weight, y_BCFS.shape[2]
        convolution = winograd_conv2d if by_winograd(self.conv1, y_BCFS) else partial(F.conv2d, padding=2)
        steady = convolution(y_BCFS[:, : self.steady, :5], weight[:, : self.steady])
        moving = convolution(y_BCFS[:, self.steady :], weight[:, self.steady :], self.conv1.bias)
        return moving + steady_rows(steady, rows)


def steady_rows(five_BCFS: Tensor, rows: int) -> Tensor:
    """All rows of a convolution of what is the same in all rows, from five: the inner ones are alike."""
    return five_BCFS[:, :, [0, 1, *[2] * (rows - 4), 3, 4]]


class VisualContextAttention(nn.Module):
    """Each column of a map asks the whole clip's visual context what else there is to know (equations 2 and 3).

    Args:
        visual: D.
        channels, rows: of the map; it gives half as many channels.
        width: of queries, keys and values.
    """

    def __init__(self, visual: int, channels: int, rows: int, width: int = 256) -> None:
        super().__init__()
        self.k = nn.Linear(visual, width)
        self.v = nn.Linear(visual, width)
        self.q = nn.Linear(channels * rows, width)
        self.mel = nn.Linear(width, channels // 2 * rows)

    def forward(self, global_BDT: Tensor, map_BCFS: Tensor, lengths_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Context (B, C / 2, F, S), and the attention (B, S, T) behind it.

        Args:
            lengths_B: frames of each clip; the others are not looked at.
        """
        batch, _, rows, columns = map_BCFS.shape
        query_BSE = self.q(map_BCFS.flatten(1, 2).transpose(1, 2))  # channel-major: index c * F + f
        visual_BTD = global_BDT.transpose(1, 2)
        scores_BST = query_BSE @ self.k(visual_BTD).transpose(1, 2) / math.sqrt(query_BSE.shape[-1])
        if lengths_B is not None:
            outside_BT = torch.arange(visual_BTD.shape[1], device=map_BCFS.device) >= lengths_B[:, None]
            scores_BST = scores_BST.masked_fill(outside_BT[:, None], -torch.inf)
        attention_BST = scores_BST.softmax(-1)
        context = self.mel(attention_BST @ self.v(visual_BTD)).view(batch, columns, rows, -1)
        return context.permute(0, 3, 2, 1), attention_BST


def _stage(inputs: int, outputs: int, *, up: bool = False) -> nn.Sequential:
    return nn.Sequential(UpBlock(inputs, outputs, up=up), UpBlock(outputs, outputs), UpBlock(outputs, outputs))


def _to_mel(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(0.2), nn.Conv2d(channels, 1, 1), nn.Tanh())


class Generator(nn.Module):
    """Local features and noise to mels, coarse to fine.

    Args:
        visual: D of local and global features.
        widths: channels of the two bottleneck stages and of the three scales.
        noise: channels of the noise map.
        attention: width of the visual context attention.
    """

    def __init__(
        self,
        visual: int = 512,
        widths: tuple[int, ...] = (512, 256, 128, 64, 32),
        noise: int = 128,
        attention: int = 256,
    ) -> None:
        super().__init__()
        first, second, one, two, three = widths
        self.noise = noise
        self.decode = nn.Sequential(
            UpBlock(visual + noise, first, steady=visual), UpBlock(first, second), UpBlock(second, second)
        )
        self.g1 = _stage(second, one)
        self.g2 = _stage(one, two, up=True)
        self.g3 = _stage(two, three, up=True)
        self.att1 = VisualContextAttention(visual, one, ROWS, attention)
        self.att2 = VisualContextAttention(visual, two, 2 * ROWS, attention)
        self.attconv1 = nn.Conv2d(one + one // 2, one, 5, padding=2)
        self.attconv2 = nn.Conv2d(two + two // 2, two, 5, padding=2)
        self.to_mel1, self.to_mel2, self.to_mel3 = _to_mel(one), _to_mel(two), _to_mel(three)

    def draw_noise(self, batch: int, frames: int, generator: torch.Generator | None = None) -> Tensor:
        """(B, channels, 20, T) standard normal, on the CPU, so that a seed means the same everywhere."""
        return torch.randn(batch, self.noise, ROWS, frames, generator=generator)

    def forward(
        self, local_BTD: Tensor, global_BDT: Tensor, lengths_B: Tensor | None = None, noise: Tensor | None = None
    ) -> GeneratedMels:
        """Mels of three scales.

        Args:
            lengths_B: frames of each clip, for the attention.
            noise: (B, channels, 20, T); drawn where None.
        """
        batch, frames = local_BTD.shape[:2]
        noise = self.draw_noise(batch, frames) if noise is None else noise
        local_BDFT = local_BTD.transpose(1, 2).unsqueeze(2).expand(-1, -1, ROWS, -1)
        x = torch.cat([local_BDFT, noise.to(local_BTD)], dim=1)
        x = x.contiguous(memory_format=picture_layout(x))
        one = self.g1(self.decode(x))
        seen = torch.cat([one, self.att1(global_BDT, one, lengths_B)[0]], dim=1)
        two = self.g2(convolve(self.attconv1, seen))
        seen = torch.cat([two, self.att2(global_BDT, two, lengths_B)[0]], dim=1)
        three = self.g3(convolve(self.attconv2, seen))
        return GeneratedMels(self.to_mel1(one), self.to_mel2(two), self.to_mel3(three))


class ResidualBlock1d(nn.Module):
    """Residual block of two 5-wide convolutions, no norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, inputs, 5, padding=2)
        self.conv2 = nn.Conv1d(inputs, outputs, 5, padding=2)
        self.conv1x1 = nn.Conv1d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x_BCS: Tensor) -> Tensor:
        y = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x_BCS, 0.2)), 0.2))
        shortcut = x_BCS if self.conv1x1 is None else self.conv1x1(x_BCS)
        return (y + shortcut) * SQRT_HALF


class Postnet(nn.Module):
    """Fine mel to linear spectrogram: (B, 1, 80, S) -> (B, 1, bins, S), nothing bounds the output.

    Args:
        bands: mel bands.
        bins: of the linear spectrogram.
        widths: channels before and in the residual blocks.
    """

    def __init__(self, bands: int = 80, bins: int = 321, widths: tuple[int, int] = (128, 256)) -> None:
        super().__init__()
        before, within = widths
        self.postnet = nn.Sequential(
            nn.Conv1d(bands, before, 7, padding=3),
            nn.BatchNorm1d(before),
            nn.LeakyReLU(0.2),
            ResidualBlock1d(before, within),
            ResidualBlock1d(within, within),
            ResidualBlock1d(within, within),
            nn.Conv1d(within, bins, 1, bias=False),
        )

    def forward(self, mel_B1FS: Tensor) -> Tensor:
        return self.postnet(mel_B1FS.squeeze(1)).unsqueeze(1)
