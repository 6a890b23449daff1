"""The three things that flow through the house: samples, frames, and both together.

S samples, T frames, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Audio", "Video", "Clip"]


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono sound: `samples` (S,) float32 in [-1, 1] at `rate` Hz."""

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise ValueError(f"samples must be (S,), got {self.samples.shape}")

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True, eq=False)
class Video:
    """Pictures: `frames` (T, H, W, 3) RGB or (T, H, W) grey, uint8, at a constant `fps`."""

    frames: np.ndarray
    fps: float

    def __post_init__(self) -> None:
        if self.frames.ndim not in (3, 4) or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 (T,H,W) or (T,H,W,3), got {self.frames.dtype} {self.frames.shape}")

    @property
    def duration_s(self) -> float:
        return len(self.frames) / self.fps

    @property
    def gray(self) -> bool:
        return self.frames.ndim == 3


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames, sound, or both, of one recording."""

    video: Video | None
    audio: Audio | None
    name: str = ""
