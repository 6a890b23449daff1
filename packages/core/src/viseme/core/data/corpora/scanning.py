"""What the readers share: one bad clip never ends a scan, and never vanishes without a word."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError, VisemeError

__all__ = ["ScanReport", "read_text"]

_log = logging.getLogger(__name__)


def read_text(path: Path) -> str:
    """A text file as UTF-8 (a byte order mark is dropped), or Latin-1 where it is not UTF-8, as old corpora are;
    line ends become `\\n`.

    Raises:
        DataError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError("no readable transcript", path=path) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


class ScanReport:
    """Collects the clips that a reader leaves out, with reasons."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError("no such folder", path=root)
        self.root = root
        self.skipped: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def clip(self, path: Path) -> Iterator[None]:
        """Around the reading of one clip: a `VisemeError` leaves that clip out."""
        try:
            yield
        except VisemeError as error:
            self.skip(path, str(error))

    def files(self, media: Sequence[str] = ()) -> list[Path]:
        """All files below the root, sorted. What cannot be read is left out by name, not in silence: folders, links
        that lead nowhere, and folders whose names end as those of `media` do."""

        def unreadable(error: OSError) -> None:
            self.skip(Path(error.filename or self.root), f"this folder cannot be read: {error.strerror}")

        found = []
        for top, folders, names in os.walk(self.root, onerror=unreadable):
            for folder in (Path(top, name) for name in folders if name.lower().endswith(tuple(media))):
                self.skip(folder, "a folder with the name of a recording; what is in it is read")
            for path in (Path(top, name) for name in names):
                if path.is_file():
                    found.append(path)
                else:
                    self.skip(path, "no file: a link that leads nowhere, or a device")
        return sorted(found)

    def skip(self, path: Path, reason: str) -> None:
        self.skipped.append(
            (path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path), reason)
        )

    def manifest(self, rows: Sequence[ManifestRow]) -> Manifest:
        """The manifest of what is left.

        Raises:
            DataError: nothing is.
        """
        if self.skipped:
            name, reason = self.skipped[0]
            _log.warning("%s: %d clips left out; the first: %s: %s", self.root, len(self.skipped), name, reason)
        if not rows:
            first = f"; the first: {self.skipped[0][1]}" if self.skipped else ""
            raise DataError("no usable clips", path=self.root, got=f"{len(self.skipped)} left out{first}")
        return Manifest(rows, self.root, skipped=self.skipped)
