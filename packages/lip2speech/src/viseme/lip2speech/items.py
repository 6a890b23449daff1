"""One utterance as a training or test item of either system, with every random draw made in one place and in order.

Frames come as grey crops or as face frames to be cropped (`Crop`), sound as samples at 16 kHz.

T frames at 25 Hz, S = 4T mel columns at 100 Hz, F linear bins, P prompt columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from viseme.core.errors import DataError
from viseme.core.signal import MelSpec, peak_normalise
from viseme.lip2speech.crops import ERASE_SIZE, SIZE, erase, normalise
from viseme.lip2speech.models.config import SpectrogramScale
from viseme.lip2speech.sound import analyse, log_spectrogram

__all__ = [
    "Augmentation",
    "Crop",
    "Draws",
    "GeneratorDraws",
    "MultitaskItem",
    "VCAItem",
    "WordSpan",
    "multitask_item",
    "vca_item",
]

COLUMNS_PER_FRAME, SAMPLES_PER_FRAME, HOP = 4, 640, 160
PROMPT_COLUMNS, PROMPT_PADDED = 50, 100
MAX_SHIFT = 5

Crop = Callable[[slice, int, bool], np.ndarray]
"""(frames of the clip, shift, flip) -> grey crops (T, H, W) uint8."""


class Draws(Protocol):
    """Where random numbers come from."""

    def integer(self, low: int, high: int) -> int:
        """Uniform in low..high, both included."""

    def coin(self, probability: float = 0.5) -> bool:
        """True with that probability."""


class GeneratorDraws:
    """Draws from a torch generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def coin(self, probability: float = 0.5) -> bool:
        return bool(torch.rand((), generator=self.generator) < probability)


@dataclass(frozen=True)
class Augmentation:
    """What is done to crops in training: `shift` moves the box, `erase` blanks a square, `flip` mirrors half."""

    shift: bool = True
    erase: bool = False
    flip: bool = True


NONE = Augmentation(shift=False, erase=False, flip=False)


@dataclass(frozen=True)
class VCAItem:
    """Tensors of one clip: video (1, T, H, W), mel (1, 80, S), spectrogram (1, F, S), sound, and how much is real.

    The sound has its peak at 0.9, as published.
    """

    video: Tensor
    mel: Tensor
    spectrogram: Tensor
    audio: Tensor
    frames: int
    columns: int
    name: str = ""


@dataclass(frozen=True)
class MultitaskItem:
    """Tensors of one clip: video of the whole clip, mel and sound of the window, and a prompt of the speaker."""

    video: Tensor
    mel: Tensor
    spectrogram: Tensor | None
    audio: Tensor
    prompt: Tensor
    target: list[int]
    text: str
    frames: int
    columns: int
    window_start: int
    window_size: int
    name: str = ""


def vca_item(
    crop: Crop,
    frames: int,
    audio: Tensor,
    spec: MelSpec,
    draws: Draws,
    *,
    spectrogram: SpectrogramScale = "log",
    window: int | None = None,
    padded: int | None = None,
    limit: int | None = None,
    augmentation: Augmentation = NONE,
    name: str = "",
) -> VCAItem:
    """A clip of the GAN system.

    Args:
        crop: makes crops of a span of the clip's frames.
        frames: T of the whole clip.
        audio: (S,) of the whole clip.
        spec: the mel front-end.
        draws: of window, shift and flip, in this order.
        spectrogram: which linear target.
        window: frames of a random window (training); the whole clip where None.
        padded: frames to pad to (the window itself, in training); none where None.
        limit: frames after which a whole clip is cut.
        augmentation: of the crops.
    """
    mel, magnitude = analyse(audio, spec)
    floor = -1.0 if spectrogram == "log" else 0.0
    start = 0
    if window is not None:
        start = draws.integer(0, max(0, frames - window))
        count, padded = min(window, frames - start), window
    else:
        count = min(frames, limit or frames)
    shift = draws.integer(-MAX_SHIFT, MAX_SHIFT) if augmentation.shift else 0
    corner = (_corner(draws), _corner(draws)) if augmentation.erase else None
    flip = augmentation.flip and draws.coin()
    crops = crop(slice(start, start + count), shift, flip)
    video = normalise(crops, padded)
    if corner is not None:
        video = erase(video, *corner, _erase_size(video))
    columns = mel.shape[-1] if window is None and limit is None else None
    begin = COLUMNS_PER_FRAME * start
    end = mel.shape[-1] if columns is not None else begin + COLUMNS_PER_FRAME * (window or count)
    mel, magnitude = mel[:, begin:end], magnitude[:, begin:end]
    real = mel.shape[-1]
    target = log_spectrogram(magnitude) if spectrogram == "log" else magnitude
    if padded is not None:
        mel, target = (_fit(x, COLUMNS_PER_FRAME * padded, floor) for x in (mel, target))
    sound = peak_normalise(audio)[HOP * begin :]
    if window is not None:
        sound = _fit(sound, SAMPLES_PER_FRAME * window, 0.0)
    elif limit is not None:
        sound = sound[: SAMPLES_PER_FRAME * count]
    return VCAItem(video, mel[None], target[None], sound, count, real, name)


@dataclass(frozen=True)
class WordSpan:
    """A run of words of a long clip with their times: what a pretraining item is cut to."""

    words: Sequence[str]
    starts_s: Sequence[float]
    ends_s: Sequence[float]

    def draw(self, draws: Draws, fewest: int = 4, most: int = 20) -> tuple[str, float, float]:
        """Text, start and end of a random run: its length first, then its first word."""
        count = min(draws.integer(fewest, most), len(self.words))
        first = draws.integer(0, len(self.words) - count)
        last = first + count - 1
        return " ".join(self.words[first : last + 1]), self.starts_s[first], self.ends_s[last]


def multitask_item(
    crop: Crop,
    frames: int,
    audio: Tensor,
    spec: MelSpec,
    draws: Draws,
    encode: Callable[[str], list[int]],
    text: str = "",
    *,
    span: WordSpan | None = None,
    window: tuple[int, int] | None = None,
    limit: int | None = 250,
    with_spectrogram: bool = False,
    augmentation: Augmentation = NONE,
    name: str = "",
) -> MultitaskItem:
    """A clip of the multi-task system.

    Args:
        crop, frames, audio, spec: as `vca_item`.
        draws: of word count and first word (with a span), prompt, window size, window start, shift, erased square (x,
            y), flip, in this order.
        encode: text to units.
        text: transcript of the whole clip.
        span: the words of a long clip, of which a random run is taken instead.
        window: smallest and largest size of the random window that speech is generated for (training); where None,
            the whole clip is, and the prompt is its beginning.
        limit: frames after which a clip is cut (its text is not).
        augmentation: of the crops.

    Raises:
        DataError: shorter than a frame.
    """
    first = 0
    if span is not None:
        text, begin_s, end_s = span.draw(draws)
        first, stop = math.floor(25 * begin_s), min(frames, math.ceil(25 * end_s))
        audio = audio[math.floor(16000 * begin_s) : math.ceil(16000 * end_s)]
        frames = stop - first
    if limit is not None and frames > limit:
        frames, audio = limit, audio[: SAMPLES_PER_FRAME * limit]
    if frames < 1 or len(audio) <= spec.n_fft // 2:
        raise DataError("the clip is too short to make an item of", got=f"{frames} frames, {len(audio)} samples")
    mel, magnitude = analyse(audio, spec)
    prompt_start = draws.integer(0, max(0, mel.shape[-1] - PROMPT_COLUMNS)) if window else draws.integer(0, 0)
    prompt = mel[:, prompt_start : prompt_start + PROMPT_COLUMNS]
    start, size = 0, frames
    if window is not None:
        size = min(draws.integer(*window), frames)
        start = draws.integer(0, frames - size)
    shift = draws.integer(-MAX_SHIFT, MAX_SHIFT) if augmentation.shift else 0
    corner = (_corner(draws), _corner(draws)) if augmentation.erase else None
    flip = augmentation.flip and draws.coin()
    video = normalise(crop(slice(first, first + frames), shift, flip))
    if corner is not None:
        video = erase(video, *corner, _erase_size(video))
    begin, columns = COLUMNS_PER_FRAME * start, COLUMNS_PER_FRAME * size
    real = min(columns, mel.shape[-1] - begin) if window is not None else mel.shape[-1]
    linear = log_spectrogram(magnitude)[:, begin : begin + columns] if with_spectrogram else None
    return MultitaskItem(
        video,
        _fit(mel[:, begin : begin + columns], columns, 0.0)[None],
        None if linear is None else _fit(linear, columns, 0.0)[None],
        _fit(audio[HOP * begin : HOP * begin + SAMPLES_PER_FRAME * size], SAMPLES_PER_FRAME * size, 0.0),
        prompt[None],
        encode(text.lower()),
        text.lower(),
        frames,
        real,
        start,
        size,
        name,
    )


def _fit(x: Tensor, length: int, value: float) -> Tensor:
    """Cut or padded at the end to `length`."""
    return F.pad(x[..., :length], (0, max(0, length - x.shape[-1])), value=value)


def _corner(draws: Draws) -> int:
    return draws.integer(-10, 66)


def _erase_size(video: Tensor) -> int:
    """Half the crop's side, as published at 112 pixels."""
    return ERASE_SIZE * video.shape[-1] // SIZE
