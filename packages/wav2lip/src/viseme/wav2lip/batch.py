"""Many pairs of face and sound at once: the published evaluation's file lists, without ending at the first bad line."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from viseme.core.errors import DataError, VisemeError
from viseme.core.files import write_text_atomic
from viseme.wav2lip.options import SyncedVideo, SyncOptions
from viseme.wav2lip.pipeline import Wav2Lip

__all__ = ["BatchReport", "Pair", "random_pairs", "read_pairs", "sync_pairs"]

_GIVE_UP_AFTER = 10


@dataclass(frozen=True)
class Pair:
    """One line of a list."""

    number: int
    audio: Path
    face: Path


@dataclass(frozen=True)
class BatchReport:
    """What `sync_pairs` made: results by line number, and reasons by line number."""

    made: dict[int, SyncedVideo]
    failures: dict[int, str]


def read_pairs(filelist: str | Path, data_root: str | Path, *, order: str = "audio_face") -> list[Pair]:
    """Lines of a published list.

    Args:
        data_root: what the names are relative to.
        order: `audio_face` (`<audio clip> <video clip>` without ending: .mp4 both) or `face_audio` (ReSyncED's
            `<video> <audio>` with endings).

    Raises:
        DataError: no such list, nothing in it, or a line without two names.
    """
    path, root = Path(filelist), Path(data_root)
    if not path.is_file():
        raise DataError("no such list", path=path)
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        names = line.split()
        if not names:
            continue
        if len(names) != 2:
            raise DataError(f"line {number + 1} is not a pair of names", path=path, got=line[:60])
        first, second = (_file(root, name, add=order == "audio_face") for name in names)
        audio, face = (first, second) if order == "audio_face" else (second, first)
        pairs.append(Pair(number, audio, face))
    if not pairs:
        raise DataError("the list is empty", path=path)
    return pairs


def _file(root: Path, name: str, *, add: bool) -> Path:
    path = root / name
    return path.with_name(path.name + ".mp4") if add and not path.suffix else path


def random_pairs(names: Sequence[str], *, seed: int = 0) -> list[str]:
    """Lines of an `audio_face` list in which no clip speaks with its own sound: a shuffled cycle through all clips.

    Raises:
        DataError: fewer than two clips.
    """
    if len(names) < 2:
        raise DataError("two clips or more are needed", got=len(names))
    order = sorted(names)
    random.Random(seed).shuffle(order)
    return [f"{audio} {face}" for audio, face in zip([*order[1:], order[0]], order)]


def sync_pairs(
    syncer: Wav2Lip,
    pairs: Sequence[Pair],
    results_dir: str | Path,
    options: SyncOptions | None = None,
    *,
    progress: Callable[[Iterable[Pair], int], Iterable[Pair]] | None = None,
) -> BatchReport:
    """Sync every pair into `results_dir/<line number from 0>.mp4`; what fails is named in `failures.csv`.

    Raises:
        DataError: the first ten all failed, or all of them.
    """
    out = Path(results_dir)
    made: dict[int, SyncedVideo] = {}
    failures: dict[int, str] = {}
    for pair in progress(pairs, len(pairs)) if progress else pairs:
        try:
            made[pair.number] = syncer.sync(pair.face, pair.audio, out / f"{pair.number}.mp4", options)
        except VisemeError as error:
            failures[pair.number] = str(error)
        if not made and len(failures) >= min(_GIVE_UP_AFTER, len(pairs)):
            raise DataError(
                f"none of the first {len(failures)} pairs could be synced", got=next(iter(failures.values()))
            )
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["line", "reason"])
    writer.writerows(sorted(failures.items()))
    write_text_atomic(out / "failures.csv", lines.getvalue())
    return BatchReport(made, failures)
