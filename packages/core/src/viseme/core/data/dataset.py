"""Clips of a manifest as items of a `DataLoader`: decoded, optionally kept in memory, transformed with seeded draws.

An item depends on (seed, epoch, clip) alone, never on which worker makes it or what it made before: that is what
lets a run resume in the middle of an epoch, with any number of workers, and see the same data.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from viseme.core import media
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.data.shards import RATE, packed_place, read_packed
from viseme.core.errors import DataError, MediaError, VisemeError
from viseme.core.types import Audio, Clip, Video

__all__ = ["ClipDataset", "Item", "item_generator"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Item(Generic[T]):
    """One item of a batch.

    Attributes:
        row: the clip's row in the manifest (of the clip that stands in, if one does).
        value: what the transform made of it.
        replaced: (id, reason) of each clip that could not be used and that this one stands in for.
    """

    row: ManifestRow
    value: T
    replaced: tuple[tuple[str, str], ...] = ()


def item_generator(seed: int, epoch: int, clip: int) -> torch.Generator:
    """The source of all random draws for one clip in one epoch."""
    state = np.random.SeedSequence((seed, epoch, clip)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))  # manual_seed takes 63 bits


class ClipDataset(Dataset, Generic[T]):
    """The clips of a manifest.

    Indexed with a number, or with `(number, epoch)` as `BatchSampler` gives them.

    A clip that cannot be read or transformed (any `VisemeError`): with `on_error="replace"` (training) it is
    reported in the log, once per worker, and the nearest clip that is not longer stands in for it, which the item
    says (`Item.replaced`); when 20 in a row fail, the data set is broken and it raises. With `on_error="raise"`
    (evaluation) the error goes up to the caller, who names the clip in the results.

    The cache keeps decoded clips as grey uint8 frames and int16 samples in this process: a second of 96x96 video
    takes 0.23 MB and one of sound 0.03 MB, so 1500 clips of 3 s take 1.2 GB. Fill it (`fill_cache`) before loader
    workers start and they share it (where they are forked); otherwise each fills its own. Clips beyond
    `cache_bytes` are decoded anew each time.

    Args:
        manifest: the clips; frames at 25 fps and samples at `rate`, as preparation leaves them (others are
            converted).
        transform: makes the item's value of (clip, row, generator).
        video, audio: which streams to read; one that a file lacks is a `MediaError`.
        gray: read frames as grey (T, H, W); otherwise RGB, and the cache keeps RGB.
        rate: sampling rate in Hz.
        seed: of every draw.
        on_error: `replace` or `raise`.
        cache_bytes: memory for decoded clips; 0 keeps none.
    """

    def __init__(
        self,
        manifest: Manifest,
        transform: Callable[[Clip, ManifestRow, torch.Generator], T],
        *,
        video: bool = True,
        audio: bool = True,
        gray: bool = True,
        rate: int = 16000,
        seed: int = 0,
        on_error: str = "raise",
        cache_bytes: int = 0,
    ) -> None:
        if on_error not in ("raise", "replace"):
            raise ValueError(f"on_error must be 'raise' or 'replace', got {on_error!r}")
        if not len(manifest):
            raise DataError("no clips in the data set")
        self.manifest, self.transform = manifest, transform
        self.video, self.audio, self.gray, self.rate = video, audio, gray, rate
        self.seed, self.on_error, self.cache_bytes = seed, on_error, cache_bytes
        self._cache: dict[int, _Stored] = {}
        self._cached_bytes = 0
        self._reported: set[int] = set()
        self._by_length: list[int] | None = None

    _GIVE_UP_AFTER = 20

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, key: int | tuple[int, int]) -> Item[T]:
        clip, epoch = key if isinstance(key, tuple) else (key, 0)
        if self.on_error == "raise":
            return self._make(clip, epoch)
        replaced: list[tuple[str, str]] = []
        for candidate in self._candidates(clip):
            try:
                return replace(self._make(candidate, epoch), replaced=tuple(replaced))
            except VisemeError as error:
                replaced.append((self.manifest[candidate].id, str(error)))
                if candidate not in self._reported:
                    self._reported.add(candidate)
                    _log.warning("clip %s cannot be used: %s", *replaced[-1])
            if len(replaced) == self._GIVE_UP_AFTER:
                break
        raise DataError(
            f"none of {len(replaced)} clips that were tried one after the other can be used",
            got=f"{replaced[0][0]}: {replaced[0][1]}",
            hint="Check where the manifest's paths point.",
        )

    def _make(self, clip: int, epoch: int) -> Item[T]:
        row = self.manifest[clip]
        return Item(row, self.transform(self.load(clip), row, item_generator(self.seed, epoch, clip)))

    def _candidates(self, clip: int) -> Iterator[int]:
        """The clip, then those not longer than it from the nearest down, then the longer ones from the nearest up."""
        yield clip
        if self._by_length is None:
            lengths = self.manifest.lengths()
            self._by_length = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
        at = self._by_length.index(clip)
        yield from self._by_length[:at][::-1]
        yield from self._by_length[at + 1 :]

    # ------------------------------------------------------------------------------------------------ reading

    def load(self, clip: int) -> Clip:
        """A clip's decoded streams, from the cache if it is there.

        Raises:
            MediaError: unreadable, or a stream that was asked for is missing or empty.
        """
        stored = self._cache.get(clip)
        if stored is None:
            stored = self._decode(clip)
            self._keep(clip, stored)
        return stored.clip(self.manifest[clip].id)

    def _keep(self, clip: int, stored: _Stored) -> None:
        if self._cached_bytes + stored.nbytes <= self.cache_bytes:
            self._cache[clip] = stored
            self._cached_bytes += stored.nbytes

    def _decode(self, clip: int) -> _Stored:
        row = self.manifest[clip]
        if packed_place(row.path):
            return self._packed(row)
        start_s = row.start_s or 0.0
        frames, samples, fps = None, None, 25.0
        if self.video:
            path = self.manifest.file(row)
            read = media.read_video(path, fps=fps, gray=self.gray, start_s=start_s, end_s=row.end_s)
            if not len(read.frames):
                raise MediaError("no frames in the clip", path=path)
            frames = read.frames
        if self.audio:
            path = self.manifest.audio_file(row)
            heard = media.read_audio(path, rate=self.rate, start_s=start_s, end_s=row.end_s).samples
            if not len(heard):
                raise MediaError("no samples in the clip", path=path)
            samples = np.clip(np.rint(heard * 32768), -32768, 32767).astype(np.int16) if self.cache_bytes else heard
        return _Stored(frames, samples, fps, self.rate)

    def _packed(self, row: ManifestRow) -> _Stored:
        if self.audio and self.rate != RATE:
            raise DataError(f"clip {row.id!r} is packed at {RATE} Hz", expected=f"{self.rate} Hz")
        frames, samples = read_packed(self.manifest.root, row.path, video=self.video, audio=self.audio, gray=self.gray)
        if any(stream is not None and not len(stream) for stream in (frames, samples)):
            raise DataError(f"clip {row.id!r} is empty", path=self.manifest.file(row))
        return _Stored(frames, samples, 25.0, self.rate)

    def fill_cache(self, *, threads: int | None = None, progress: Callable[[int, int], Any] | None = None) -> int:
        """Decode clips into the cache until it is full; call it before the loader's workers start.

        Args:
            threads: decoders at work; all cores by default.
            progress: called with (clips done, clips in all).

        Returns:
            How many clips the cache now holds. Clips that cannot be read are left for `__getitem__` to report.
        """

        full = False

        def decode(clip: int) -> _Stored | None:
            try:
                return None if full or clip in self._cache else self._decode(clip)
            except VisemeError as error:
                _log.debug("not cached: %s", error)
                return None

        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for clip, stored in enumerate(pool.map(decode, range(len(self)))):
                if stored is not None:
                    self._keep(clip, stored)
                    full = clip not in self._cache
                if progress is not None:
                    progress(clip + 1, len(self))
        return len(self._cache)

    def __getstate__(self) -> dict[str, Any]:  # a spawned worker starts with an empty cache instead of a copy
        return {**vars(self), "_cache": {}, "_cached_bytes": 0}


@dataclass(frozen=True)
class _Stored:
    """A decoded clip as it is kept: samples are int16 in a cache (what flac and most corpora hold), else as
    decoded."""

    frames: np.ndarray | None
    samples: np.ndarray | None
    fps: float
    rate: int

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (self.frames, self.samples) if x is not None)

    def clip(self, name: str) -> Clip:
        samples = self.samples
        if samples is not None and samples.dtype == np.int16:
            samples = samples.astype(np.float32) / 32768
        return Clip(
            None if self.frames is None else Video(self.frames, self.fps),
            None if samples is None else Audio(samples, self.rate),
            name,
        )
