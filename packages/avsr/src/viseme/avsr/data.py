"""Training data: lists of prepared clips, text units, and batches.

Reading, augmentation and collation are core's (`viseme.core.data`); here is what a recogniser's configuration makes of
them. B clips, T frames at 25 Hz, S samples at 16 kHz, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viseme.core.data import Manifest, ManifestRow
from viseme.core.data.batching import BatchSampler
from viseme.core.data.dataset import ClipDataset
from viseme.core.data.labels import labels_to_manifest, read_labels
from viseme.core.data.lists import find_list, is_manifest, usable_rows
from viseme.core.data.loader import ClipLoader
from viseme.core.data.mouth_input import MouthInput
from viseme.core.data.recognition import RecognitionItem, RecognitionTransform, collate_recognition
from viseme.core.data.transforms import TRAINING_SNRS_DB, NoiseBank, audio_eval, video_eval
from viseme.core.errors import ConfigError, DataError
from viseme.core.signal import babble, pink_noise, white_noise
from viseme.core.text import Tokenizer
from viseme.core.types import Clip, Video

__all__ = [
    "DataConfig",
    "InputConfig",
    "make_noise",
    "read_list",
    "training_loader",
    "validation_loader",
]

NOISE_S = 30
"""Seconds of each noise that is made; clips take random parts of it."""
BABBLE_VOICES = 30
"""Clips that make up each babble: too many to follow one."""


@dataclass(frozen=True)
class InputConfig(MouthInput):
    """How mouth crops and sound are made ready for the network; kept in the model directory."""

    def video(self, crops: np.ndarray) -> Tensor:
        """What the network sees of (T, H, W[, 3]) uint8: (T, 1, crop_size, crop_size)."""
        return video_eval(self.scale(crops), crop=self.crop_size)

    def audio(self, samples: np.ndarray) -> Tensor:
        """What the network hears of (S,): (S, 1)."""
        return audio_eval(samples)


@dataclass
class DataConfig:
    """The Hydra group `data`.

    Attributes:
        modality: what the network reads.
        root_dir: folder of the prepared clips; paths in label lists are relative to it.
        label_dir: folder of the lists below `root_dir`.
        train_file, val_file, test_file: published label lists, or manifests (`.csv` with a header, `.parquet`).
        train_split, val_split, test_split: take only these rows of a manifest.
        units: made from the training text (`words`, `chars`, `sentencepiece`), or a model directory to take them from.
        units_model, units_file: a SentencePiece model and its units file, instead of `units`.
        units_size: pieces of a SentencePiece model to make.
        normaliser: of text, by name.
        max_clip_frames: train on clips up to this length only; null is all.
        batching: `bucket` (published 2025), `frame_count` (published before) or `dynamic`.
        max_frames, max_frames_val: most frames of a batch.
        num_buckets: for `bucket`.
        num_workers: processes that read.
        cache_gb: memory for decoded clips.
        crop, frame_size, crop_size: see `InputConfig`.
        time_masks: zero random spans in training (published).
        path_delay_frames: for `optim.path_weight`: how many frames after it is said a word is asked for. Models with
            chunks know a word only once they have seen most of it.
        noise_file: noise for training audio.
        noise_kinds: noise to make instead: `white`, `pink`, `babble` (of other training clips).
        noise_snr_db: SNRs drawn from; null is clean.
        modality_dropout: see `viseme.avsr.task.ModalityDropout`.
        seed: of batches and augmentation.
    """

    modality: str = "video"
    root_dir: str = "."
    label_dir: str = "labels"
    train_file: str = ""
    val_file: str | None = None
    test_file: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    test_split: str | None = None
    units: str = "sentencepiece"
    units_model: str | None = None
    units_file: str | None = None
    units_size: int = 5000
    normaliser: str = "none"
    max_clip_frames: int | None = None
    batching: str = "bucket"
    max_frames: int = 1600
    max_frames_val: int = 1000
    num_buckets: int = 400
    num_workers: int = 10
    cache_gb: float = 0.0
    crop: str = "mediapipe"
    frame_size: int = 96
    crop_size: int = 88
    time_masks: bool = True
    path_delay_frames: int = 0
    noise_file: str | None = None
    noise_kinds: list[str] = field(default_factory=list)
    noise_snr_db: list[Any] = field(default_factory=lambda: list(TRAINING_SNRS_DB))
    modality_dropout: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> InputConfig:
        return InputConfig(self.crop, self.frame_size, self.crop_size)  # type: ignore[arg-type]

    @property
    def video(self) -> bool:
        return self.modality != "audio"

    @property
    def audio(self) -> bool:
        return self.modality != "video"


# ---------------------------------------------------------------------------------------------------------- lists


def read_list(
    config: DataConfig, name: str, *, split: str | None = None, tokenizer: Tokenizer | None = None
) -> Manifest:
    """A label list or manifest as a manifest.

    Args:
        config: where to look.
        name: file.
        split: only these rows of a manifest.
        tokenizer: turns a published list's token ids into text; such a list needs one.

    Raises:
        DataError: no such list, none of its clips usable, or a published list without units.
    """
    path = find_list(name, config.root_dir, config.label_dir)
    if is_manifest(path):
        manifest = Manifest.read(path)
    elif tokenizer is None:
        raise DataError(
            "a list of token ids needs its units", path=path, hint="Give data.units_model and data.units_file."
        )
    else:
        manifest = labels_to_manifest(read_labels(path), config.root_dir, tokenizer)
    if split:
        manifest = manifest.filter(split=split)
    return usable_rows(manifest, video=config.video, audio=config.audio)


# -------------------------------------------------------------------------------------------------------- batches


@dataclass(frozen=True)
class ScaledTransform:
    """`RecognitionTransform` on crops that are scaled down first, where the configuration says so."""

    inputs: InputConfig
    inner: RecognitionTransform

    def __call__(self, clip: Clip, row: ManifestRow, generator: torch.Generator) -> RecognitionItem:
        if clip.video is not None:
            clip = replace(clip, video=Video(self.inputs.scale(clip.video.frames), clip.video.fps))
        return self.inner(clip, row, generator)


def make_noise(kinds: Sequence[str], voices: Sequence[np.ndarray], *, seed: int) -> NoiseBank:
    """`white`, `pink` and `babble` noise, half a minute each.

    Args:
        kinds: which.
        voices: clips (S,) that `babble` is made of.
        seed: of all draws.

    Raises:
        ConfigError: an unknown kind, or babble without voices.
    """
    generator = torch.Generator().manual_seed(seed)
    samples, made = NOISE_S * 16000, []
    for kind in kinds:
        if kind == "white":
            made.append(white_noise(samples, generator=generator))
        elif kind == "pink":
            made.append(pink_noise(samples, generator=generator))
        elif kind == "babble":
            if not len(voices):
                raise ConfigError("babble is made of speech, and there is none")
            made.append(babble([torch.from_numpy(voice) for voice in voices], samples, generator=generator))
        else:
            raise ConfigError("no such noise", expected="white | pink | babble", got=kind)
    return NoiseBank(*made)


def _training_noise(config: DataConfig, clips: ClipDataset, seed: int) -> NoiseBank | None:
    if not config.audio:
        return None  # a noise file is looked at only where there is sound to put it into
    if config.noise_file:
        return NoiseBank(config.noise_file)
    if not config.noise_kinds:
        return None
    return make_noise(config.noise_kinds, voices_of(clips), seed=seed)


def voices_of(clips: ClipDataset) -> list[np.ndarray]:
    """Sound of clips spread evenly over a data set, for babble."""
    step = max(1, len(clips) // BABBLE_VOICES)
    found = [clips.load(index).audio for index in range(0, len(clips), step)][:BABBLE_VOICES]
    return [sound.samples for sound in found if sound is not None]


def training_loader(
    config: DataConfig, manifest: Manifest, tokenizer: Tokenizer, *, seed: int, rank: int = 0, world_size: int = 1
) -> ClipLoader:
    """Augmented batches, shuffled, for one rank; see `ClipLoader` for resuming."""
    snrs = tuple(None if snr in (None, "null") else float(snr) for snr in config.noise_snr_db)
    transform = RecognitionTransform(
        tokenizer,
        train=True,
        crop=config.crop_size,
        snrs_db=snrs,
        time_masks=config.time_masks,
        path_delay_frames=config.path_delay_frames,
    )
    clips: ClipDataset[RecognitionItem] = ClipDataset(
        manifest,
        ScaledTransform(config.inputs, transform),
        video=config.video,
        audio=config.audio,
        seed=seed,
        on_error="replace",
        cache_bytes=int(config.cache_gb * 2**30),
    )
    if config.cache_gb:
        clips.fill_cache()
    if noise := _training_noise(config, clips, seed):
        clips.transform = ScaledTransform(config.inputs, replace(transform, noise=noise))
    sampler = BatchSampler(
        manifest.lengths(),
        config.max_frames,
        rule=config.batching,
        seed=seed,
        rank=rank,
        world_size=world_size,
        num_buckets=config.num_buckets,
    )
    return ClipLoader(clips, sampler, collate_recognition, workers=config.num_workers)


def validation_loader(
    config: DataConfig, manifest: Manifest, tokenizer: Tokenizer, *, rank: int = 0, world_size: int = 1
) -> ClipLoader:
    """Clean batches in order, for one rank."""
    transform = RecognitionTransform(tokenizer, crop=config.crop_size, path_delay_frames=config.path_delay_frames)
    clips: ClipDataset[RecognitionItem] = ClipDataset(
        manifest,
        ScaledTransform(config.inputs, transform),
        video=config.video,
        audio=config.audio,
        on_error="replace",
    )
    sampler = BatchSampler(manifest.lengths(), config.max_frames_val, shuffle=False, rank=rank, world_size=world_size)
    return ClipLoader(clips, sampler, collate_recognition, workers=min(config.num_workers, 2))
