"""HiFi-GAN's discriminators (Kong et al. 2020): over periods, and over scales.

Each returns its scores and its feature maps, real and fake separately called, so that one forward pass a signal serves
both adversarial and feature-matching losses. Keys are the published ones (`discriminators.0.convs.0`, `conv_post`).

B clips, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

__all__ = ["Judgement", "MultiPeriodDiscriminator", "MultiScaleDiscriminator", "judge"]

_SLOPE = 0.1
PERIODS = (2, 3, 5, 7, 11)

Judgement = tuple[list[Tensor], list[list[Tensor]]]
"""Scores (B, n) and feature maps of each sub-discriminator."""


class PeriodDiscriminator(nn.Module):
    """Sees every `period`-th sample side by side: (B, 1, S) -> score (B, n), feature maps."""

    def __init__(self, period: int, width: int = 32) -> None:
        super().__init__()
        self.period = period
        sizes = [1, width, 4 * width, 16 * width, 32 * width]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), padding=(2, 0))) for a, b in pairwise(sizes)
        )
        self.convs.append(weight_norm(nn.Conv2d(sizes[-1], sizes[-1], (5, 1), padding=(2, 0))))
        self.conv_post = weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, x_B1S: Tensor) -> tuple[Tensor, list[Tensor]]:
        if missing := -x_B1S.shape[2] % self.period:
            x_B1S = F.pad(x_B1S, (0, missing), "reflect")
        x = x_B1S.unflatten(2, (-1, self.period))
        maps = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), _SLOPE)
            maps.append(x)
        x = self.conv_post(x)
        maps.append(x)
        return x.flatten(1), maps


class ScaleDiscriminator(nn.Module):
    """Strided, grouped convolutions over (B, 1, S) -> score (B, n), feature maps."""

    def __init__(self, width: int = 128, *, spectral: bool = False) -> None:
        super().__init__()
        norm = spectral_norm if spectral else weight_norm
        w = width
        shapes = (  # out, kernel, stride, groups
            (w, 15, 1, 1),
            (w, 41, 2, 4),
            (2 * w, 41, 2, 16),
            (4 * w, 41, 4, 16),
            (8 * w, 41, 4, 16),
            (8 * w, 41, 1, 16),
            (8 * w, 5, 1, 1),
        )
        self.convs = nn.ModuleList()
        before = 1
        for out, kernel, stride, groups in shapes:
            self.convs.append(norm(nn.Conv1d(before, out, kernel, stride, kernel // 2, groups=groups)))
            before = out
        self.conv_post = norm(nn.Conv1d(before, 1, 3, padding=1))

    def forward(self, x_B1S: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, maps = x_B1S, []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), _SLOPE)
            maps.append(x)
        x = self.conv_post(x)
        maps.append(x)
        return x.flatten(1), maps


class MultiPeriodDiscriminator(nn.Module):
    """`PeriodDiscriminator`s of several periods.

    Args:
        width: channels of the first layer (published: 32).
    """

    def __init__(self, periods: Sequence[int] = PERIODS, width: int = 32) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(PeriodDiscriminator(period, width) for period in periods)

    def forward(self, x_B1S: Tensor) -> Judgement:
        judged = [discriminator(x_B1S) for discriminator in self.discriminators]
        return [score for score, _ in judged], [maps for _, maps in judged]


class MultiScaleDiscriminator(nn.Module):
    """`ScaleDiscriminator`s of the signal and its averages over 2 and 4 samples; the first is spectrally normalised.

    Args:
        width: channels of the first layer, a multiple of 16 (published: 128).
    """

    def __init__(self, scales: int = 3, width: int = 128) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(ScaleDiscriminator(width, spectral=k == 0) for k in range(scales))

    def forward(self, x_B1S: Tensor) -> Judgement:
        scores, features = [], []
        for number, discriminator in enumerate(self.discriminators):
            if number:
                x_B1S = F.avg_pool1d(x_B1S, 4, 2, padding=2)
            score, maps = discriminator(x_B1S)
            scores.append(score)
            features.append(maps)
        return scores, features


def judge(discriminators: Sequence[nn.Module], x_B1S: Tensor) -> Judgement:
    """All scores and feature maps of several discriminators."""
    scores: list[Tensor] = []
    features: list[list[Tensor]] = []
    for discriminator in discriminators:
        some, maps = discriminator(x_B1S)
        scores += some
        features += maps
    return scores, features
