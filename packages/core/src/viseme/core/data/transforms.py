"""From stored pixels and samples to what a recogniser sees, as published for Auto-AVSR and the 2022 model zoo.

T frames, H height, W width, S samples. Video: uint8 (T, H, W) grey or (T, H, W, 3) RGB in, float32 (T, 1, crop, crop)
out. Audio: float (S,) or (S, 1) in, float32 (S, 1) out. Every random choice is drawn from the generator handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from viseme.core import media
from viseme.core.errors import DataError
from viseme.core.signal import layer_norm, mix_at_snr

__all__ = [
    "GREY_WEIGHTS",
    "TRAINING_SNRS_DB",
    "VIDEO_MEAN",
    "VIDEO_STD",
    "NoiseBank",
    "audio_eval",
    "audio_train",
    "draw_time_masks",
    "match_audio",
    "published_speed_index",
    "time_mask",
    "time_mask_count",
    "video_crop",
    "video_eval",
    "video_train",
]

VIDEO_MEAN, VIDEO_STD = 0.421, 0.165
GREY_WEIGHTS = (0.2989, 0.587, 0.114)
TRAINING_SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, None)  # None: no noise, about one clip in seven
SAMPLES_PER_FRAME = 640  # 16 kHz over 25 fps

Frames = np.ndarray | Tensor


# ------------------------------------------------------------------------------------------------- time masking


def time_mask_count(length: int, stride: int) -> int:
    """Number of masks drawn for a clip: floor((length + stride - 0.1) / stride), i.e. one per `stride`, rounded up."""
    return int((length + stride - 0.1) // stride)


def draw_time_masks(length: int, window: int, stride: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Spans [start, stop) to zero, by the published law.

    For each of `time_mask_count` draws, t and e are uniform in [0, window); with t = 0 or t >= length there is no mask;
    the start is uniform in [0, length - t), and the mask is e long (cut at the clip's end).
    """
    masks = []
    for _ in range(time_mask_count(length, stride)):
        t, width = torch.randint(window, (2,), generator=generator).tolist()
        if 0 < t < length:
            start = int(torch.randint(length - t, (), generator=generator))
            masks.append((start, min(start + width, length)))
    return masks


def time_mask(x: Tensor, masks: Iterable[tuple[int, int]]) -> Tensor:
    """A copy of `x` (time first) with the spans set to zero."""
    x = x.clone()
    for start, stop in masks:
        x[start:stop] = 0
    return x


# -------------------------------------------------------------------------------------------------------- video


def video_crop(
    frames: Frames,
    top: int,
    left: int,
    *,
    crop: int = 88,
    masks: Iterable[tuple[int, int]] = (),
    mean: float = VIDEO_MEAN,
    std: float = VIDEO_STD,
    grey: Sequence[float] = GREY_WEIGHTS,
) -> Tensor:
    """A given part of the pictures, grey, some frames zeroed, normalised: what `video_train` and `video_eval` share.

    Args:
        frames: (T, H, W) or (T, H, W, 3) uint8.
        top, left: first row and column.
        crop: height and width.
        masks: spans of frames set to 0 (before normalisation, so that they come out as -mean / std).
        mean, std: of grey values in [0, 1].
        grey: weights of red, green and blue.

    Returns:
        (T, 1, crop, crop) float32.

    Raises:
        DataError: not such frames, or smaller than the crop.
    """
    x = torch.as_tensor(frames)
    if x.dtype != torch.uint8 or x.dim() not in (3, 4) or (x.dim() == 4 and x.shape[-1] != 3):
        raise DataError("frames", expected="uint8 (T, H, W) or (T, H, W, 3)", got=f"{x.dtype} {tuple(x.shape)}")
    if top < 0 or left < 0 or top + crop > x.shape[1] or left + crop > x.shape[2]:
        raise DataError(f"a crop of {crop}x{crop} at ({top}, {left})", expected="inside", got=tuple(x.shape[1:3]))
    x = x[:, top : top + crop, left : left + crop].float()
    if x.dim() == 4:
        x = x @ torch.tensor(grey, dtype=torch.float32)
    x = x.mul_(1 / 255)
    for start, stop in masks:
        x[start:stop] = 0
    return x.sub_(mean).div_(std)[:, None]


def video_eval(
    frames: Frames,
    *,
    crop: int = 88,
    mean: float = VIDEO_MEAN,
    std: float = VIDEO_STD,
    grey: Sequence[float] = GREY_WEIGHTS,
) -> Tensor:
    """The centre, grey and normalised; (T, 1, crop, crop). From grey frames this is the zoo's pipeline too."""
    top, left = (round((size - crop) / 2) for size in frames.shape[1:3])
    return video_crop(frames, top, left, crop=crop, mean=mean, std=std, grey=grey)


def video_train(
    frames: Frames,
    generator: torch.Generator,
    *,
    crop: int = 88,
    mask_window: int = 10,
    mask_stride: int = 25,
    mean: float = VIDEO_MEAN,
    std: float = VIDEO_STD,
    grey: Sequence[float] = GREY_WEIGHTS,
) -> Tensor:
    """A random part (one offset per clip, uniform over what fits), grey, time-masked, normalised; (T, 1, crop, crop).

    There is no horizontal flip in the published recipe. `mask_window=0` turns the masking off.
    """
    room = [max(int(size) - crop, 0) + 1 for size in frames.shape[1:3]]
    top, left = (int(torch.randint(n, (), generator=generator)) for n in room)
    masks = draw_time_masks(len(frames), mask_window, mask_stride, generator) if mask_window else ()
    return video_crop(frames, top, left, crop=crop, masks=masks, mean=mean, std=std, grey=grey)


def published_speed_index(frames: int, speed: float) -> np.ndarray:
    """Frames that the 2022 zoo keeps to change the rate: linspace(0, frames - 1, int(frames / speed)), truncated.

    Kept for answering as the zoo does; everything else converts by time stamps when decoding (`media.read_video`).

    Args:
        frames: frames of the clip.
        speed: input frames per second over the model's.
    """
    return np.linspace(0, frames - 1, int(frames / speed)).astype(np.int64)


# -------------------------------------------------------------------------------------------------------- audio


def _column(samples: Frames) -> Tensor:
    x = torch.as_tensor(samples, dtype=torch.float32)
    if x.dim() == 2 and x.shape[1] == 1:
        return x
    if x.dim() != 1:
        raise DataError("samples", expected="(S,) or (S, 1)", got=tuple(x.shape))
    return x[:, None]


def match_audio(samples: Frames, frames: int) -> Tensor:
    """Sound of exactly `frames` video frames: (640 * frames,) cut, or padded with silence, at the end."""
    x = _column(samples)[:, 0]
    wanted = SAMPLES_PER_FRAME * frames
    return torch.nn.functional.pad(x[:wanted], (0, max(0, wanted - len(x))))


class NoiseBank:
    """Noise to train or test with: files (16 kHz, read at the first use) or samples at hand.

    Args:
        *sources: files, or arrays (N,).

    Raises:
        DataError: no source, or (at the first use) a silent one.
    """

    def __init__(self, *sources: str | Path | Frames) -> None:
        if not sources:
            raise DataError("a noise bank needs at least one source")
        self._sources = sources
        self._loaded: dict[int, Tensor] = {}

    def noise(self, index: int) -> Tensor:
        """Source number `index`, whole: (N,)."""
        if index not in self._loaded:
            source = self._sources[index]
            if isinstance(source, (str, Path)):
                x = torch.from_numpy(media.read_audio(source, rate=16000).samples)
            else:
                x = _column(source)[:, 0]
            if not bool((x != 0).any()):
                raise DataError("noise is empty or silent", got=f"source {index}: {source}")
            self._loaded[index] = x
        return self._loaded[index]

    def mix(self, speech: Tensor, snr_db: float | None, generator: torch.Generator) -> Tensor:
        """`speech` (S, 1) with a random part of a random source at `snr_db` (None: as it is)."""
        if snr_db is None:
            return speech
        index = int(torch.randint(len(self._sources), (), generator=generator))
        return mix_at_snr(speech[:, 0], self.noise(index), snr_db, generator=generator)[:, None]


def audio_eval(
    samples: Frames,
    *,
    noise: NoiseBank | None = None,
    snr_db: float | None = None,
    generator: torch.Generator | None = None,
    eps: float = 1e-8,
) -> Tensor:
    """Normalised over the whole clip, after noise at `snr_db` if any; (S, 1). `eps` 0 is the 2022 zoo's."""
    x = _column(samples)
    if snr_db is not None:
        if noise is None or generator is None:
            raise DataError("noise at an SNR needs a noise bank and a generator")
        x = noise.mix(x, snr_db, generator)
    return layer_norm(x, eps)


def audio_train(
    samples: Frames,
    generator: torch.Generator,
    *,
    noise: NoiseBank | None = None,
    snrs_db: Sequence[float | None] = TRAINING_SNRS_DB,
    mask_window: int = 6400,
    mask_stride: int = 16000,
    eps: float = 1e-8,
) -> Tensor:
    """Time-masked, with noise at an SNR drawn from `snrs_db`, normalised over the whole clip; (S, 1).

    `mask_window=0` turns the masking off; without a noise bank no noise is added.
    """
    x = _column(samples)
    if mask_window:
        x = time_mask(x, draw_time_masks(len(x), mask_window, mask_stride, generator))
    if noise is not None:
        snr_db = snrs_db[int(torch.randint(len(snrs_db), (), generator=generator))]
        x = noise.mix(x, snr_db, generator)
    return layer_norm(x, eps)
