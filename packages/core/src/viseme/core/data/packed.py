"""Packed stores: many clips to a file, for data sets whose single files would choke a file system.

`shards/00000.safetensors`, ... hold frames and samples (see `shards`), `manifest.csv` is a manifest like any other
whose paths point into the shards, `index.csv` has a checksum of every array and `index.sha256` one of the index.
T frames, S samples.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from viseme.core import media
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.data.shards import MARK, RATE, Shard, digest, open_shard
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.files import atomic_path, write_text_atomic

__all__ = ["PackReport", "VerifyReport", "pack", "verify"]

FPS = 25.0
_COLUMNS = ["id", "shard", "frames_blake2b", "samples_blake2b"]


@dataclass(frozen=True)
class PackReport:
    """What `pack` made: the packed store's manifest, id -> reason of the clips left out (also in `failures.csv`), and
    the number of shards, of which `reused` were there."""

    manifest: Manifest
    failures: dict[str, str]
    shards: int
    reused: int


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found: clips checked, id -> what is wrong, and the ids that were made good again."""

    clips: int
    damaged: dict[str, str]
    repaired: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return set(self.damaged) <= set(self.repaired)


@dataclass(frozen=True)
class _Plan:
    """How a store is packed; kept in `pack.json`."""

    source: str
    gray: bool
    shard_bytes: int


@dataclass(frozen=True, eq=False)
class _Clip:
    row: ManifestRow
    frames: np.ndarray | None
    samples: np.ndarray | None


def pack(
    source: Manifest | str | Path,
    out: str | Path,
    *,
    gray: bool = True,
    shard_mb: int = 256,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Pack a prepared store into shards. Resumable: finished shards are kept.

    Args:
        source: a prepared store (its folder), its manifest's file, or the manifest.
        out: folder of the packed store.
        gray: frames as grey, a third of the size; what grey reading of the single files would give, to the bit.
        shard_mb: megabytes of a shard.
        workers: decoders at work; all cores by default.
        progress: called with (clips done, clips in all).

    Raises:
        ConfigError: `out` is packed from another source or otherwise.
        DataError: no usable clip.
    """
    manifest, out = _read(source), Path(out)
    plan = _Plan(os.path.relpath(_manifest_file(source, manifest), out), gray, shard_mb * 10**6)
    _claim(plan, out / "pack.json")
    batches = list(_batches(manifest, plan))
    rows: list[ManifestRow] = []
    failures: dict[str, str] = {}
    reused = done = 0
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for number, batch in enumerate(batches):
            place = out / "shards" / f"{number:05d}.safetensors"
            if (kept := _finished(place, batch)) is not None:
                reused += 1
            else:
                clips = list(pool.map(lambda row: _load(manifest, row, gray), batch))
                failures |= {row.id: clip for row, clip in zip(batch, clips) if isinstance(clip, str)}
                kept = _write(place, [clip for clip in clips if isinstance(clip, _Clip)])
            rows += kept
            done += len(batch)
            if progress is not None:
                progress(done, len(manifest))
    _write_failures(out / "failures.csv", failures)
    if not rows:
        reason = next(iter(failures.values()))
        raise DataError("no clip could be packed", path=out / "failures.csv", got=f"{reason} ({len(failures)} clips)")
    packed = Manifest(rows, out)
    packed.write(out / "manifest.csv")
    _write_index(out, len(batches))
    return PackReport(packed, failures, len(batches), reused)


def verify(store: str | Path, *, repair: bool = False, source: str | Path | None = None) -> VerifyReport:
    """Check every array of a packed store against its checksum.

    Args:
        store: folder of the packed store.
        repair: rebuild damaged clips from the store they were packed from.
        source: where that is now, if it has moved.

    Raises:
        DataError: not a packed store, its index is damaged (pack again), or repair is wanted and the source is gone.
    """
    store = Path(store)
    index = _read_index(store)
    damaged: dict[str, str] = {}
    shards = sorted({entry["shard"] for entry in index})
    for name in shards:
        entries = [entry for entry in index if entry["shard"] == name]
        try:
            shard: Shard | None = Shard(store / name)
            broken = ""
        except DataError as error:
            shard, broken = None, str(error)
        for entry in entries:
            if reason := broken or _difference(shard, entry):
                damaged[entry["id"]] = reason
    repaired: list[str] = []
    if repair and damaged:
        repaired = _repair(store, index, damaged, source)
    return VerifyReport(len(index), damaged, tuple(repaired))


# ------------------------------------------------------------------------------------------------ reading


def _read(source: Manifest | str | Path) -> Manifest:
    if isinstance(source, Manifest):
        return source
    path = Path(source)
    return Manifest.read(path / "manifest.csv" if path.is_dir() else path)


def _manifest_file(source: Manifest | str | Path, manifest: Manifest) -> Path:
    if isinstance(source, Manifest):
        return manifest.root / "manifest.csv"
    return Path(source) / "manifest.csv" if Path(source).is_dir() else Path(source)


def _load(manifest: Manifest, row: ManifestRow, gray: bool) -> _Clip | str:
    """A clip's arrays, or why there are none."""
    frames = samples = None
    try:
        if row.frames != 0:
            start_s = row.start_s or 0.0
            frames = media.read_video(manifest.file(row), fps=FPS, gray=gray, start_s=start_s, end_s=row.end_s).frames
        if row.samples is None or row.samples > 0:
            heard = media.read_audio(
                manifest.audio_file(row), rate=RATE, start_s=row.start_s or 0.0, end_s=row.end_s
            ).samples
            samples = np.clip(np.rint(heard * 32768), -32768, 32767).astype(np.int16)
    except VisemeError as error:
        return str(error)
    if frames is None and samples is None:
        return "neither frames nor sound"
    return _Clip(row, frames, samples)


def _batches(manifest: Manifest, plan: _Plan) -> Iterator[list[ManifestRow]]:
    """Rows by shard, in order, from the sizes that the manifest states (a mouth crop of 96 x 96)."""
    batch: list[ManifestRow] = []
    size = 0
    for row in manifest:
        need = (row.frames or 0) * 96 * 96 * (1 if plan.gray else 3) + 2 * (row.samples or 0)
        if batch and size + need > plan.shard_bytes:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += need
    if batch:
        yield batch


# ------------------------------------------------------------------------------------------------ writing


def _claim(plan: _Plan, path: Path) -> None:
    mine = asdict(plan)
    if not path.exists():
        write_text_atomic(path, json.dumps(mine, indent=1) + "\n")
        return
    theirs = json.loads(path.read_text(encoding="utf-8"))
    if mine != theirs:
        hint = "Give the same options, or another folder."
        raise ConfigError("packed from another source or otherwise", path=path, expected=theirs, got=mine, hint=hint)


def _write(place: Path, clips: Sequence[_Clip]) -> list[ManifestRow]:
    """Write a shard and its part of the index; returns the packed rows."""
    rows = [_packed_row(place, clip) for clip in clips]
    arrays = {
        f"{clip.row.id}/{what}": np.ascontiguousarray(array)
        for clip in clips
        for what, array in (("frames", clip.frames), ("samples", clip.samples))
        if array is not None
    }
    try:
        with atomic_path(place) as temporary:
            save_file(arrays, temporary, {row.id: json.dumps(asdict(row)) for row in rows})
    except (OSError, SafetensorError) as error:
        hint = "Make room and run again: finished shards are kept."
        raise VisemeError("the shard cannot be written", path=place, got=str(error), hint=hint) from error
    entries = [
        [clip.row.id, f"shards/{place.name}", *("" if a is None else digest(a) for a in (clip.frames, clip.samples))]
        for clip in clips
    ]
    # last, since it says that the shard is finished
    write_text_atomic(place.with_suffix(".csv"), _table([_COLUMNS, *entries]))
    open_shard.cache_clear()
    return rows


def _packed_row(place: Path, clip: _Clip) -> ManifestRow:
    packed = f"shards/{place.stem}{MARK}{clip.row.id}"
    frames, samples = clip.frames, clip.samples
    return replace(
        clip.row,
        path=packed,
        audio="",
        frames=0 if frames is None else len(frames),
        fps=None if frames is None else FPS,
        samples=0 if samples is None else len(samples),
        rate=None if samples is None else RATE,
        start_s=None,
        end_s=None,
    )


def _finished(place: Path, batch: Sequence[ManifestRow]) -> list[ManifestRow] | None:
    """Rows of a shard that an earlier run finished from these very clips; None if it must be made."""
    if not place.with_suffix(".csv").is_file():
        return None
    try:
        shard = Shard(place)
        rows = [ManifestRow(**json.loads(shard.rows[clip])) for clip in shard.clips]
        order = {row.id: number for number, row in enumerate(batch)}
        if {row.id for row in rows} != set(order):
            return None
        return sorted(rows, key=lambda row: order[row.id])
    except (DataError, ValueError, TypeError):
        return None


def _table(rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _write_failures(path: Path, failures: dict[str, str]) -> None:
    write_text_atomic(path, _table([["id", "reason"], *([name, why] for name, why in failures.items())]))


def _write_index(out: Path, shards: int) -> None:
    """The parts of all shards as one table, and its checksum as `sha256sum` writes it."""
    parts = [(out / "shards" / f"{number:05d}.csv").read_text(encoding="utf-8") for number in range(shards)]
    text = parts[0] + "".join(part.split("\n", 1)[1] for part in parts[1:])
    write_text_atomic(out / "index.csv", text)
    write_text_atomic(out / "index.sha256", f"{hashlib.sha256(text.encode()).hexdigest()}  index.csv\n")


# ------------------------------------------------------------------------------------------------ checking


def _read_index(store: Path) -> list[dict[str, str]]:
    try:
        text = (store / "index.csv").read_bytes().decode("utf-8")
        stated = (store / "index.sha256").read_text(encoding="utf-8").split()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise DataError("not a packed store", path=store, expected="index.csv and index.sha256") from error
    if hashlib.sha256(text.encode()).hexdigest() != stated:
        raise DataError("the index is damaged", path=store / "index.csv", hint="Pack the store again.")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _difference(shard: Shard | None, entry: dict[str, str]) -> str:
    """What is wrong with a clip; empty if nothing is."""
    assert shard is not None
    for what in ("frames", "samples"):
        try:
            array = shard.get(entry["id"], what)
        except DataError as error:
            return str(error)
        if ("" if array is None else digest(array)) != entry[f"{what}_blake2b"]:
            return f"its {what} are not what was packed (checksum)"
    return ""


def _repair(
    store: Path, index: Sequence[dict[str, str]], damaged: dict[str, str], source: str | Path | None
) -> list[str]:
    """Write the shards with damaged clips again: sound clips from the shard, damaged ones from the source."""
    plan = _Plan(**json.loads((store / "pack.json").read_text(encoding="utf-8")))
    origin = _read(source if source is not None else store / plan.source)
    originals = {row.id: row for row in origin}
    packed = {row.id: row for row in Manifest.read(store / "manifest.csv")}
    for name in sorted({entry["shard"] for entry in index if entry["id"] in damaged}):
        clips: list[_Clip] = []
        for clip_id in (entry["id"] for entry in index if entry["shard"] == name):
            if clip_id not in damaged:
                shard = Shard(store / name)
                clips.append(_Clip(packed[clip_id], shard.get(clip_id, "frames"), shard.get(clip_id, "samples")))
                continue
            if clip_id not in originals:
                raise DataError("a damaged clip is not in the source any more", path=origin.root, got=clip_id)
            clip = _load(origin, originals[clip_id], plan.gray)
            if isinstance(clip, str):
                raise DataError(f"clip {clip_id!r} cannot be packed again", path=origin.root, got=clip)
            clips.append(clip)
        _write(store / name, clips)
    _write_index(store, len({entry["shard"] for entry in index}))
    return sorted(damaged)
