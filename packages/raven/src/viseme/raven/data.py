"""Data of a run: lists found and read, clips made into items, batches by frames.

The published layout has a root for video and one for sound per corpus (`data.roots`), and lists `tag,path,frames,ids`;
anything else comes as a manifest. B clips, T frames at 25 Hz, S samples at 16 kHz, L labels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from viseme.core.data import Manifest, ManifestRow
from viseme.core.data.batching import BatchSampler
from viseme.core.data.dataset import ClipDataset, Item
from viseme.core.data.labels import LabelRow, read_labels
from viseme.core.data.lists import find_list, is_manifest, usable_rows
from viseme.core.data.loader import ClipLoader
from viseme.core.data.mouth_input import MouthInput
from viseme.core.data.transforms import match_audio
from viseme.core.errors import ConfigError, DataError
from viseme.core.faces import CropVariant
from viseme.core.layers.frontends import SAMPLES_PER_FRAME
from viseme.core.text import Tokenizer
from viseme.core.types import Clip
from viseme.raven.transforms import TimeMask, audio_input, video_input_eval, video_input_train

__all__ = [
    "Batch",
    "DataConfig",
    "InputConfig",
    "RavenTransform",
    "read_list",
    "training_loader",
    "validation_loader",
]

FPS, RATE = 25, 16000
TOKENS = "tokens"
"""Extra column of a manifest with token ids, where a published list gave them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputConfig(MouthInput):
    """How mouth crops and sound are made ready for the network; kept in the model directory."""

    crop: CropVariant = "retinaface"

    def video(self, crops: np.ndarray) -> Tensor:
        """What the network sees of (T, H, W[, 3]) uint8: (T, 1, crop_size, crop_size)."""
        return video_input_eval(self.scale(crops), crop=self.crop_size)

    def audio(self, samples: np.ndarray) -> Tensor:
        """What the network hears of (S,): (S, 1), as it is."""
        return audio_input(samples)


@dataclass
class DataConfig:
    """The Hydra group `data`; names are the published ones where they exist.

    Attributes:
        modality: what the network reads: `video`, `audio`, or `audiovisual` (pre-training).
        root_dir: folder of the prepared clips; paths in lists are relative to it.
        roots: published layout: tag -> {video: folder, audio: folder}; `root_dir/tag` where null.
        label_dir: folder of the lists below `root_dir`.
        train_file, val_file, test_file: published label lists, or manifests.
        train_split, val_split, test_split: take only these rows of a manifest.
        train_limit: use only so many training clips, drawn by `limit_seed`.
        limit_seed: of that draw.
        units, units_model, units_file, units_size, normaliser: see `viseme.core.text.make_tokenizer`; a units file
            without a model is enough for published lists.
        batching: `frame_count` (published), `dynamic` or `bucket`.
        frames_per_gpu, frames_per_gpu_val: most frames of a batch; longer clips are left out, and named.
        num_workers: processes that read.
        cache_gb: memory for decoded clips.
        crop, frame_size, crop_size: see `InputConfig`.
        horizontal_flip_prob: of training video.
        use_masking: time masks on the input of fine-tuning.
        timemask_window, timemask_stride: of those, in seconds.
        timemask_corrected: see `TimeMask`.
        mask_prob_video, mask_prob_audio, mask_length: of pre-training, see `span_mask`.
        mask_equal_counts: see `span_mask`.
    """

    modality: str = "video"
    root_dir: str = "."
    roots: dict[str, Any] = field(default_factory=dict)
    label_dir: str = "data_paths"
    train_file: str = ""
    val_file: str | None = None
    test_file: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    test_split: str | None = None
    train_limit: int | None = None
    limit_seed: int = 0
    units: str = "sentencepiece"
    units_model: str | None = None
    units_file: str | None = None
    units_size: int = 1000
    normaliser: str = "none"
    batching: str = "frame_count"
    frames_per_gpu: int = 2400
    frames_per_gpu_val: int = 500
    num_workers: int = 8
    cache_gb: float = 0.0
    crop: str = "retinaface"
    frame_size: int = 96
    crop_size: int = 88
    horizontal_flip_prob: float = 0.5
    use_masking: bool = True
    timemask_window: float = 0.4
    timemask_stride: float = 1.0
    timemask_corrected: bool = False
    mask_prob_video: float = 0.2
    mask_prob_audio: float = 0.2
    mask_length: int = 3
    mask_equal_counts: bool = True

    def __post_init__(self) -> None:
        if self.modality not in ("video", "audio", "audiovisual"):
            raise ConfigError("no such modality", expected="video | audio | audiovisual", got=self.modality)

    @property
    def inputs(self) -> InputConfig:
        return InputConfig(self.crop, self.frame_size, self.crop_size)  # type: ignore[arg-type]

    @property
    def video(self) -> bool:
        return self.modality != "audio"

    @property
    def audio(self) -> bool:
        return self.modality != "video"

    def time_mask(self, per_second: int) -> TimeMask | None:
        """The time mask of a stream with so many positions a second."""
        if not self.use_masking:
            return None
        window, stride = round(self.timemask_window * per_second), round(self.timemask_stride * per_second)
        return TimeMask(window, max(1, stride), self.timemask_corrected)


# ---------------------------------------------------------------------------------------------------------- lists


def read_list(
    config: DataConfig, name: str, *, split: str | None = None, tokenizer: Tokenizer | None = None
) -> Manifest:
    """A label list or manifest as a manifest of clips that have the streams asked for.

    A published list keeps its token ids in the extra column `tokens`; its text is there with a tokenizer only.

    Raises:
        DataError: no such list, or none of its clips usable.
    """
    path = find_list(name, config.root_dir, config.label_dir)
    if is_manifest(path):
        manifest = Manifest.read(path)
        if split:
            manifest = manifest.filter(split=split)
    else:
        manifest = _published(config, read_labels(path), tokenizer)
    try:
        return usable_rows(manifest, video=config.video, audio=config.audio)
    except DataError as error:
        error.path = path
        raise


def _published(config: DataConfig, rows: list[LabelRow], tokenizer: Tokenizer | None) -> Manifest:
    """Rows of a published list with their files below `data.roots`; the sound is `.wav` where video is `.avi`."""
    made = []
    for row in rows:
        roots = config.roots.get(row.dataset, {})
        default = str(Path(config.root_dir) / row.dataset)
        video = Path(roots.get("video") or default) / row.path
        audio = Path(roots.get("audio") or default) / PurePosixPath(row.path).with_suffix(".wav")
        made.append(
            ManifestRow(
                id=PurePosixPath(row.dataset, row.path).with_suffix("").as_posix(),
                path=str(video),
                audio=str(audio),
                frames=row.frames,
                fps=float(FPS),
                samples=row.frames * SAMPLES_PER_FRAME,
                rate=RATE,
                text=tokenizer.decode(row.tokens) if tokenizer is not None else "",
                dataset=row.dataset,
                extra={TOKENS: " ".join(map(str, row.tokens))},
            )
        )
    return Manifest(made, ".")


def limited(manifest: Manifest, count: int | None, seed: int) -> Manifest:
    """`count` clips drawn by `seed`, in the list's order; a smaller count's clips are among a larger one's."""
    if count is None or count >= len(manifest):
        return manifest
    if count < 1:
        raise ConfigError("train_limit", expected="at least 1", got=count)
    chosen = sorted(np.random.default_rng(seed).permutation(len(manifest))[:count].tolist())
    return Manifest([manifest[index] for index in chosen], manifest.root)


def fitting(manifest: Manifest, frames_per_batch: int, *, shortest: int = 1) -> Manifest:
    """The clips that fit into a batch and are long enough; the others are named in the log.

    Raises:
        DataError: none fits.
    """
    lengths = manifest.lengths()
    kept = [row for row, length in zip(manifest, lengths) if shortest <= length <= frames_per_batch]
    if not kept:
        raise DataError(
            "no clip fits", expected=f"{shortest} to {frames_per_batch} frames", got=f"{min(lengths)} to {max(lengths)}"
        )
    if left_out := len(manifest) - len(kept):
        names = [row.id for row, length in zip(manifest, lengths) if not shortest <= length <= frames_per_batch]
        _log.warning(
            "%d of %d clips left out: not between %d and %d frames long (%s%s)",
            left_out,
            len(manifest),
            shortest,
            frames_per_batch,
            ", ".join(names[:3]),
            ", ..." if left_out > 3 else "",
        )
    return Manifest(kept, manifest.root)


# -------------------------------------------------------------------------------------------------------- batches


@dataclass(frozen=True)
class ClipItem:
    """One clip: video (T, 1, H, W), audio (S, 1) with S = 640 T, targets (L,) int64."""

    video: Tensor | None
    audio: Tensor | None
    targets: Tensor


class Batch(TypedDict, total=False):
    """Clips padded to the longest: inputs with 0, targets with -1. A stream that was not read has no key.

    Keys:
        video (B, T, 1, H, W), audio (B, 640 T, 1), lengths (B,) in frames of 40 ms;
        targets (B, L) int64, target_lengths (B,);
        ids, texts: of each clip;
        replaced: (id, reason) of each clip that could not be read and was replaced.
    """

    video: Tensor
    audio: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    ids: list[str]
    texts: list[str]
    replaced: list[tuple[str, str]]


def collate(items: Sequence[Item[ClipItem]]) -> Batch:
    """A padded batch of items that all have the same streams."""
    made = Batch(
        ids=[item.row.id for item in items],
        texts=[item.row.text for item in items],
        replaced=[entry for item in items for entry in item.replaced],
    )
    targets = [item.value.targets for item in items]
    made["targets"] = pad_sequence(targets, batch_first=True, padding_value=-1)
    made["target_lengths"] = torch.tensor([len(target) for target in targets])
    for name in ("video", "audio"):
        streams = [getattr(item.value, name) for item in items]
        if all(stream is None for stream in streams):
            continue
        if any(stream is None for stream in streams):
            raise DataError("clips with different streams in one batch", got=[item.row.id for item in items])
        made[name] = pad_sequence(streams, batch_first=True)  # type: ignore[literal-required]
        per_frame = 1 if name == "video" else SAMPLES_PER_FRAME
        made["lengths"] = torch.tensor([len(stream) // per_frame for stream in streams])
    return made


@dataclass(frozen=True)
class RavenTransform:
    """Makes a `ClipItem` of a decoded clip, as RAVEn does.

    Attributes:
        inputs: sizes of crops.
        tokenizer: for the targets; None for none (pre-training without a probe).
        train: random crop, flip and time masks; otherwise the centre.
        flip: probability of a horizontal flip.
        video_mask, audio_mask: time masks of fine-tuning.
        labelled: a clip without a transcript cannot be used.
    """

    inputs: InputConfig
    tokenizer: Tokenizer | None
    train: bool = False
    flip: float = 0.5
    video_mask: TimeMask | None = None
    audio_mask: TimeMask | None = None
    labelled: bool = True

    def __call__(self, clip: Clip, row: ManifestRow, generator: torch.Generator) -> ClipItem:
        targets = self._targets(row)
        if self.train and self.labelled and not targets:
            raise DataError("a clip without a transcript cannot be trained on", got=repr(row.id))
        video = audio = None
        if clip.video is not None:
            crops, crop = self.inputs.scale(clip.video.frames), self.inputs.crop_size
            if self.train:
                video = video_input_train(crops, generator, crop=crop, flip=self.flip, mask=self.video_mask)
            else:
                video = video_input_eval(crops, crop=crop)
        if clip.audio is not None:
            samples = clip.audio.samples
            frames = len(samples) // SAMPLES_PER_FRAME if clip.video is None else len(clip.video.frames)
            if not frames:
                raise DataError("sound shorter than a video frame", expected=SAMPLES_PER_FRAME, got=len(samples))
            audio = audio_input(match_audio(samples, frames), generator, mask=self.audio_mask if self.train else None)
        return ClipItem(video, audio, torch.tensor(targets, dtype=torch.int64))

    def _targets(self, row: ManifestRow) -> list[int]:
        if self.tokenizer is None:
            return []
        if TOKENS in row.extra:
            ids = [int(token) for token in row.extra[TOKENS].split()]
            if wrong := [index for index in ids if not 0 < index < self.tokenizer.eos]:
                raise DataError(
                    "the list has token ids that the units do not have",
                    expected=f"1..{self.tokenizer.eos - 1}",
                    got=f"{wrong[0]} in {row.id}",
                    hint="Is data.units_file the one that the list was made with?",
                )
            return ids
        return self.tokenizer.encode(row.text)


def training_loader(
    config: DataConfig,
    manifest: Manifest,
    tokenizer: Tokenizer | None,
    *,
    seed: int,
    pretraining: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> ClipLoader:
    """Augmented batches, shuffled, for one rank; see `ClipLoader` for resuming."""
    transform = RavenTransform(
        config.inputs,
        tokenizer,
        train=True,
        flip=config.horizontal_flip_prob,
        video_mask=None if pretraining else config.time_mask(FPS),
        audio_mask=None if pretraining else config.time_mask(RATE),
        labelled=not pretraining,
    )
    manifest = fitting(manifest, config.frames_per_gpu, shortest=config.mask_length + 1 if pretraining else 1)
    clips: ClipDataset[ClipItem] = ClipDataset(
        manifest,
        transform,
        video=config.video,
        audio=config.audio,
        seed=seed,
        on_error="replace",
        cache_bytes=int(config.cache_gb * 2**30),
    )
    if config.cache_gb:
        clips.fill_cache()
    sampler = BatchSampler(
        manifest.lengths(), config.frames_per_gpu, rule=config.batching, seed=seed, rank=rank, world_size=world_size
    )
    return ClipLoader(clips, sampler, collate, workers=config.num_workers)


def validation_loader(
    config: DataConfig, manifest: Manifest, tokenizer: Tokenizer | None, *, rank: int = 0, world_size: int = 1
) -> ClipLoader:
    """Batches in order, for one rank; every clip is in one."""
    manifest = fitting(manifest, config.frames_per_gpu_val)
    clips: ClipDataset[ClipItem] = ClipDataset(
        manifest,
        replace(RavenTransform(config.inputs, tokenizer), labelled=False),
        video=config.video,
        audio=config.audio,
        on_error="replace",
        cache_bytes=int(config.cache_gb * 2**30),
    )
    sampler = BatchSampler(
        manifest.lengths(), config.frames_per_gpu_val, shuffle=False, rank=rank, world_size=world_size
    )
    return ClipLoader(clips, sampler, collate, workers=min(config.num_workers, 2))
