"""Items and batches of a recogniser: transforms, targets, padding.

B clips, T frames, S samples, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from viseme.core.data.dataset import Item
from viseme.core.data.manifest import ManifestRow
from viseme.core.data.transforms import (
    SAMPLES_PER_FRAME,
    TRAINING_SNRS_DB,
    NoiseBank,
    audio_eval,
    audio_train,
    match_audio,
    video_eval,
    video_train,
)
from viseme.core.data.word_times import WORD_TIMES, frame_units, parse_word_times
from viseme.core.errors import DataError
from viseme.core.text import Tokenizer
from viseme.core.types import Clip

VIDEO_MASK, AUDIO_MASK = 10, 6400  # frames, samples: widest span that a time mask zeroes (published)

__all__ = ["RecognitionBatch", "RecognitionItem", "RecognitionTransform", "collate_recognition"]


@dataclass(frozen=True)
class RecognitionItem:
    """One clip: video (T, 1, 88, 88), audio (S, 1) (S = 640 T with video), targets (L,) int64; path (T,) int64, the
    unit of each frame by the corpus' word times, all -1 where it has none."""

    video: Tensor | None
    audio: Tensor | None
    targets: Tensor
    path: Tensor


class RecognitionBatch(TypedDict, total=False):
    """Clips padded to the longest: inputs with 0, targets with -1. A stream that was not read has no keys.

    Keys:
        video (B, T, 1, 88, 88), video_lengths (B,) in frames;
        audio (B, S, 1), audio_lengths (B,) in samples;
        targets (B, L) int64, target_lengths (B,);
        paths (B, T) int64: the unit of each frame by word times, -1 where they are not known;
        ids, texts: of each clip;
        replaced: (id, reason) of each clip that could not be read and was replaced.
    """

    video: Tensor
    video_lengths: Tensor
    audio: Tensor
    audio_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    paths: Tensor
    ids: list[str]
    texts: list[str]
    replaced: list[tuple[str, str]]


@dataclass(frozen=True)
class RecognitionTransform:
    """Makes a `RecognitionItem` of a decoded clip, as Auto-AVSR does.

    Attributes:
        tokenizer: for the targets.
        train: random crop, time masks and noise; otherwise centre crop, and noise only at `snr_db`.
        crop: height and width of the network's input.
        noise: noise to add; None adds none.
        snrs_db: training: the SNRs to draw from.
        time_masks: training: zero random spans. (The published spans, up to 0.4 s in each second, swallow
            whole words of very short sentences.)
        snr_db: evaluation: the SNR of the noise; None for clean.
        path_delay_frames: see `frame_units`.
    """

    tokenizer: Tokenizer
    train: bool = False
    crop: int = 88
    noise: NoiseBank | None = None
    snrs_db: Sequence[float | None] = field(default=TRAINING_SNRS_DB)
    time_masks: bool = True
    snr_db: float | None = None
    path_delay_frames: int = 0

    def __call__(self, clip: Clip, row: ManifestRow, generator: torch.Generator) -> RecognitionItem:
        targets = self.tokenizer.encode(row.text)
        if self.train and not targets:
            raise DataError("a clip without a transcript cannot be trained on", got=repr(row.id))
        video = audio = None
        if clip.video is not None:
            frames = clip.video.frames
            train, crop = self.train, self.crop
            video = video_train(frames, generator, crop=crop) if train else video_eval(frames, crop=crop)
        if clip.audio is not None:
            samples = torch.from_numpy(clip.audio.samples)
            if clip.video is not None:
                samples = match_audio(samples, len(clip.video.frames))
            if self.train:
                window = AUDIO_MASK if self.time_masks else 0
                audio = audio_train(samples, generator, noise=self.noise, snrs_db=self.snrs_db, mask_window=window)
            else:
                audio = audio_eval(samples, noise=self.noise, snr_db=self.snr_db, generator=generator)
        length = len(video) if video is not None else len(audio) // SAMPLES_PER_FRAME if audio is not None else 0
        return RecognitionItem(video, audio, torch.tensor(targets, dtype=torch.int64), self._path(row, length))

    def _path(self, row: ManifestRow, frames: int) -> Tensor:
        words = parse_word_times(row.extra.get(WORD_TIMES, ""))
        path = [-1] * frames
        if words:
            path = frame_units(words, frames, self.tokenizer, delay_frames=self.path_delay_frames)
        return torch.tensor(path, dtype=torch.int64)


def collate_recognition(items: Sequence[Item[RecognitionItem]]) -> RecognitionBatch:
    """A padded batch of items that all have the same streams."""
    batch = RecognitionBatch(
        ids=[item.row.id for item in items],
        texts=[item.row.text for item in items],
        replaced=[entry for item in items for entry in item.replaced],
    )
    targets = [item.value.targets for item in items]
    batch["targets"] = pad_sequence(targets, batch_first=True, padding_value=-1)
    batch["target_lengths"] = _lengths(targets)
    batch["paths"] = pad_sequence([item.value.path for item in items], batch_first=True, padding_value=-1)
    videos = [item.value.video for item in items if item.value.video is not None]
    audios = [item.value.audio for item in items if item.value.audio is not None]
    if len(videos) not in (0, len(items)) or len(audios) not in (0, len(items)):
        raise DataError("clips with different streams in one batch", got=[item.row.id for item in items])
    if videos:
        batch["video"], batch["video_lengths"] = pad_sequence(videos, batch_first=True), _lengths(videos)
    if audios:
        batch["audio"], batch["audio_lengths"] = pad_sequence(audios, batch_first=True), _lengths(audios)
    return batch


def _lengths(tensors: Sequence[Tensor]) -> Tensor:
    return torch.tensor([len(tensor) for tensor in tensors], dtype=torch.int64)
