"""Training data in the published layout, read once, checked before training, sampled reproducibly.

    root/<id>/<frame>.jpg and audio.wav; file lists with one id a line (what follows a blank is ignored)

Every item depends on (seed, epoch, item) alone. S pixels, M spectrogram columns.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import soundfile
import torch
from torch.utils.data import Dataset

from viseme.core.data import BatchSampler, ClipLoader, item_generator
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.media import read_audio
from viseme.wav2lip.augment import Augmentation, draw_augmentation
from viseme.wav2lip.geometry import resize_crop
from viseme.wav2lip.samples import (
    WINDOW,
    expert_group,
    expert_sample,
    generator_sample,
    usable_expert,
    usable_generator,
)
from viseme.wav2lip.synthesis import spectrogram

__all__ = ["CropClip", "DataConfig", "WindowDataset", "make_loader", "read_clips"]

_log = logging.getLogger(__name__)
Sample = Literal["expert", "generator"]


@dataclass
class DataConfig:
    """The Hydra group `data`.

    Attributes:
        root_dir: of the layout, or of a prepared store, which has it in `face`.
        filelists: folder of the lists, below `root_dir` unless absolute.
        train_list, val_list, test_list: their names.
        fps: of the frame ids.
        frame_shift: added to a frame's id before its own sound is cut, in training; published -1 (see
            `samples.generator_sample`).
        windows_per_clip: items an epoch draws from each clip; published 1.
        val_windows: windows of each clip that validation looks at.
        min_distance: frames at least between an expert's window and another one; published 1.
        reference_distance: frames at least between a generator's window and its reference; published 1. A reference of
            nearly the same moment shows the mouth that is to be made from the sound.
        num_workers: processes that read.
        cache_gb: memory for crops at the network's size; what does not fit is read from files.
        augment: strength of random looks and voices in training (`augment.py`); published 0, none.
    """

    root_dir: str = "???"
    filelists: str = "filelists"
    train_list: str = "train.txt"
    val_list: str | None = "val.txt"
    test_list: str = "test.txt"
    fps: float = 25.0
    frame_shift: int = 0
    windows_per_clip: int = 1
    val_windows: int = 4
    min_distance: int = 1
    reference_distance: int = 1
    num_workers: int = 8
    cache_gb: float = 0.0
    augment: float = 0.0

    def __post_init__(self) -> None:
        if self.fps <= 0 or self.windows_per_clip < 1 or self.val_windows < 2:
            raise ConfigError("fps and windows_per_clip are positive, val_windows at least 2", got=self)
        if self.min_distance < 1 or self.reference_distance < 1:
            got = (self.min_distance, self.reference_distance)
            raise ConfigError("data.min_distance and data.reference_distance", expected="1 or more", got=got)
        if not 0 <= self.augment <= 2:
            raise ConfigError("data.augment is a strength", expected="0 (none) to 2", got=self.augment)


@dataclass(eq=False)
class CropClip:
    """One clip of the layout.

    Attributes:
        id, folder: its name and place.
        frames: ids of its crops, ascending.
        mel: (80, M) float32.
    """

    id: str
    folder: Path
    frames: list[int]
    mel: np.ndarray
    pictures: np.ndarray | None = field(default=None, repr=False)  # (T, S, S, 3), where they are kept in memory

    def crop(self, place: int) -> np.ndarray:
        """BGR crop number `place`, at whatever size it has."""
        if self.pictures is not None:
            return self.pictures[place]
        path = self.folder / f"{self.frames[place]}.jpg"
        picture = cv2.imread(str(path))
        if picture is None:
            raise DataError("the picture cannot be read", path=path)
        return picture


def layout(root_dir: str | Path) -> Path:
    """The folder of the layout: a store made by `prepare` has it in `face`."""
    root = Path(root_dir)
    return root / "face" if (root / "face" / "filelists").is_dir() and not (root / "filelists").is_dir() else root


def read_list(config: DataConfig, name: str) -> list[str]:
    """Ids of a file list.

    Raises:
        DataError: no such list, or nothing in it.
    """
    folder = Path(config.filelists)
    path = (folder if folder.is_absolute() else layout(config.root_dir) / folder) / name
    if not path.is_file():
        raise DataError(
            "no such list", path=path, hint="`wav2lip prepare` makes the layout and its lists; one id a line."
        )
    ids = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.split()]
    if not ids:
        raise DataError("the list is empty", path=path)
    return ids


def read_clips(config: DataConfig, name: str, sample: Sample) -> tuple[list[CropClip], dict[str, str]]:
    """The usable clips of a list, and why the others are not.

    Raises:
        DataError: no such list, or no usable clip in it.
    """
    clips, problems = [], {}
    for clip_id in read_list(config, name):
        try:
            clips.append(_read_clip(layout(config.root_dir) / clip_id, clip_id, config, sample))
        except (VisemeError, OSError) as error:
            problems[clip_id] = str(error)
            _log.warning("%s is left out: %s", clip_id, error)
    if not clips:
        first = next(iter(problems.items()))
        raise DataError(f"none of {len(problems)} clips can be used", path=name, got=f"{first[0]}: {first[1]}")
    return clips, problems


def _read_clip(folder: Path, clip_id: str, config: DataConfig, sample: Sample) -> CropClip:
    if not folder.is_dir():
        raise DataError("no such clip", path=folder)
    frames = sorted(int(path.stem) for path in folder.glob("*.jpg") if path.stem.isdigit())
    if not frames:
        raise DataError("no crops in the clip", path=folder)
    audio = folder / "audio.wav"
    if not audio.is_file():
        raise DataError("the clip has no audio.wav", path=folder)
    try:
        samples, rate = soundfile.read(audio, dtype="float32", always_2d=True)
        wave = samples.mean(1) if rate == 16000 else read_audio(audio, rate=16000).samples
    except soundfile.LibsndfileError as error:
        raise DataError("the sound cannot be read", path=audio, got=error) from error
    clip = CropClip(clip_id, folder, frames, spectrogram(torch.from_numpy(np.ascontiguousarray(wave))))
    if len(usable_starts(clip, config, sample)) < 2:
        raise DataError("fewer than two windows of five frames with sound", path=folder, got=f"{len(frames)} crops")
    return clip


def usable_starts(clip: CropClip, config: DataConfig, sample: Sample) -> list[int]:
    """Places in `clip.frames` at which a window may start."""
    ids, columns = set(clip.frames), clip.mel.shape[1]
    if sample == "expert":
        return [k for k, f in enumerate(clip.frames) if usable_expert(f, ids, columns, fps=config.fps)]
    return [
        k
        for k, f in enumerate(clip.frames)
        if usable_generator(f, ids, columns, fps=config.fps, frame_shift=config.frame_shift)
    ]


class WindowDataset(Dataset):
    """Windows of clips: `(item, epoch)` -> a sample of `samples.expert_sample` or `samples.generator_sample`.

    Args:
        clips: usable ones.
        items: of an epoch; item k is of clip k modulo their number.
        size: S.
        seed: of every draw.
        group: expert windows of one clip in an item, all paired with one another; 1: one pair, as published.
        alternate: expert pairs are in sync and out of sync by turns (validation) instead of by a coin.
        augment: strength of random looks and voices.
        frames: of a window.
    """

    def __init__(
        self,
        clips: Sequence[CropClip],
        config: DataConfig,
        sample: Sample,
        *,
        items: int,
        size: int,
        seed: int,
        group: int = 1,
        alternate: bool = False,
        augment: float = 0.0,
        frames: int = WINDOW,
    ) -> None:
        self.clips, self.config, self.sample, self.size, self.seed = list(clips), config, sample, size, seed
        self.items, self.group, self.alternate, self.augment, self.frames = items, group, alternate, augment, frames
        self.starts = [usable_starts(clip, config, sample) for clip in self.clips]

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, np.ndarray]:
        item, epoch = key if isinstance(key, tuple) else (key, 0)
        generator = item_generator(self.seed, epoch, item)
        number = item % len(self.clips)
        clip, starts = self.clips[number], self.starts[number]
        look = draw_augmentation(self.augment, generator) if self.augment else None
        mel = look.mel(clip.mel) if look else clip.mel
        if self.group > 1:
            chosen = self._apart(clip, starts, generator)
            windows = [self._window(clip, place, look) for place in chosen]
            ids = [clip.frames[place] for place in chosen]
            return expert_group(windows, mel, ids, size=self.size, fps=self.config.fps)
        place = starts[_draw(len(starts), generator)]
        other = self._other(starts, place, clip, generator)
        start = clip.frames[place]
        if self.sample == "expert":
            turn = item // len(self.clips) % 2 == 0
            positive = turn if self.alternate else bool(_draw(2, generator))
            frames = self._window(clip, place if positive else other, look)
            return expert_sample(frames, mel, start, positive=positive, size=self.size, fps=self.config.fps)
        return generator_sample(
            self._window(clip, place, look),
            self._window(clip, other, look),
            mel,
            start,
            size=self.size,
            fps=self.config.fps,
            frame_shift=self.config.frame_shift,
        )

    def _other(self, starts: list[int], place: int, clip: CropClip, generator: torch.Generator) -> int:
        """Another window of the clip, far enough away where the clip is long enough for that."""
        distance = self.config.min_distance if self.sample == "expert" else self.config.reference_distance
        others = [k for k in starts if abs(clip.frames[k] - clip.frames[place]) >= distance]
        others = others or [k for k in starts if k != place]
        return others[_draw(len(others), generator)]

    def _apart(self, clip: CropClip, starts: list[int], generator: torch.Generator) -> list[int]:
        """`group` windows that are `min_distance` frames or more from one another, nearer where the clip is short."""
        order = [starts[k] for k in torch.randperm(len(starts), generator=generator).tolist()]
        chosen: list[int] = []
        for distance in range(self.config.min_distance, -1, -1):
            for place in order:
                if len(chosen) < self.group and all(
                    abs(clip.frames[place] - clip.frames[k]) >= distance for k in chosen
                ):
                    chosen.append(place)
        return chosen

    def _window(self, clip: CropClip, place: int, look: Augmentation | None) -> list[np.ndarray]:
        crops = [clip.crop(place + k) for k in range(self.frames)]
        return [look.picture(crop, self.size) for crop in crops] if look else crops

    def fill_cache(self, limit_bytes: int) -> int:
        """Keep crops in memory at the network's size, clip by clip while they fit; returns how many clips do."""
        used = 0
        for kept, clip in enumerate(self.clips):
            used += len(clip.frames) * self.size * self.size * 3
            if used > limit_bytes:
                return kept
            clip.pictures = np.stack([resize_crop(clip.crop(k), self.size) for k in range(len(clip.frames))])
        return len(self.clips)


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def collate(items: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Samples as a batch."""
    return {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}


def make_loader(
    config: DataConfig,
    clips: Sequence[CropClip],
    sample: Sample,
    *,
    batch_size: int,
    size: int,
    seed: int,
    train: bool,
    group: int = 1,
    frames: int = WINDOW,
    rank: int = 0,
    world_size: int = 1,
) -> ClipLoader:
    """Batches for one rank: shuffled and full for training, in order and the same every time for validation.

    `batch_size` counts windows: with groups, a batch has `batch_size // group` clips. Windows have `frames` frames in
    training, five in validation.

    Raises:
        DataError: a single clip to train on.
    """
    if train:
        if len(clips) < 2:
            raise DataError("one clip alone cannot train", expected="at least two clips", got=clips[0].id)
        # Full batches only: batch norm on 1 x 1 maps fails on a batch of one.
        batch_size = max(1, batch_size // group)
        items = max(1, len(clips) * config.windows_per_clip // (group * batch_size)) * batch_size
    else:
        items = len(clips) * config.val_windows
    dataset = WindowDataset(
        clips, config, sample, items=items, size=size, seed=seed, group=group if train else 1, alternate=not train,
        augment=config.augment if train else 0.0, frames=frames if train else WINDOW,
    )  # fmt: skip
    if config.cache_gb:
        dataset.fill_cache(int(config.cache_gb * 2**30))
    sampler = BatchSampler([1] * items, batch_size, shuffle=train, seed=seed, rank=rank, world_size=world_size)
    return ClipLoader(dataset, sampler, collate, workers=config.num_workers)


def same_clips(first: Sequence[CropClip], second: Sequence[CropClip]) -> list[str]:
    """Ids that are in both."""
    return sorted({clip.id for clip in first} & {clip.id for clip in second})
