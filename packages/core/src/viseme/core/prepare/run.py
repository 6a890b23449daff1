"""A whole corpus: from a manifest or a folder of videos to a prepared store."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from viseme.core.data import Manifest, ManifestRow, cut_long
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.faces import CropVariant
from viseme.core.files import only_run, write_text_atomic
from viseme.core.prepare.clip import FACE_COLUMNS
from viseme.core.prepare.journal import ClipRecord, Journal, source_mark
from viseme.core.prepare.lists import write_face_lists, write_lip_centres
from viseme.core.prepare.options import PrepareOptions, crop_names
from viseme.core.prepare.pool import run_jobs
from viseme.core.prepare.ray_pool import run_jobs_on_ray
from viseme.core.prepare.report import write_report
from viseme.core.prepare.sheet import contact_sheet
from viseme.core.prepare.sync import load_estimator
from viseme.core.prepare.worker import Job

__all__ = ["PrepareReport", "prepare"]

_HOPELESS = 20
"""Failures in a row, with no success before them, from which it is taken that everything fails."""


@dataclass(frozen=True)
class PrepareReport:
    """What a run of `prepare` left behind.

    Attributes:
        manifest: the store's manifest.
        failures: id -> reason of the clips that could not be prepared; in `failures.csv` too.
        reused: clips that an earlier run had prepared.
        frames: video frames in the store; `frames / 25` seconds.
        store, manifest_file, failures_file, contact_sheet, report: where things are.
    """

    manifest: Manifest
    failures: dict[str, str]
    reused: int
    store: Path
    manifest_file: Path
    failures_file: Path
    contact_sheet: Path
    report: Path

    @property
    def frames(self) -> int:
        return sum(row.frames or 0 for row in self.manifest)


def prepare(
    source: Manifest | str | Path,
    out: str | Path,
    *,
    crops: str | Sequence[str] = ("mouth",),
    variant: CropVariant = "mediapipe",
    stride: int = 8,
    mesh_stride: int = 4,
    face: int | None = None,
    landmarks: str | Path | None = None,
    long_gap_s: float = 1.0,
    min_visible: float = 0.5,
    workers: int | None = None,
    retry_failed: bool = False,
    shard: str | None = None,
    executor: Literal["processes", "ray"] = "processes",
    max_s: float | None = None,
    sync: str | None = None,
    progress: Callable[..., Iterable[ClipRecord]] | None = None,
) -> PrepareReport:
    """Prepare videos for training and reading: mouth crops at 25 fps and sound at 16 kHz, clip by clip.

    One run at a time prepares into a store, or each part of a job array (`shard`) into a shared one.

    The store `out` gets `mouth/<id>.mp4` (96x96 RGB) or whatever crops are asked for, `audio/<id>.flac` (mono, 640
    samples a frame), `manifest.csv`, `failures.csv` (id, path, reason; no id where the corpus' reader left something
    out), `contact_sheet.jpg` and `report.html`. Run again, it goes on where it was stopped, however it was stopped; a
    source file that has changed is prepared again.

    Call it under `if __name__ == "__main__":` in a script, since its workers are fresh processes.

    Args:
        source: a manifest, its file (.csv, .parquet), a folder of videos, or one video.
        out: folder of the store.
        crops: which crops, all cut in one pass: `mouth`, `mouth68`, `lips`, `face` (see `prepare.crops`; `FOR` says
            which package trains on which). The manifest's `path` is the first; the others are in columns
            `<crop>_path`.
        variant: mouth crop by four points (`mediapipe`) or by 68 (`retinaface`); see `faces.MouthCropper`.
        stride: frames between face detections.
        mesh_stride: frames between landmarks; in between the face is followed by optical flow. By default crops lie
            within 1 pixel on average of those with detection and landmarks on every frame.
        face: which face where there are several, 1 the most prominent (largest and longest seen), which is the default.
        landmarks: folder with landmarks of every clip (`<id>.npz`, `.npy`, or the published `.pkl`) to use instead of
            detection; four or 68 points, as `variant` says.
        long_gap_s: gaps of the face are interpolated; clips with a longer one say so in column `longest_gap_frames`.
        min_visible: share of the frames in which the face must be seen.
        workers: processes; all cores by default. 1 works in this process.
        retry_failed: try again what failed in an earlier run.
        shard: `i/n`: prepare only the i-th of n parts (from 1), for arrays of jobs that share the store; each writes
            the manifest of all that is done by then.
        executor: `processes` of this machine, or the `ray` cluster that it belongs to (extra `cluster`).
        max_s: cut recordings without transcript that are longer, at pauses (published: 24 and 16 s); see
            `data.cut_long`.
        sync: a model that estimates by how much sound and picture are apart (see `prepare.sync`): what it is sure of is
            corrected, the rest noted in column `av_sync`.
        progress: passes records through and shows how far they are, called as `progress(records, "preparing",
            total=n)`; such as `viseme.core.cli.progress.track`.

    Raises:
        ConfigError: options that make no sense, a store that was made with others, or one into which another run is
            preparing.
        DataError: nothing to prepare, or everything fails (`failures.csv` says why).
        VisemeError: the disk is full. What was done is kept; run again to go on.
    """
    options = PrepareOptions(
        crops=crop_names(crops),
        variant=variant,
        stride=stride,
        mesh_stride=mesh_stride,
        face=face,
        landmarks=None if landmarks is None else str(Path(landmarks).absolute()),
        long_gap_s=long_gap_s,
        min_visible=min_visible,
        sync=sync,
    )
    if sync is not None:
        load_estimator(sync)  # here, where it stops the run, and not once a clip
    if workers is not None and workers < 1:
        raise ConfigError("workers start at 1", got=workers)
    part, parts = _shard(shard)
    store = Path(out)
    clips = _manifest(source, store)
    if max_s is not None:
        clips = cut_long(clips, max_s, workers=workers)
    if not len(clips):
        raise DataError("there is nothing to prepare", path=clips.root)
    _make_folder(store)
    with only_run(store / ".prepare" / "lock", "preparing", shared=parts > 1), _part_alone(store, part, parts):
        return _run(clips, store, options, executor, workers, part, parts, retry_failed, progress)


def _run(
    clips: Manifest,
    store: Path,
    options: PrepareOptions,
    executor: str,
    workers: int | None,
    part: int,
    parts: int,
    retry_failed: bool,
    progress: Callable[..., Iterable[ClipRecord]] | None,
) -> PrepareReport:
    """The run itself, which has the store (or its part of it) to itself."""
    journal = Journal(store)
    options.claim(journal.options_file)
    journal.sweep()
    jobs = [_job(clips, row, store.absolute(), options) for row in clips]
    records = _reusable(journal, jobs, retry_failed)
    reused = sum(record.status == "done" for record in records.values())
    todo = [job for job in jobs[part - 1 :: parts] if job.row.id not in records]
    if executor == "ray":
        results = run_jobs_on_ray(todo, workers)
    else:
        results = run_jobs(todo, min(workers or _cores(), max(1, len(todo))))
    for record in results if progress is None else progress(results, "preparing", total=len(todo)):
        if record.status == "stopped":
            raise _disk_full(store, record.reason)
        records[record.id] = record
        if len(records) - reused >= _HOPELESS and all(record.status == "failed" for record in records.values()):
            break
    try:
        while True:
            report = _finish(clips, records, store, reused, options)
            if parts == 1:
                return report
            others = _reusable(journal, jobs, retry_failed=False)
            if others.keys() <= records.keys():
                return report
            records = others | records  # another part has gone on since: the last to finish lists everything
    except OSError as error:
        raise _disk_full(store, str(error)) from error


def _shard(shard: str | None) -> tuple[int, int]:
    """Which part of how many."""
    if shard is None:
        return 1, 1
    part, slash, parts = shard.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise ConfigError("no such shard", expected="i/n with i from 1 to n, such as 3/16", got=shard)
    return int(part), int(parts)


def _disk_full(store: Path, reason: str) -> VisemeError:
    hint = "Make room and run again: nothing done is lost."
    return VisemeError("the disk is full or cannot be written", path=store, got=reason, hint=hint)


def _manifest(source: Manifest | str | Path, out: Path) -> Manifest:
    if isinstance(source, Manifest):
        return source
    path = Path(source)
    if path.suffix in (".csv", ".parquet"):
        return Manifest.read(path)
    if path.is_file():
        return Manifest([ManifestRow(path.stem, path.name)], path.parent)
    from viseme.core.data.corpora import folder

    found, inside = folder.scan(path), out.absolute()
    # a store below the folder of its videos is no source
    rows = [row for row in found if not found.file(row).absolute().is_relative_to(inside)]
    return Manifest(rows, found.root, skipped=found.skipped)


def _job(clips: Manifest, row: ManifestRow, store: Path, options: PrepareOptions) -> Job:
    sound = clips.audio_file(row).absolute() if row.audio else None
    return Job(clips.file(row).absolute(), sound, row, store, options)


def _make_folder(store: Path) -> None:
    try:
        (store / ".prepare").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("the store's folder cannot be made", path=store, got=str(error)) from error


def _part_alone(store: Path, part: int, parts: int) -> AbstractContextManager[None]:
    """Parts of a job array share the store, but each is prepared by one run."""
    if parts == 1:
        return nullcontext()
    return only_run(store / ".prepare" / f"lock-{part}-of-{parts}", f"preparing part {part} of {parts}")


def _reusable(journal: Journal, jobs: list[Job], retry_failed: bool) -> dict[str, ClipRecord]:
    """Records of an earlier run that still hold: the source is the same, and the store has the files."""
    earlier, kept = journal.read(), {}
    for job in jobs:
        record = earlier.get(job.row.id)
        if (
            record is None
            or record.mark != source_mark(job.source, job.row)
            or (retry_failed and record.status == "failed")
        ):
            continue
        if record.row is None or all((job.store / name).exists() for name in _files(record.row)):
            kept[job.row.id] = replace(record, row=_relabelled(record.row, job.row))
    return kept


def _files(row: ManifestRow) -> list[str]:
    """What a prepared clip has in the store."""
    crops = [place for name, place in row.extra.items() if name in FACE_COLUMNS and name.endswith("_path")]
    return [place for place in (row.path, row.audio, *crops) if place]


def _relabelled(row: ManifestRow | None, now: ManifestRow) -> ManifestRow | None:
    """A prepared clip's row with what the source manifest says today about anything but the media."""
    if row is None:
        return None
    labels = {name: getattr(now, name) for name in ("text", "speaker", "language", "split", "dataset")}
    return replace(row, **labels, extra=now.extra | {k: v for k, v in row.extra.items() if k in FACE_COLUMNS})


def _finish(
    clips: Manifest, records: dict[str, ClipRecord], store: Path, reused: int, options: PrepareOptions
) -> PrepareReport:
    ended = [records[row.id] for row in clips if row.id in records]
    manifest = Manifest([record.row for record in ended if record.row is not None], store)
    failures = {record.id: record.reason for record in ended if record.status == "failed"}
    _write_failures(clips, failures, store / "failures.csv")
    if not ended:
        raise DataError("this part of the job array has no clips", path=store)
    if not len(manifest):
        reason, times = Counter(failures.values()).most_common(1)[0]
        what = (
            "no clip could be prepared"
            if len(ended) == len(clips)
            else f"stopped, as the first {len(ended)} clips failed"
        )
        raise DataError(what, path=store / "failures.csv", got=f"{reason} ({times} of {len(failures)})")
    manifest.write(store / "manifest.csv")
    if "lips" in options.crops:
        write_lip_centres(manifest, store)
    if "face" in options.crops:
        write_face_lists(manifest, store)
    contact_sheet(manifest, store / "contact_sheet.jpg")
    openings = {record.id: record.opening for record in ended if record.opening}
    write_report(store / "report.html", manifest, failures, openings, asdict(options))
    return PrepareReport(
        manifest=manifest,
        failures=failures,
        reused=reused,
        store=store,
        manifest_file=store / "manifest.csv",
        failures_file=store / "failures.csv",
        contact_sheet=store / "contact_sheet.jpg",
        report=store / "report.html",
    )


def _write_failures(clips: Manifest, failures: dict[str, str], path: Path) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "path", "reason"])
    writer.writerows([row.id, str(clips.file(row)), failures[row.id]] for row in clips if row.id in failures)
    # what the reader of the corpus left out belongs to no clip of the manifest
    writer.writerows(["", name, reason] for name, reason in clips.skipped)
    write_text_atomic(path, out.getvalue())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
