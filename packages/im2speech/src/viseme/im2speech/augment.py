"""Augmentations of image-token maps (SeiT, Park et al. 2023): of code ids (h, w) and of code vectors (C, h, w).

The published training calls none; here they are options, off by default. What is random is drawn from a
`torch.Generator` and kept apart from what is done with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from viseme.core.errors import ConfigError

__all__ = [
    "TokenAugment",
    "centre_crop",
    "crop",
    "draw_boxes",
    "draw_starts",
    "draw_swap",
    "embedding_noise",
    "replace_synonyms",
    "resize",
    "resized_crop",
    "swap_patches",
]

Box = tuple[int, int, int, int]
"""Top, left, height, width."""


def crop(x: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A part of maps (..., h, w).

    Raises:
        ConfigError: it does not lie inside.
    """
    if min(top, left) < 0 or top + height > x.shape[-2] or left + width > x.shape[-1]:
        raise ConfigError("the crop does not fit into the map", expected=tuple(x.shape[-2:]), got=(height, width))
    return x[..., top : top + height, left : left + width]


def centre_crop(x: Tensor, size: int = 28) -> Tensor:
    """The middle `size` x `size` of maps (..., h, w), starting at (h - size) // 2."""
    return crop(x, (x.shape[-2] - size) // 2, (x.shape[-1] - size) // 2, size, size)


def draw_starts(images: int, height: int, width: int, size: int = 28, *, generator: torch.Generator) -> list[list[int]]:
    """(top, left) of a random crop of each image."""
    limits = (height - size + 1, width - size + 1)
    return [[int(torch.randint(limit, (1,), generator=generator)) for limit in limits] for _ in range(images)]


def draw_boxes(
    images: int,
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator,
) -> list[Box]:
    """A random part of each image: area uniform in `scale`, logarithm of width / height uniform in `ratio`; after ten
    draws that do not fit, the middle at the nearest allowed ratio."""
    return [_draw_box(height, width, scale, ratio, generator) for _ in range(images)]


def _draw_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Box:
    logs = [math.log(value) for value in ratio]
    for _ in range(10):
        area = height * width * float(torch.empty(1).uniform_(*scale, generator=generator))
        aspect = math.exp(float(torch.empty(1).uniform_(*logs, generator=generator)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(height - h + 1, (1,), generator=generator))
            left = int(torch.randint(width - w + 1, (1,), generator=generator))
            return top, left, h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - h) // 2, (width - w) // 2, h, w


def _bicubic(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x_BCHW, (height, width), mode="bicubic", align_corners=False)


def resized_crop(x_BCHW: Tensor, boxes: list[Box], size: int = 28) -> Tensor:
    """Each image's box, bicubically scaled to (size, size), without antialiasing."""
    parts = [_bicubic(crop(x_CHW, *box)[None], size, size) for x_CHW, box in zip(x_BCHW, boxes, strict=True)]
    return torch.cat(parts)


def resize(x_BCHW: Tensor, size: int) -> Tensor:
    """The shorter side scaled to `size`, the other to floor(size * long / short)."""
    height, width = x_BCHW.shape[-2:]
    other = int(size * max(height, width) / min(height, width))
    return _bicubic(x_BCHW, *((size, other) if height <= width else (other, size)))


def draw_swap(
    height: int, width: int, *, scale: tuple[float, float] = (0.0, 0.25), generator: torch.Generator
) -> tuple[int, int, int, int, int]:
    """Side of the patches and where they start (y0, x0, y1, x1), further apart than their side."""
    share = float(torch.empty(1).uniform_(*scale, generator=generator))
    side = math.floor(min(height, width) * share)
    while True:
        y0, y1 = torch.randint(height - side, (2,), generator=generator).tolist()
        x0, x1 = torch.randint(width - side, (2,), generator=generator).tolist()
        if max(abs(y0 - y1), abs(x0 - x1)) > side:
            return side, y0, x0, y1, x1


def swap_patches(ids: Tensor, side: int, y0: int, x0: int, y1: int, x1: int) -> Tensor:
    """Two square patches of maps (..., h, w) exchanged."""
    swapped = ids.clone()
    swapped[..., y0 : y0 + side, x0 : x0 + side] = ids[..., y1 : y1 + side, x1 : x1 + side]
    swapped[..., y1 : y1 + side, x1 : x1 + side] = ids[..., y0 : y0 + side, x0 : x0 + side]
    return swapped


def replace_synonyms(
    ids: Tensor, synonyms: Tensor, *, best: int = 5, probability: float = 0.5, generator: torch.Generator
) -> Tensor:
    """Each id, with this probability, as one of the first `best` of its synonyms (codes, n)."""
    chosen = torch.rand(ids.shape, generator=generator) < probability
    pick = torch.randint(min(best, synonyms.shape[1]), ids.shape, generator=generator)
    return torch.where(chosen, synonyms[ids].gather(-1, pick[..., None])[..., 0], ids)


def embedding_noise(
    x_BCHW: Tensor, *, probability: float = 0.5, scale: float = 1.0, std: float = 1.0, generator: torch.Generator
) -> Tensor:
    """Gaussian noise per channel (`scale`) and per element (`std`) on exactly floor(B * probability) random images."""
    noisy = x_BCHW.clone()
    for row in torch.randperm(len(x_BCHW), generator=generator)[: int(len(x_BCHW) * probability)].tolist():
        channels = torch.randn(x_BCHW.shape[1], 1, 1, generator=generator)
        drawn = scale * channels + std * torch.randn(x_BCHW.shape[1:], generator=generator)
        noisy[row] += drawn.to(noisy)
    return noisy


@dataclass(frozen=True)
class TokenAugment:
    """What training does to the code maps of a batch, in SeiT's order; everything is off by default, as published.

    Attributes:
        swap: probability that two patches of an image's map are exchanged.
        crop: `centre`, `random`, or `resized` (of the code vectors, bicubic).
        noise: share of the images whose vectors get Gaussian noise.
        noise_std: of it, per channel and per element.
    """

    swap: float = 0.0
    crop: str = "centre"
    noise: float = 0.0
    noise_std: float = 1.0

    def __post_init__(self) -> None:
        if self.crop not in ("centre", "random", "resized"):
            raise ConfigError("no such crop of image tokens", expected="centre | random | resized", got=self.crop)

    @property
    def active(self) -> bool:
        return self.swap > 0 or self.noise > 0 or self.crop != "centre"

    def __call__(self, codes_BSS: Tensor, codebook_KQ: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Code vectors (B, Q, size, size) of code maps."""
        height, width = codes_BSS.shape[1:]
        maps = [
            swap_patches(codes, *draw_swap(height, width, generator=generator))
            if float(torch.rand((), generator=generator)) < self.swap
            else codes
            for codes in codes_BSS
        ]
        vectors_BQSS = codebook_KQ[torch.stack(maps)].permute(0, 3, 1, 2)
        images = len(vectors_BQSS)
        if self.crop == "resized":
            vectors_BQSS = resized_crop(vectors_BQSS, draw_boxes(images, height, width, generator=generator), size)
        elif self.crop == "random":
            starts = draw_starts(images, height, width, size, generator=generator)
            vectors_BQSS = torch.stack([crop(x, *start, size, size) for x, start in zip(vectors_BQSS, starts)])
        else:
            vectors_BQSS = centre_crop(vectors_BQSS, size)
        if self.noise:
            options = {"probability": self.noise, "scale": self.noise_std, "std": self.noise_std}
            vectors_BQSS = embedding_noise(vectors_BQSS, **options, generator=generator)
        return vectors_BQSS
