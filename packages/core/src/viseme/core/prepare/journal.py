"""What is done already. Every worker appends one line per finished clip to a file of its own, after the clip's files
are in place; a run killed at any moment loses at most the clips it was working on, and the next run reads all the
lines."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from viseme.core.data import ManifestRow
from viseme.core.files import is_alive

__all__ = ["ClipRecord", "Journal", "source_mark"]


@dataclass(frozen=True)
class ClipRecord:
    """How one clip ended.

    Attributes:
        id: the clip.
        status: `done`, `failed`, or `stopped` (the disk is full: not the clip's fault, never written to the journal).
        mark: `source_mark` of its source then; a changed one is prepared again.
        row: row of the store's manifest, if done.
        reason: why not, if failed.
        seconds: time it took.
        opening: of the mouth, frame by frame; see `facts.opening_of`.
    """

    id: str
    status: Literal["done", "failed", "stopped"]
    mark: str
    row: ManifestRow | None = None
    reason: str = ""
    seconds: float = 0.0
    opening: str = ""


def source_mark(path: Path, row: ManifestRow) -> str:
    """Size and time of a file and the part of it that is the clip; empty where there is no file."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size}-{state.st_mtime_ns}-{row.start_s}-{row.end_s}"


class Journal:
    """The journal of the store at `store`; also hands out room for files that are being written."""

    def __init__(self, store: Path) -> None:
        self._folder = store / ".prepare"
        self._me = f"{socket.gethostname()}-{os.getpid()}"
        self._file: Path | None = None

    @property
    def options_file(self) -> Path:
        return self._folder / "options.json"

    def partial(self) -> Path:
        """This process's folder for half-written files; files are moved from here into place."""
        folder = self._folder / "partial" / self._me
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def sweep(self) -> None:
        """Remove half-written files of processes of this machine that no longer live."""
        host = f"{socket.gethostname()}-"
        for folder in (self._folder / "partial").glob("*"):
            process = folder.name.removeprefix(host)
            if folder.name.startswith(host) and process.isdigit() and not is_alive(int(process)):
                shutil.rmtree(folder, ignore_errors=True)

    def append(self, record: ClipRecord) -> None:
        """Remember that a clip is finished. One write: a line is there whole or not at all."""
        if self._file is None:
            self._file = self._folder / "journal" / f"{self._me}-{time.time_ns()}.jsonl"
            self._file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(record), ensure_ascii=True) + "\n"
        handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, line.encode("ascii"))
        finally:
            os.close(handle)

    def read(self) -> dict[str, ClipRecord]:
        """The last record of every clip. A torn line (the machine went down) is not a record."""
        stamped: list[tuple[int, int, ClipRecord]] = []
        for file in (self._folder / "journal").glob("*.jsonl"):
            started = int(file.stem.rsplit("-", 1)[1])
            for number, line in enumerate(file.read_bytes().split(b"\n")):
                if (record := _parse(line)) is not None:
                    stamped.append((started, number, record))
        return {record.id: record for *_, record in sorted(stamped, key=lambda entry: entry[:2])}


def _parse(line: bytes) -> ClipRecord | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        row = fields.pop("row")
        return ClipRecord(**fields, row=None if row is None else ManifestRow(**row))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
