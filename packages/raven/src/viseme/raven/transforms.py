"""From stored pixels and samples to what RAVEn's networks see.

Against Auto-AVSR: horizontal flips, time masks after normalisation (so that masked positions are 0), and no
normalisation of sound.

T frames, H height, W width, S samples. Video: uint8 (T, H, W) grey or (T, H, W, 3) RGB in, float32 (T, 1, crop, crop)
out. Audio: float (S,) in, float32 (S, 1) out. Every random choice is drawn from the generator handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from viseme.core.data.transforms import time_mask, time_mask_count, video_crop, video_eval
from viseme.core.errors import ConfigError

__all__ = ["TimeMask", "audio_input", "time_mask_spans", "video_input_eval", "video_input_train"]

Frames = np.ndarray | Tensor


@dataclass(frozen=True)
class TimeMask:
    """Adaptive time masking of fine-tuning.

    Attributes:
        window: spans are shorter than so many positions; 0 turns masking off.
        stride: one span is drawn per so many positions, rounded up.
        corrected: each span is as long as the t that its start was drawn for; the published span has a length of its
            own, and is left out where t is 0.
    """

    window: int
    stride: int
    corrected: bool = False

    def __post_init__(self) -> None:
        if self.window < 0 or self.stride < 1:
            raise ConfigError("time mask", expected="window >= 0, stride >= 1", got=f"{self.window}, {self.stride}")

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """`x` (time first) with spans set to 0."""
        if not self.window:
            return x

        def draw(below: int) -> int:
            return int(torch.randint(below, (), generator=generator))

        spans = time_mask_spans(len(x), self.window, self.stride, draw, corrected=self.corrected)
        return time_mask(x, spans)


def time_mask_spans(
    length: int, window: int, stride: int, draw: Callable[[int], int], *, corrected: bool = False
) -> list[tuple[int, int]]:
    """Spans [start, stop) to zero, by the published law.

    For each of ceil(length / stride) spans, t and w are drawn below `window`; none where t >= length; the start is
    drawn below length - t; none where t = 0; the span is w long, cut at the end.

    Args:
        draw: `draw(n)` gives an integer in [0, n).
        corrected: the span is t long.
    """
    spans = []
    for _ in range(time_mask_count(length, stride)):
        t, width = draw(window), draw(window)
        if t >= length:
            continue
        start = draw(length - t)
        if t:
            spans.append((start, min(start + (t if corrected else width), length)))
    return spans


def video_input_eval(frames: Frames, *, crop: int = 88) -> Tensor:
    """The centre, grey and normalised: (T, 1, crop, crop)."""
    return video_eval(frames, crop=crop)


def video_input_train(
    frames: Frames,
    generator: torch.Generator,
    *,
    crop: int = 88,
    flip: float = 0.5,
    mask: TimeMask | None = None,
) -> Tensor:
    """A random part (one for the whole clip), flipped with probability `flip`, grey, normalised, then time-masked."""
    room = [max(int(size) - crop, 0) + 1 for size in frames.shape[1:3]]
    top, left = (int(torch.randint(n, (), generator=generator)) for n in room)
    x = cropped(frames, top, left, crop, flipped=float(torch.rand((), generator=generator)) < flip)
    return x if mask is None else mask.apply(x, generator)


def cropped(frames: Frames, top: int, left: int, crop: int, *, flipped: bool) -> Tensor:
    """A given part, mirrored left to right if `flipped`, grey, normalised: (T, 1, crop, crop)."""
    x = video_crop(frames, top, left, crop=crop)
    return x.flip(-1) if flipped else x


def audio_input(samples: Frames, generator: torch.Generator | None = None, *, mask: TimeMask | None = None) -> Tensor:
    """(S,) -> (S, 1): as it is, time-masked if asked. Published models hear the waveform without normalisation."""
    x = torch.as_tensor(samples, dtype=torch.float32).reshape(-1, 1)
    if mask is None:
        return x
    if generator is None:
        raise ConfigError("time masks need a generator")
    return mask.apply(x, generator)
