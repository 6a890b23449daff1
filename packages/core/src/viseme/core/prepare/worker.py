"""What a worker process does: one clip after another, each ending as a record, never as an exception."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection, parent_process
from pathlib import Path

import cv2

from viseme.core.data import ManifestRow
from viseme.core.errors import VisemeError
from viseme.core.media import MediaWarning
from viseme.core.prepare.clip import OPENING, prepare_clip
from viseme.core.prepare.journal import ClipRecord, Journal, source_mark
from viseme.core.prepare.options import PrepareOptions

__all__ = ["Job", "run_job", "single_threaded", "start_worker"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LEAST_FREE_BYTES = 64 * 1024
"""Libraries that hide the system's error leave only this to tell a full disk by."""


@dataclass(frozen=True)
class Job:
    """One clip to prepare: its source file, the file of its sound if that is another, its row, where to, and how."""

    source: Path
    sound: Path | None
    row: ManifestRow
    store: Path
    options: PrepareOptions


def start_worker() -> None:
    """Set up a worker process: one thread for OpenCV, and no life beyond the parent's (which may be killed
    outright)."""
    cv2.setNumThreads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_follow_parent, args=(parent.sentinel,), daemon=True).start()


def _follow_parent(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


@contextmanager
def single_threaded() -> Iterator[None]:
    """OpenCV on one thread inside the block: for preparation in this very process."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


_journals: dict[Path, Journal] = {}


def run_job(job: Job) -> ClipRecord:
    """Prepare a clip, remember in the journal how it ended, and say so."""
    journal = _journals.setdefault(job.store, Journal(job.store))
    mark, started = source_mark(job.source, job.row), time.monotonic()
    try:
        row = _prepare(job, journal)
        opening = row.extra.get(OPENING, "")
        row = replace(row, extra={name: cell for name, cell in row.extra.items() if name != OPENING})
        record = ClipRecord(job.row.id, "done", mark, row=row, seconds=time.monotonic() - started, opening=opening)
        journal.append(record)
        return record
    except Exception as error:  # a bad clip, or a defect of ours that one clip brings out, must not stop the others
        reason = _reason(error, job.source)
        if _disk_is_full(error, job.store):
            return ClipRecord(job.row.id, "stopped", mark, reason=reason)
        record = ClipRecord(job.row.id, "failed", mark, reason=reason, seconds=time.monotonic() - started)
    try:
        journal.append(record)
    except OSError as error:
        return ClipRecord(job.row.id, "stopped", mark, reason=_reason(error, job.source))
    return record


def _prepare(job: Job, journal: Journal) -> ManifestRow:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MediaWarning)
        row = prepare_clip(job.source, job.row, job.store, journal.partial(), job.options, sound=job.sound)
    said = {str(w.message).removeprefix(f"{job.source}: ") for w in caught if issubclass(w.category, MediaWarning)}
    if not said:
        return row
    note = "; ".join([*filter(None, [row.extra.get("note")]), *sorted(said)])
    return replace(row, extra=row.extra | {"note": note})


def _reason(error: Exception, source: Path) -> str:
    if isinstance(error, VisemeError):
        return str(error).removeprefix(f"{source}: ")
    if isinstance(error, OSError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}"


def _disk_is_full(error: BaseException, store: Path) -> bool:
    link: BaseException | None = error
    while link is not None:
        if getattr(link, "errno", None) in _FULL:
            return True
        link = link.__cause__ or link.__context__
    return shutil.disk_usage(store).free < _LEAST_FREE_BYTES
