"""Training data: clips of a prepared store or of the published corpora, as items and batches of either system.

T frames at 25 Hz, S samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from viseme.core.data import BatchSampler, ClipDataset, ClipLoader, Item, Manifest, ManifestRow
from viseme.core.errors import ConfigError, DataError
from viseme.core.text import CharUnits, Tokenizer, WordUnits, load_tokenizer
from viseme.core.types import Clip
from viseme.lip2speech.batches import collate_multitask, collate_vca
from viseme.lip2speech.corpora import grid_manifest, lrs_manifest
from viseme.lip2speech.crops import GRID_BOX, LIP_HALF_SIZE, box_crops, lip_crops
from viseme.lip2speech.items import Augmentation, Crop, GeneratorDraws, MultitaskItem, VCAItem, multitask_item, vca_item
from viseme.lip2speech.lips import LipInput
from viseme.lip2speech.models import ModelConfig, VCAConfig
from viseme.lip2speech.text import PieceTokenizer
from viseme.lip2speech.transcripts import word_span

__all__ = ["Clips", "DataConfig", "ItemMaker", "loader", "make_tokenizer", "read_clips"]

MAX_SHIFT_SHARE = 16
"""In a prepared crop, the box can move by a sixteenth of its side to each side (published: 5 of 80 pixels)."""


@dataclass
class DataConfig:
    """The Hydra group `data`; names are the published flags where there are such.

    Attributes:
        data: folder of the corpus or of the prepared store.
        data_name: `store` (a prepared store with a manifest), `LRS2`, `LRS3` or `GRID`.
        lists: folder of split lists and lip centres (published: `./data`).
        subject: of GRID: `unseen`, `overlap`, `four`, `s1`, ...
        manifest, train_split, val_split, test_split: of a store.
        crop, share, size: see `LipInput`.
        window_size: frames of a training window of the GAN.
        min_window_size, max_window_size: the same of the multi-task system, drawn for each clip.
        max_timesteps: frames after which clips are cut (GAN: published tests also pad to them).
        augmentations: shift, flip and (as published for the system) erase.
        batch_size, val_batch_size: clips.
        workers: processes that read.
        cache_gb: memory for decoded clips.
        units: text units: `words`, `chars`, a SentencePiece model (`*.model`), or a model directory.
        seed: of batches and augmentation.
    """

    data: str = "."
    data_name: str = "store"
    lists: str = "data"
    subject: str = "unseen"
    manifest: str = "manifest.csv"
    train_split: str = "trainval"
    val_split: str | None = "val"
    test_split: str = "test"
    crop: str = "mouth"
    share: float = 0.7
    size: int = 112
    window_size: int = 50
    min_window_size: int = 50
    max_window_size: int = 50
    max_timesteps: int | None = None
    augmentations: bool = True
    batch_size: int = 16
    val_batch_size: int = 8
    workers: int = 3
    cache_gb: float = 0.0
    units: str = "words"
    seed: int = 1

    @property
    def input(self) -> LipInput:
        crop: Any = self.crop
        return LipInput(crop, self.share, self.size)


@dataclass(frozen=True)
class Clips:
    """Clips of a split, and for LRS their lip centres by id."""

    manifest: Manifest
    centres: dict[str, np.ndarray] | None = None


def read_clips(config: DataConfig, split: str, *, texts: bool = False) -> Clips:
    """The clips of `train`, `val` or `test`.

    Raises:
        ConfigError: no such corpus, or a split that the configuration does not name.
        DataError: nothing there.
    """
    if config.data_name in ("LRS2", "LRS3"):
        return Clips(*lrs_manifest(config.data, config.data_name, split, config.lists, texts=texts))
    if config.data_name == "GRID":
        return Clips(grid_manifest(config.data, config.subject, split, config.lists))
    if config.data_name != "store":
        raise ConfigError("no such data", expected="store | LRS2 | LRS3 | GRID", got=config.data_name)
    name = {"train": config.train_split, "val": config.val_split, "test": config.test_split}[split]
    if name is None:
        raise ConfigError("the configuration names no such split", got=split)
    return Clips(Manifest.read(Path(config.data) / config.manifest).filter(split=name))


def make_tokenizer(config: DataConfig, clips: Manifest) -> Tokenizer | PieceTokenizer:
    """Units of the text branch, from the configuration's file or from the training text.

    Raises:
        DataError: no text to make units from.
    """
    if config.units.endswith(".model"):
        return PieceTokenizer(config.units)
    if config.units in ("words", "chars"):
        kind: Any = WordUnits if config.units == "words" else CharUnits
        return kind.from_texts((row.text for row in clips), "lower")
    return load_tokenizer(config.units)


class ItemMaker:
    """Makes an item of a clip: what `ClipDataset` calls.

    Args:
        model: of either system.
        config: data options.
        clips: for their lip centres.
        encode: text to units (multi-task).
        training: windows and augmentation; else whole clips.
        published: pad as the published tests do.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: DataConfig,
        clips: Clips,
        encode: Callable[[str], list[int]] | None = None,
        *,
        training: bool,
        published: bool = False,
    ) -> None:
        self.model, self.config, self.centres = model, config, clips.centres
        self.encode, self.training, self.published = encode, training, published
        self.input = config.input

    def __call__(self, clip: Clip, row: ManifestRow, generator: torch.Generator) -> VCAItem | MultitaskItem:
        assert clip.video is not None and clip.audio is not None
        frames = clip.video.frames
        augment = self.training and self.config.augmentations
        audio = torch.from_numpy(clip.audio.samples)
        draws, crop = GeneratorDraws(generator), self._crop(frames, row)
        if isinstance(self.model, VCAConfig):
            published = self.config.data_name != "store"
            whole = not self.training
            return vca_item(
                crop,
                len(frames),
                audio,
                self.model.mel_spec,
                draws,
                spectrogram=self.model.spectrogram,
                window=self.config.window_size if self.training else None,
                padded=self.config.max_timesteps if whole and self.published else None,
                limit=self.config.max_timesteps if whole else None,
                augmentation=Augmentation(
                    shift=augment and self.config.data_name != "GRID",
                    erase=augment and self.config.data_name == "GRID" and published,
                    flip=augment,
                ),
                name=row.id,
            )
        pretrain = row.id.startswith("pretrain/") and self.config.data_name in ("LRS2", "LRS3")
        text_file = Path(self.config.data) / f"{row.id}.txt"
        return multitask_item(
            crop,
            len(frames),
            audio,
            self.model.mel_spec,
            draws,
            self.encode or (lambda text: []),
            row.text,
            span=word_span(text_file.read_text(encoding="utf-8")) if pretrain else None,
            window=(self.config.min_window_size, self.config.max_window_size) if self.training else None,
            limit=self.config.max_timesteps,
            augmentation=Augmentation(shift=augment, erase=augment and self.config.data_name != "store", flip=augment),
            name=row.id,
        )

    def _crop(self, frames: np.ndarray, row: ManifestRow) -> Crop:
        if self.config.data_name == "GRID":
            return lambda span, shift, flip: box_crops(frames[span], GRID_BOX, flip=flip, size=self.config.size)
        if self.centres is not None:
            half = LIP_HALF_SIZE[self.model.system][self.config.data_name]
            points = self.centres[row.id]
            return lambda span, shift, flip: lip_crops(
                frames[span], points[span], half, shift=shift, flip=flip, size=self.config.size
            )
        return lambda span, shift, flip: self._prepared(frames[span], shift, flip)

    def _prepared(self, crops: np.ndarray, shift: int, flip: bool) -> np.ndarray:
        """Prepared crops at the network's size; a shift moves the picture by that many eightieths of its side."""
        if shift:
            moved = round(shift * crops.shape[1] / (5 * MAX_SHIFT_SHARE))
            crops = np.roll(np.pad(crops, ((0, 0), (8, 8), (8, 8)), mode="edge"), -moved, (1, 2))[:, 8:-8, 8:-8]
        crops = self.input.scale(crops)
        return crops[:, :, ::-1].copy() if flip else crops


class Collate:
    """Makes a batch of a list of items."""

    def __init__(self, model: ModelConfig) -> None:
        self.model = model

    def __call__(self, items: list[Item]) -> Any:
        values = [item.value for item in items]
        if isinstance(self.model, VCAConfig):
            return collate_vca(values, -1.0 if self.model.spectrogram == "log" else 0.0)
        return collate_multitask(values)


def loader(
    model: ModelConfig,
    config: DataConfig,
    clips: Clips,
    encode: Callable[[str], list[int]] | None = None,
    *,
    training: bool,
    rank: int = 0,
    world_size: int = 1,
) -> ClipLoader:
    """Batches of a split, shuffled and augmented in training."""
    store = config.data_name == "store"
    if store and any(not row.samples for row in clips.manifest):
        silent = [row.id for row in clips.manifest if not row.samples]
        raise DataError(f"{len(silent)} clips have no sound to learn from", got=", ".join(silent[:3]))
    dataset = ClipDataset(
        clips.manifest,
        ItemMaker(model, config, clips, encode, training=training),
        gray=store,
        seed=config.seed,
        on_error="replace" if training else "raise",
        cache_bytes=int(config.cache_gb * 2**30),
    )
    size = config.batch_size if training else config.val_batch_size
    sampler = BatchSampler(
        [1] * len(clips.manifest), size, shuffle=training, seed=config.seed, rank=rank, world_size=world_size
    )
    return ClipLoader(
        dataset,
        sampler,
        Collate(model),
        workers=config.workers,
        pin_memory=torch.cuda.is_available(),
    )
