"""Units of a whole corpus: resumable, one bad recording never stops the others. What `im2speech units` runs."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from viseme.core.cli import track
from viseme.core.data import Manifest
from viseme.core.errors import DataError, VisemeError
from viseme.core.files import write_text_atomic
from viseme.core.media import read_audio
from viseme.im2speech.data import RATE, read_units, write_units
from viseme.im2speech.units import UnitExtractor

__all__ = ["ExtractReport", "extract", "import_units"]

_WORK = ".part"


@dataclass(frozen=True)
class ExtractReport:
    """Recordings whose units were found now, those that had them, and (id -> reason) those that failed."""

    made: int
    kept: int
    failures: dict[str, str]


def extract(extractor: UnitExtractor, manifest: Manifest, out: Path, *, root: Path | None = None) -> ExtractReport:
    """Write the units of every recording of a manifest to `out` (`id|u1 u2 ...`).

    What was found so far lies beside it until the end, so that a run that was stopped goes on where it was. Failures
    are listed in `failures.csv` beside it.

    Raises:
        DataError: nothing could be read, or the first 20 recordings all failed.
    """
    work = out.with_name(out.name + _WORK)
    done = {**(read_units(out) if out.exists() else {}), **_started(work)}
    wanted = [row for row in manifest if row.id not in done]
    known = {manifest.audio_file(row): done[row.id] for row in manifest if row.id in done}
    failures: dict[str, str] = {}
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.open("a", encoding="utf-8") as stream:
        for number, row in enumerate(track(wanted, "units", unit="recordings")):
            recording = manifest.audio_file(row)
            try:
                if recording not in known:  # several pictures may share one
                    known[recording] = extractor(read_audio(recording, rate=RATE).samples)
            except VisemeError as error:
                failures[row.id] = str(error)
                if len(failures) == 20 == number + 1:
                    raise DataError("the first 20 recordings all failed", got=str(error)) from error
                continue
            done[row.id] = known[recording]
            stream.write(f"{row.id}|{' '.join(map(str, done[row.id].tolist()))}\n")
            stream.flush()
    if not done:
        raise DataError("no recording gave units", path=manifest.root, got=next(iter(failures.values()), "none"))
    write_units(out, {row.id: done[row.id] for row in manifest if row.id in done})
    work.unlink()
    if failures:
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerows([("id", "reason"), *failures.items()])
        write_text_atomic(out.with_name("failures.csv"), table.getvalue())
    return ExtractReport(len(wanted) - len(failures), len(manifest) - len(wanted), failures)


def _started(work: Path) -> dict:
    """What an interrupted run had found; its last line may be cut."""
    if not work.exists():
        return {}
    text = work.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    write_text_atomic(work, whole)
    return read_units(work)


def import_units(folder: Path, out: Path) -> ExtractReport:
    """Published `.unit` files below a folder as one file of units; ids are their paths without the ending.

    Raises:
        DataError: there are none.
    """
    from viseme.im2speech.published import read_unit_file

    files = sorted(folder.rglob("*.unit"))
    if not files:
        raise DataError("no .unit files", path=folder)
    found, failures = {}, {}
    for path in track(files, "units", unit="files"):
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            found[name] = read_unit_file(path)
        except VisemeError as error:
            failures[name] = str(error)
    if not found:
        raise DataError("none of the .unit files can be read", path=folder, got=next(iter(failures.values())))
    write_units(out, found)
    return ExtractReport(len(found), 0, failures)
