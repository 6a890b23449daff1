"""The manifest: one row per clip, as CSV or Parquet with the same columns.

Every reader makes one; every package trains from one.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, overload

from viseme.core.errors import DataError, DependencyError
from viseme.core.files import atomic_path, write_text_atomic

__all__ = ["Manifest", "ManifestRow"]


@dataclass(frozen=True)
class ManifestRow:
    """One clip. Unknown numbers are None, unknown texts empty.

    Attributes:
        id: name of the clip, unique in the manifest.
        path: media file, relative to the manifest's folder (or absolute), `/` between folders.
        audio: file of the sound where it is not in `path`; relative like `path`.
        frames: video frames (0: there is no picture).
        fps: their rate.
        samples: audio samples (0: there is no sound).
        rate: their rate in Hz.
        start_s, end_s: the part of the file that is the clip; None is the file's start or end.
        text: transcript; the manifest's reader or preparation says how it is normalised.
        extra: further columns, as text; an empty one counts as absent.
    """

    id: str
    path: str
    audio: str = ""
    frames: int | None = None
    fps: float | None = None
    samples: int | None = None
    rate: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    text: str = ""
    speaker: str = ""
    language: str = ""
    split: str = ""
    dataset: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", {name: cell for name, cell in self.extra.items() if cell})


COLUMNS = tuple(f.name for f in fields(ManifestRow) if f.name != "extra")
_NUMBERS: dict[str, type[int] | type[float]] = {
    "frames": int,
    "samples": int,
    "rate": int,
    "fps": float,
    "start_s": float,
    "end_s": float,
}


class Manifest:
    """Rows and the folder that their paths are relative to.

    Args:
        rows: the clips, in order.
        root: folder of relative paths.
        skipped: (path, reason) of what a reader left out; not part of the written manifest.

    Raises:
        DataError: an id that is empty or occurs twice, or a row without a path.
    """

    def __init__(
        self, rows: Iterable[ManifestRow], root: str | Path = ".", *, skipped: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.rows = list(rows)
        self.skipped = list(skipped)
        self.root = Path(root)
        seen: set[str] = set()
        for row in self.rows:
            if not row.id or row.id in seen:
                raise DataError("ids in a manifest must be given and unique", got=repr(row.id))
            if not row.path:
                raise DataError("a row without a path", got=repr(row.id))
            seen.add(row.id)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ManifestRow]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> ManifestRow: ...
    @overload
    def __getitem__(self, index: slice) -> Manifest: ...
    def __getitem__(self, index: int | slice) -> ManifestRow | Manifest:
        return Manifest(self.rows[index], self.root) if isinstance(index, slice) else self.rows[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]

    def file(self, row: ManifestRow) -> Path:
        """Where a row's media file is."""
        return self.root / row.path

    def audio_file(self, row: ManifestRow) -> Path:
        """Where a row's sound is: its own file, or the media file."""
        return self.root / (row.audio or row.path)

    def filter(self, keep: Callable[[ManifestRow], bool] | None = None, *, split: str | None = None) -> Manifest:
        """The rows of a split and/or for which `keep` holds, in order.

        Raises:
            DataError: a split that the manifest does not have.
        """
        rows = self.rows
        if split is not None:
            rows = [row for row in rows if row.split == split]
            if not rows:
                have = sorted({row.split for row in self.rows})
                raise DataError("the manifest has no such split", expected=" | ".join(map(repr, have)), got=repr(split))
        return Manifest([row for row in rows if keep is None or keep(row)], self.root)

    def lengths(self, *, fps: float = 25.0) -> list[int]:
        """Length of every clip in video frames; from the sound, in frames at `fps`, where there is no picture.

        Raises:
            DataError: a row whose length is not known.
        """
        lengths = []
        for row in self.rows:
            if row.frames:
                lengths.append(row.frames)
            elif row.samples and row.rate:
                lengths.append(max(1, int(row.samples * fps / row.rate)))
            else:
                raise DataError("a clip of unknown or zero length", got=repr(row.id), hint="Prepare the data first.")
        return lengths

    def sha256(self) -> str:
        """Checksum of the content (not of where it lies), for provenance."""
        return hashlib.sha256(self.to_csv().encode("utf-8", errors="surrogateescape")).hexdigest()

    # ------------------------------------------------------------------------------------------------ files

    def to_csv(self) -> str:
        """The manifest as CSV text (what `write` writes)."""
        extra = sorted({name for row in self.rows for name in row.extra})
        table = [[*COLUMNS, *extra]]
        for row in self.rows:
            table.append([*(_cell(getattr(row, c)) for c in COLUMNS), *(row.extra.get(c, "") for c in extra)])
        return "".join(",".join(map(_quote, cells)) + "\n" for cells in table)

    def write(self, path: str | Path) -> None:
        """Write CSV (UTF-8), or Parquet where `path` ends in `.parquet`; all of it or nothing. Paths stay as they are.

        Raises:
            DependencyError: Parquet without pyarrow.
        """
        path = Path(path)
        if path.suffix != ".parquet":
            write_text_atomic(path, self.to_csv())
            return
        pyarrow, parquet = _pyarrow()
        extra = sorted({name for row in self.rows for name in row.extra})
        kinds = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
        columns = {
            name: pyarrow.array([getattr(row, name) for row in self.rows], kinds[_NUMBERS.get(name, str)])
            for name in COLUMNS
        }
        columns |= {name: pyarrow.array([row.extra.get(name, "") for row in self.rows], kinds[str]) for name in extra}
        with atomic_path(path) as temporary:
            parquet.write_table(pyarrow.table(columns), temporary)

    @classmethod
    def read(cls, path: str | Path, root: str | Path | None = None) -> Manifest:
        """Read CSV or Parquet; relative paths are taken from the file's folder unless `root` is given.

        Raises:
            DataError: no such file, not a manifest, or a cell that does not fit its column; names the line.
            DependencyError: Parquet without pyarrow.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError("no such manifest", path=path)
        if path.suffix == ".parquet":
            _, parquet = _pyarrow()
            try:
                rows = [{k: _cell(v) for k, v in row.items()} for row in parquet.read_table(path).to_pylist()]
            except (OSError, ValueError) as error:
                raise DataError("not a Parquet file", path=path, got=str(error)) from error
        else:
            rows = _read_csv(path)
        parsed = [_row(cells, f"row {number}", path) for number, cells in enumerate(rows, start=1)]
        try:
            return cls(parsed, path.parent if root is None else root)
        except DataError as error:
            raise DataError(error.what, path=path, got=error.got) from None

    def with_root(self, root: str | Path) -> Manifest:
        """The same clips with paths relative to `root` where they lie below it, absolute otherwise."""
        base = Path(root).absolute()

        def move(path: str) -> str:
            full = (self.root / path).absolute()
            return full.relative_to(base).as_posix() if full.is_relative_to(base) else full.as_posix()

        rows = [replace(r, path=move(r.path), audio=move(r.audio) if r.audio else "") for r in self.rows]
        return Manifest(rows, root)


def _cell(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _quote(cell: str) -> str:
    """A CSV cell. The standard library's writer leaves a lone carriage return bare, which no reader takes back."""
    return '"' + cell.replace('"', '""') + '"' if any(sign in cell for sign in ',"\r\n') else cell


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
        if missing := {"id", "path"} - set(header):
            raise DataError(f"not a manifest: no column {sorted(missing)}", path=path, got=header)
        rows = []
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(f"line {reader.line_num}: cells", path=path, expected=len(header), got=len(cells))
            rows.append(dict(zip(header, cells)))
        return rows
    except (OSError, csv.Error) as error:
        raise DataError("not a readable CSV file", path=path, got=str(error)) from error


def _row(cells: dict[str, str], where: str, path: Path) -> ManifestRow:
    values: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in _NUMBERS:
            try:
                values[name] = _NUMBERS[name](cell) if cell != "" else None
            except ValueError:
                raise DataError(f"{where}, column {name}", path=path, expected="a number", got=repr(cell)) from None
        elif name in COLUMNS:
            values[name] = cell
    return ManifestRow(**values, extra={name: cell for name, cell in cells.items() if name not in COLUMNS})


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        hint = "pip install 'viseme-core[parquet]', or use CSV."
        raise DependencyError("Parquet manifests need pyarrow", hint=hint) from error
    return pyarrow, pyarrow.parquet
