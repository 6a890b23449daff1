"""Videos in, the published training layout out: face crops as pictures, sound beside them, file lists.

    root/<id>/<frame>.jpg   crops by frame id, from 0; frames without a face leave gaps
    root/<id>/audio.wav     16 kHz mono
    root/filelists/{train,val,test}.txt   one id a line

The published programs read it as it is.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from viseme.core.data import Manifest, ManifestRow
from viseme.core.data.corpora import folder
from viseme.core.errors import DataError, FaceError, VisemeError
from viseme.core.faces import FaceTracker, choose_track
from viseme.core.files import atomic_path, write_text_atomic
from viseme.core.media import read_audio, stream_frames, write_audio
from viseme.core.types import Audio
from viseme.wav2lip.boxes import face_path, keep_points

__all__ = ["LIST_OF_SPLIT", "PrepareReport", "prepare_crops"]

FPS = 25.0
RATE = 16000
LIST_OF_SPLIT = {"train": "train", "trainval": "train", "": "train", "pretrain": "train", "val": "val", "test": "test"}
_DONE = "crops.json"
_QUALITY = 95


@dataclass(frozen=True)
class Options:
    """How clips are cropped; a clip made with others is made again."""

    window: int = 7
    face: int | None = None
    max_side_px: int = 256
    min_seen: float = 0.5


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare_crops` did.

    Attributes:
        root: of the layout.
        clips: ids by list.
        failures: reason by id.
        reused: clips that were there.
        frames: crops in all.
    """

    root: Path
    clips: dict[str, list[str]]
    failures: dict[str, str]
    reused: int
    frames: int


def prepare_crops(
    source: str | Path | Manifest,
    root: str | Path,
    *,
    workers: int | None = None,
    face: int | None = None,
    progress: Callable[[Iterable, int], Iterable] | None = None,
) -> PrepareReport:
    """Crop the faces of all clips; resumable at any clip, and one bad clip never stops the others.

    Args:
        source: folder of videos, or manifest. Its splits become the file lists; clips without one are for training.
        root: where to; clips that are there, and made in the same way, are kept.
        workers: processes; None for one per core.
        face: which face of several, from 1, most prominent first.
        progress: wraps the iterable of results with their number.

    Raises:
        DataError: no clip, or none could be prepared.
    """
    manifest = _manifest(source)
    root = Path(root)
    options = Options(face=face)
    jobs = [(row, manifest.file(row)) for row in manifest]
    if not jobs:
        raise DataError("no videos to prepare", path=source if not isinstance(source, Manifest) else None)
    work = partial(_try_clip, root, options)
    found: Iterable = _run(work, jobs, workers or len(os.sched_getaffinity(0)))
    clips: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    failures, reused, frames = {}, 0, 0
    for row, kept, count, reason in progress(found, len(jobs)) if progress else found:
        if reason:
            failures[row.id] = reason
            continue
        clips[LIST_OF_SPLIT.get(row.split, row.split) if row.split in LIST_OF_SPLIT else "train"].append(row.id)
        reused, frames = reused + kept, frames + count
    _write_lists(root, clips)
    _write_failures(root, failures)
    if not any(clips.values()):
        first = next(iter(failures.items()))
        raise DataError(f"none of {len(jobs)} clips could be prepared", path=root, got=f"{first[0]}: {first[1]}")
    return PrepareReport(root, clips, failures, reused, frames)


def _manifest(source: str | Path | Manifest) -> Manifest:
    if isinstance(source, Manifest):
        return source
    path = Path(source)
    return folder.scan(path) if path.is_dir() else Manifest.read(path)


Result = tuple[ManifestRow, bool, int, str]


def _run(
    work: Callable[[tuple[ManifestRow, Path]], Result], jobs: list[tuple[ManifestRow, Path]], workers: int
) -> Iterator[Result]:
    if min(workers, len(jobs)) == 1:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_alone) as pool:
        yield from pool.map(work, jobs, chunksize=max(1, min(8, len(jobs) // (4 * workers))))


def _alone() -> None:
    cv2.setNumThreads(1)


def _try_clip(root: Path, options: Options, job: tuple[ManifestRow, Path]) -> Result:
    row, video = job
    target = root / row.id
    try:
        kept = _done(target, options)
        count = kept if kept is not None else _crop_clip(video, target, options)
    except VisemeError as error:
        return row, False, 0, str(error)
    return row, kept is not None, count, ""


def _done(target: Path, options: Options) -> int | None:
    """Crops of a clip that was made with these options, or None."""
    try:
        found = json.loads((target / _DONE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(found["crops"]) if found["options"] == asdict(options) else None


def _crop_clip(video: Path, target: Path, options: Options) -> int:
    tracker = FaceTracker(points=keep_points)
    total = 0
    for frame in stream_frames(video, fps=FPS):
        tracker.update(frame)
        total += 1
    path = face_path(choose_track(tracker.tracks, options.face), total, window=options.window)
    if path.seen.mean() < options.min_seen:
        raise FaceError(
            "the face is seen too little", path=video, expected=f"{options.min_seen:.0%} of the frames or more",
            got=f"{path.seen.mean():.0%}",
        )  # fmt: skip
    sound = read_audio(video, rate=RATE)
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.jpg"):
        old.unlink()
    count = 0
    for index, frame in enumerate(stream_frames(video, fps=FPS)):
        if not path.seen[index]:
            continue
        crop = cut_box(frame, path.boxes[index], options.max_side_px)
        if crop is not None:
            _write_jpeg(target / f"{index}.jpg", crop)
            count += 1
    samples = np.pad(sound.samples, (0, max(0, round(total * RATE / FPS) - len(sound.samples))))
    write_audio(target / "audio.wav", Audio(samples, RATE))
    write_text_atomic(target / _DONE, json.dumps({"crops": count, "frames": total, "options": asdict(options)}) + "\n")
    return count


def cut_box(frame: np.ndarray, box: np.ndarray, max_side_px: int) -> np.ndarray | None:
    """The part of an RGB frame inside a box, scaled down to at most `max_side_px`; None where nothing is left."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    crop = frame[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
    if min(crop.shape[:2]) < 8:
        return None
    if max(crop.shape[:2]) > max_side_px:
        scale = max_side_px / max(crop.shape[:2])
        crop = cv2.resize(crop, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return crop


def _write_jpeg(path: Path, crop_rgb: np.ndarray) -> None:
    done, data = cv2.imencode(".jpg", crop_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise DataError("the picture cannot be written", path=path)
    path.write_bytes(data.tobytes())  # a half-written clip has no crops.json, and is made again


def _write_lists(root: Path, clips: dict[str, list[str]]) -> None:
    for name, ids in clips.items():
        write_text_atomic(root / "filelists" / f"{name}.txt", "".join(f"{clip}\n" for clip in sorted(ids)))


def _write_failures(root: Path, failures: dict[str, str]) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "reason"])
    writer.writerows(sorted(failures.items()))
    with atomic_path(root / "failures.csv") as temporary:
        temporary.write_text(out.getvalue(), encoding="utf-8")
