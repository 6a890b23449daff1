"""Training data of captioner and vocoder: manifests of images with spoken captions, files of units, batches.

A manifest's row is one spoken caption: `path` its image, `audio` its sound, `text` what it says; `extra` may name its
published unit file (`units`), its image (`image`) and all written captions of that (`references`, one a line).
B images, L tokens, S samples, T units (one a frame).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from viseme.core.data import BatchSampler, ClipLoader, Manifest, ManifestRow, item_generator
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.files import write_text_atomic
from viseme.core.media import read_audio
from viseme.im2speech.images import clip_pixels, read_image, square_pixels
from viseme.im2speech.published import read_unit_file
from viseme.im2speech.tokens import UnitTokens

__all__ = [
    "CaptionBatch",
    "CaptionDataset",
    "CaptionItem",
    "DataConfig",
    "SegmentDataset",
    "collate",
    "fixed_batches",
    "pixels_for",
    "prepare_list",
    "read_list",
    "recordings",
    "read_units",
    "write_units",
]

RATE = 16000
_log = logging.getLogger(__name__)


@dataclass
class DataConfig:
    """The Hydra group `data`.

    Attributes:
        root_dir: folder of the manifests, or of the published layout.
        kind: `manifest`, or `published` (SpokenCOCO, Flickr8k Audio and Karpathy's split below `root_dir`).
        train_file, val_file, test_file: manifests below `root_dir` (or paths).
        train_split, val_split, test_split: which rows of them; of `published`, which list.
        test_data: of `published`: `coco` or `flickr`.
        units_file: units by clip (`id|u1 u2 ...`) below `root_dir`; null takes each row's own unit file.
        batch_size: captions of a batch.
        num_workers: processes that read.
        cache_images: keep scaled images in memory.
        codes_file: image tokens below `root_dir` (`im2speech codes`), instead of pictures.
    """

    root_dir: str = "."
    kind: str = "manifest"
    train_file: str = "manifest.csv"
    val_file: str | None = "manifest.csv"
    test_file: str | None = "manifest.csv"
    train_split: str = "train"
    val_split: str = "val"
    test_split: str = "test"
    test_data: str = "coco"
    units_file: str | None = "units.txt"
    batch_size: int = 16
    num_workers: int = 5
    cache_images: bool = False
    codes_file: str | None = None


def read_list(config: DataConfig, part: str) -> Manifest:
    """The captions of `train`, `val` or `test`.

    Raises:
        DataError: no such list, or nothing in it.
    """
    split = getattr(config, f"{part}_split")
    if config.kind == "published":
        from viseme.core.data.corpora.spoken_captions import scan

        return scan(config.root_dir, split, test_data=config.test_data)
    if config.kind != "manifest":
        raise ConfigError("no such kind of data", expected="manifest | published", got=config.kind)
    name = getattr(config, f"{part}_file")
    if not name:
        raise ConfigError(f"no list to {part} on", expected=f"data.{part}_file")
    manifest = Manifest.read(below(config.root_dir, name))
    return manifest.filter(split=split) if split else manifest


def prepare_list(source: str | Path, out: str | Path, dataset: str, *, language: str = "fr") -> Manifest:
    """Write the manifest of a corpus: `published`, or `tuxpaint` in a language.

    Raises:
        DataError: not such a corpus.
    """
    from viseme.core.data.corpora import spoken_captions, tuxpaint

    if dataset == "tuxpaint":
        manifest = tuxpaint.scan(source, language)
    else:
        rows = [row for split in ("train", "val", "test") for row in spoken_captions.scan(source, split)]
        flickr = spoken_captions.scan(source, "test", test_data="flickr")
        manifest = Manifest([*rows, *(replace(row, split="test_flickr") for row in flickr)], source)
    manifest.with_root(Path(out).parent).write(out)
    return manifest


def below(root: str, name: str) -> Path:
    """A file as it is named, or below a folder."""
    return Path(name) if Path(name).is_file() else Path(root) / name


def recordings(manifest: Manifest) -> list[ManifestRow]:
    """Each recording once, by its first row: several pictures may share one."""
    first: dict[Path, ManifestRow] = {}
    for row in manifest:
        first.setdefault(manifest.audio_file(row), row)
    return list(first.values())


# ---------------------------------------------------------------------------------------------------------- units


def read_units(path: str | Path) -> dict[str, np.ndarray]:
    """Units by clip of a text file, `id|u1 u2 u3 ...` a line, as the GSLM tools write them.

    Raises:
        DataError: no such file, a line of another form, or a clip twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("not a readable file of units", path=path, got=str(error)) from error
    found: dict[str, np.ndarray] = {}
    for number, line in enumerate(lines, start=1):
        name, bar, numbers = line.rpartition("|")
        try:
            units = np.array([int(word) for word in numbers.split()], dtype=np.int64)
        except (ValueError, OverflowError):
            bar = ""
        if not bar:
            raise DataError(f"line {number} of the units", path=path, expected="id|u1 u2 ...", got=line[:60])
        if name in found:
            raise DataError(f"line {number}: a clip's units given twice", path=path, got=name)
        found[name] = units
    return found


def write_units(path: str | Path, units: Mapping[str, Iterable[int]]) -> None:
    """What `read_units` reads; all of it or nothing."""
    out = io.StringIO()
    for name, values in units.items():
        out.write(f"{name}|{' '.join(str(int(value)) for value in values)}\n")
    write_text_atomic(path, out.getvalue())


def units_of(manifest: Manifest, config: DataConfig) -> Callable[[ManifestRow], Sequence[int]]:
    """Where a clip's units come from.

    Raises (when called):
        DataError: a clip without units.
        CheckpointError: an unreadable unit file.
    """
    if config.units_file:
        path = below(config.root_dir, config.units_file)
        book = read_units(path)

        def from_book(row: ManifestRow) -> Sequence[int]:
            if row.id not in book:
                raise DataError("a clip without units", path=path, got=row.id, hint="im2speech units extracts them.")
            return book[row.id]

        return from_book

    def from_file(row: ManifestRow) -> Sequence[int]:
        if "units" not in row.extra:
            raise DataError("a clip without a unit file", got=row.id, hint="Give data.units_file.")
        return read_unit_file(manifest.root / row.extra["units"])

    return from_file


# -------------------------------------------------------------------------------------------------------- captions


@dataclass(frozen=True, eq=False)
class CaptionItem:
    """An image as the network takes it, the token ids of a spoken caption, its name, and its row."""

    image: Tensor
    tokens: list[int]
    name: str
    row: int


class CaptionBatch(TypedDict):
    """Images (B, ...), tokens (B, L) int64 padded with 0, lengths (B,), names, rows."""

    images: Tensor
    tokens: Tensor
    lengths: Tensor
    names: list[str]
    rows: list[int]


def collate(items: Sequence[CaptionItem]) -> CaptionBatch:
    """Items as a batch.

    Raises:
        DataError: none.
    """
    if not items:
        raise DataError("a batch without captions")
    tokens = [torch.tensor(item.tokens, dtype=torch.long) for item in items]
    return {
        "images": torch.stack([item.image for item in items]),
        "tokens": torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True),
        "lengths": torch.tensor([len(row) for row in tokens]),
        "names": [item.name for item in items],
        "rows": [item.row for item in items],
    }


def pixels_for(image_side: str, size: int) -> Callable[[np.ndarray], Tensor]:
    """How an (H, W, 3) uint8 picture is made ready for a captioner of `pixels` or `codes`."""
    scale = clip_pixels if image_side == "pixels" else square_pixels
    return lambda image: scale(image, size)


class CaptionDataset(Dataset):
    """Captions whose units are known and not too long, in the manifest's order.

    An image that cannot be read is reported once and the next caption stands in for it.

    Args:
        manifest: the captions.
        units: units of a row.
        prepare: picture -> what the network takes.
        tokens: numbering of units.
        max_tokens: longer captions are left out, as published.
        cache: keep prepared images.
        codes: image tokens by picture, instead of the pictures themselves.

    Raises:
        DataError: no caption is left.
    """

    _GIVE_UP_AFTER = 20

    def __init__(
        self,
        manifest: Manifest,
        units: Callable[[ManifestRow], Sequence[int]],
        prepare: Callable[[np.ndarray], Tensor],
        tokens: UnitTokens,
        *,
        max_tokens: int = 1024,
        cache: bool = False,
        codes: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.manifest, self.prepare, self.codes = manifest, prepare, codes
        self.targets: list[list[int]] = []
        self.rows: list[int] = []
        self.skipped: dict[str, str] = {}
        for number, row in enumerate(manifest):
            try:
                target = tokens.target(units(row))
            except VisemeError as error:
                self.skipped[row.id] = str(error)
                continue
            if len(target) > max_tokens or len(target) < 3:
                self.skipped[row.id] = f"{len(target)} tokens, expected 3 .. {max_tokens}"
                continue
            self.rows.append(number)
            self.targets.append(target)
        if self.skipped:
            first, reason = next(iter(self.skipped.items()))
            _log.warning(
                "%d of %d captions left out; the first: %s: %s", len(self.skipped), len(manifest), first, reason
            )
        if not self.rows:
            raise DataError("no usable captions", path=manifest.root, got=next(iter(self.skipped.values()), "none"))
        self._cache: dict[str, Tensor] | None = {} if cache else None
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, row: ManifestRow) -> Tensor:
        """The prepared image of a row.

        Raises:
            MediaError: it cannot be read.
            DataError: no image tokens of it.
        """
        if self.codes is not None:
            if row.path not in self.codes:
                raise DataError("a picture without image tokens", got=row.path, hint="im2speech codes makes them.")
            return self.codes[row.path]
        if self._cache is not None and row.path in self._cache:
            return self._cache[row.path]
        image = self.prepare(read_image(self.manifest.file(row)))
        if self._cache is not None:
            self._cache[row.path] = image
        return image

    def __getitem__(self, key: int | tuple[int, int]) -> CaptionItem:
        first = key[0] if isinstance(key, tuple) else key
        for step in range(self._GIVE_UP_AFTER):
            number = (first + step) % len(self)
            row = self.manifest[self.rows[number]]
            try:
                return CaptionItem(self.image(row), self.targets[number], row.id, self.rows[number])
            except VisemeError as error:
                reason = error
                if row.path not in self._reported:
                    self._reported.add(row.path)
                    _log.warning("left out: %s", error)
        raise DataError(f"{self._GIVE_UP_AFTER} pictures in a row cannot be read", got=str(reason)) from reason


def fixed_batches(
    dataset: Dataset,
    collate: Callable[[list[Any]], Any],
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> ClipLoader:
    """Batches of so many items, in a new order each epoch, whose place in the epoch a checkpoint keeps."""
    sampler = BatchSampler(
        [1] * len(dataset),  # type: ignore[arg-type]  # without regard to length, as published
        batch_size,
        shuffle=shuffle,
        seed=seed,
        rank=rank,
        world_size=world_size,
    )
    return ClipLoader(dataset, sampler, collate, workers=workers)


# -------------------------------------------------------------------------------------------------- vocoder segments


class SegmentDataset(Dataset):
    """Random stretches of recordings with their units: ((T,) int64, (S,) float32), S = T * hop.

    Args:
        manifest: recordings.
        units: units of a row, one each `hop` samples, with repeats.
        segment_units: T.
        hop: samples of a unit.
        seed: of the draws.
        peak: recordings are scaled to this peak, as published.

    Raises:
        DataError: no recording is long enough.
    """

    def __init__(
        self,
        manifest: Manifest,
        units: Callable[[ManifestRow], Sequence[int]],
        *,
        segment_units: int = 28,
        hop: int = 320,
        seed: int = 0,
        peak: float = 0.95,
    ) -> None:
        self.segment_units, self.hop, self.seed = segment_units, hop, seed
        self.clips: list[tuple[Tensor, Tensor]] = []
        skipped: list[str] = []
        for row in recordings(manifest):
            try:
                sequence = torch.as_tensor(np.asarray(units(row)), dtype=torch.long)
                samples = read_audio(manifest.audio_file(row), rate=RATE).samples
            except VisemeError as error:
                skipped.append(str(error))
                continue
            frames = min(len(sequence), len(samples) // hop)
            if frames < segment_units:
                skipped.append(f"{row.id}: {frames} units")
                continue
            loudest = float(np.abs(samples).max()) or 1.0
            scaled = torch.from_numpy((samples[: frames * hop] * (peak / loudest * 32767)).astype(np.int16))
            self.clips.append((sequence[:frames], scaled))
        if skipped:
            _log.warning("%d recordings left out; the first: %s", len(skipped), skipped[0])
        if not self.clips:
            raise DataError(
                "no recording is long enough to train a vocoder on",
                path=manifest.root,
                expected=f"at least {segment_units} units",
            )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        number, epoch = key if isinstance(key, tuple) else (key, 0)
        units_T, samples_S = self.clips[number]
        limit = len(units_T) - self.segment_units + 1
        start = int(torch.randint(limit, (1,), generator=item_generator(self.seed, epoch, number)))
        stop = start + self.segment_units
        return units_T[start:stop], samples_S[start * self.hop : stop * self.hop].float() / 32767

    @staticmethod
    def collate(items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """(B, T) units and (B, 1, S) samples."""
        return torch.stack([units for units, _ in items]), torch.stack([wave for _, wave in items])[:, None]


def references_of(manifest: Manifest) -> Iterator[tuple[ManifestRow, list[str]]]:
    """Each image once, by its first row, with all written captions that are known of it."""
    texts: dict[str, list[str]] = {}
    first: dict[str, ManifestRow] = {}
    for row in manifest:
        first.setdefault(row.path, row)
        known = [line for line in row.extra.get("references", "").split("\n") if line]
        texts.setdefault(row.path, []).extend(known or ([row.text] if row.text else []))
    for path, row in first.items():
        yield row, list(dict.fromkeys(texts[path]))
