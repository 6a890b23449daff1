"""Made clips whose pictures and sounds follow one hidden sequence: the smallest thing that lips can be read from.

Seconds, not minutes: a network too small to read rendered faces still shows here whether an objective learns.

B clips, T frames at 25 Hz, H, W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DWELL_FRAMES", "SYMBOLS", "SymbolClips", "symbol_clips"]

SHAPES = ((1, 3), (1, 7), (3, 2), (3, 5), (6, 3), (6, 7))
"""Half heights and half widths of the openings, in pixels."""
SYMBOLS = len(SHAPES)
DWELL_FRAMES = 3
SAMPLES_PER_FRAME, RATE_HZ = 640, 16000
LOWEST_HZ, RATIO = 300.0, 1.5
SHIFT, DARKNESS, TONE, HISS = 3, 2.0, 0.3, 0.1


class SymbolClips(NamedTuple):
    """A batch: hidden symbols (B, T), each for three frames; video (B, T, 1, H, W); sound (B, 640 T, 1)."""

    symbols: Tensor
    video: Tensor
    audio: Tensor


def symbol_clips(count: int, seed: int, *, frames: int = 24, size: int = 24) -> SymbolClips:
    """Draw clips.

    A symbol is, to the eye, a dark opening of one of six shapes, somewhere near the middle, in noise; to the ear, one
    of six tones in noise.

    Args:
        count: B.
        seed: of everything.
        frames: T, a multiple of `DWELL_FRAMES`.
        size: H and W.
    """
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.randint(SYMBOLS, (count, frames // DWELL_FRAMES), generator=generator)
    symbols = symbols.repeat_interleave(DWELL_FRAMES, 1)
    video = torch.randn(count, frames, 1, size, size, generator=generator)
    shifts = torch.randint(-SHIFT, SHIFT + 1, (count, 2), generator=generator).tolist()
    for clip, frame in ((c, t) for c in range(count) for t in range(frames)):
        height, width = SHAPES[int(symbols[clip, frame])]
        top, left = size // 2 - height + shifts[clip][0], size // 2 - width + shifts[clip][1]
        video[clip, frame, 0, top : top + 2 * height, left : left + 2 * width] -= DARKNESS
    hz = LOWEST_HZ * RATIO ** symbols.repeat_interleave(SAMPLES_PER_FRAME, 1)
    phase = 2 * torch.pi * torch.cumsum(hz / RATE_HZ, 1)
    audio = TONE * phase.sin() + HISS * torch.randn(count, SAMPLES_PER_FRAME * frames, generator=generator)
    return SymbolClips(symbols, video, audio.unsqueeze(-1))
