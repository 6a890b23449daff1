"""Is the sound in step with the picture? Asked of a model that somebody gives; corrected where the answer is sure.

A model is named `MODULE:FACTORY` or `MODULE:FACTORY=ARGUMENT`: the factory is called once in every worker process, with
the argument if there is one, and returns the estimator: (Clip) -> `SyncEstimate`. The clip holds up to ten seconds of
224x224 pictures of the face as sync models take them (Chung and Zisserman, "Out of time: automated lip sync in the
wild", 2016: 1.4 faces wide) at 25 frames a second, and the sound at 16 kHz.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np

from viseme.core.errors import ConfigError
from viseme.core.faces import interpolate_landmarks, mesh_box, smooth_path
from viseme.core.media import Frame, warp
from viseme.core.types import Audio, Clip, Video

__all__ = ["SyncEstimate", "SyncEstimator", "face_clip", "judge", "load_estimator"]

FPS, LENGTH_S, SIZE_PX, WIDTH = 25.0, 10.0, 224, 1.4
SURE = 3.0
"""Confidence (LSE-C of SyncNet v2) from which an offset is corrected; below it, or beyond `FARTHEST`, it is only noted.
An estimate from embeddings of another scale says so itself: its `sure` counts, where it has one."""
FARTHEST = 10


class SyncEstimate(Protocol):
    """As `viseme.core.metrics.sync.SyncScore` has them."""

    @property
    def offset(self) -> int:
        """Frames; positive: the sound that fits lies earlier than the picture."""

    @property
    def lse_c(self) -> float:
        """Confidence: distance of the embeddings at the median shift less that at the best."""


SyncEstimator = Callable[[Clip], SyncEstimate]


@lru_cache(maxsize=1)
def load_estimator(name: str) -> SyncEstimator:
    """The estimator of that name (see the module).

    Raises:
        ConfigError: there is none.
    """
    place, _, argument = name.partition("=")
    module, _, factory = place.partition(":")
    try:
        make = getattr(importlib.import_module(module), factory)
    except (ImportError, AttributeError, ValueError) as error:
        expected = "MODULE:FACTORY or MODULE:FACTORY=ARGUMENT"
        raise ConfigError("no such sync model", expected=expected, got=name, hint=str(error)) from error
    return make(argument) if argument else make()


def face_clip(frames: Iterable[Frame], corners: Sequence[np.ndarray | None], sound: Audio) -> Clip:
    """The face's pictures of at most the first ten seconds, and their sound.

    Args:
        corners: (2, 2) of the mesh's bounding box per frame, None where there is no face.
    """
    boxes = np.stack([mesh_box(c) for c in interpolate_landmarks(corners)])
    middles = smooth_path((boxes[:, :2] + boxes[:, 2:]) / 2, 13)
    sides = WIDTH * smooth_path((boxes[:, 2:] - boxes[:, :2]).max(1), 13)
    pictures: list[np.ndarray] = []
    for frame, middle, side in zip(frames, middles, sides):
        if len(pictures) == round(LENGTH_S * FPS):
            break
        scale = SIZE_PX / max(side, 1.0)
        pictures.append(_square(frame, middle, scale))
    samples = sound.samples[: round(len(pictures) / FPS * sound.rate)]
    return Clip(Video(np.stack(pictures), FPS), Audio(samples, sound.rate))


def _square(frame: Frame, middle: np.ndarray, scale: float) -> np.ndarray:
    side = max(1, round(SIZE_PX / scale))
    region = warp(frame, np.column_stack([np.eye(2), side / 2 - middle]), (side, side))
    how = cv2.INTER_AREA if side > SIZE_PX else cv2.INTER_LINEAR
    return cv2.resize(region, (SIZE_PX, SIZE_PX), interpolation=how)


def judge(estimate: SyncEstimate) -> tuple[int, dict[str, str]]:
    """By how many frames to read the sound earlier, and the manifest's columns about it."""
    columns = {"av_offset_frames": str(int(estimate.offset)), "av_confidence": f"{estimate.lse_c:.2f}"}
    sure = getattr(estimate, "sure", estimate.lse_c >= SURE)
    if estimate.offset and (not sure or abs(estimate.offset) > FARTHEST):
        return 0, columns | {"av_sync": "unsure"}
    return int(estimate.offset), columns | ({"av_sync": "corrected"} if estimate.offset else {})
