"""Any folder of videos or recordings, with or without transcripts.

A transcript is a file beside the recording with the same stem (`.txt`, `.srt`, `.vtt`), or a row of a table
`transcripts.csv`, `metadata.csv` or `labels.csv` in the root (header with a column `path`, `file`, `file_name` or
`id` and a column `text`, `transcript`, `transcription` or `sentence`; optional: `speaker`, `language`, `split`,
`start_s`, `end_s`).
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from viseme.core.data.corpora.cues import join_cues, read_cues
from viseme.core.data.corpora.lrs_text import main_text
from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["AUDIO_SUFFIXES", "VIDEO_SUFFIXES", "scan"]

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v", ".ts", ".flv", ".wmv", ".3gp")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac")
_TABLES = ("transcripts.csv", "metadata.csv", "labels.csv")
_PATH_COLUMNS = ("path", "file", "file_name", "filename", "id")
_TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence")


def scan(root: str | Path, *, max_s: float | None = None, language: str = "", split: str = "") -> Manifest:
    """A manifest of all videos and recordings below a folder, sorted by path.

    A recording with the stem of a video beside it is that video's sound. Hidden files are ignored. Bad transcripts
    and rows of the table without a file are listed in the manifest's `skipped`; a recording whose transcript cannot
    be read stays in, without text.

    Args:
        root: the folder.
        max_s: cut files with subtitles into clips of whole cues of at most this many seconds; None keeps files whole.
        language, split: written into every row that the table gives no other.

    Raises:
        DataError: no such folder, no media file in it, or an unreadable table.
    """
    root = Path(root)
    report = ScanReport(root)
    found = [p for p in report.files((*VIDEO_SUFFIXES, *AUDIO_SUFFIXES)) if not _hidden(p, root)]
    videos = [p for p in found if p.suffix.lower() in VIDEO_SUFFIXES]
    sounds = {p.with_suffix(""): p for p in found if p.suffix.lower() in AUDIO_SUFFIXES}
    stems = {p.with_suffix("") for p in videos}
    media = sorted([*videos, *(p for stem, p in sounds.items() if stem not in stems)])
    table = _read_table(root)
    repeated = Counter(p.relative_to(root).with_suffix("") for p in media)
    rows: list[ManifestRow] = []
    for path in media:
        relative = path.relative_to(root)
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        sound = sounds.get(path.with_suffix("")) if is_video else None
        row = ManifestRow(
            id=(relative if repeated[relative.with_suffix("")] > 1 else relative.with_suffix("")).as_posix(),
            path=relative.as_posix(),
            audio="" if sound is None else sound.relative_to(root).as_posix(),
            frames=None if is_video else 0,
            language=language,
            split=split,
        )
        entries = table.pop(relative.as_posix(), None) or table.pop(relative.with_suffix("").as_posix(), None)
        try:
            rows += _from_table(row, entries) if entries else _from_beside(row, path, max_s)
        except DataError as error:
            report.skip(path, f"transcript not used: {error}")
            rows.append(row)
    for name in table:
        report.skip(root / name, "in the table of transcripts, but there is no such file")
    return report.manifest(rows)


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _from_beside(row: ManifestRow, path: Path, max_s: float | None) -> list[ManifestRow]:
    text_file = path.with_suffix(".txt")
    if text_file.is_file():
        text = read_text(text_file)
        first = text.split("\n")[0]
        return [replace(row, text=main_text(first) if first.startswith("Text:") else " ".join(text.split()))]
    for suffix in (".srt", ".vtt"):
        if path.with_suffix(suffix).is_file():
            cues = read_cues(read_text(path.with_suffix(suffix)))
            if max_s is None:
                return [replace(row, text=" ".join(cue.text for cue in cues))]
            return [
                replace(row, id=f"{row.id}_{index:02d}", start_s=cue.start_s, end_s=cue.end_s, text=cue.text)
                for index, cue in enumerate(join_cues(cues, max_s))
            ]
    return [row]


def _from_table(row: ManifestRow, entries: Sequence[dict[str, str]]) -> list[ManifestRow]:
    rows = []
    for index, cells in enumerate(entries):
        try:
            start, end = (float(cells[c]) if cells.get(c) else None for c in ("start_s", "end_s"))
        except ValueError:
            raise DataError("start_s or end_s in the table", expected="seconds", got=cells) from None
        rows.append(
            replace(
                row,
                id=row.id if len(entries) == 1 else f"{row.id}_{index:02d}",
                text=cells["text"],
                speaker=cells.get("speaker") or row.speaker,
                language=cells.get("language") or row.language,
                split=cells.get("split") or row.split,
                start_s=start,
                end_s=end,
            )
        )
    return rows


def _read_table(root: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of the table of transcripts by the file's path as the table writes it (with or without suffix)."""
    path = next((root / name for name in _TABLES if (root / name).is_file()), None)
    if path is None:
        return {}
    lines = csv.reader(io.StringIO(read_text(path), newline=""))
    header = [name.strip().lower() for name in next(lines, [])]
    path_column = next((name for name in _PATH_COLUMNS if name in header), None)
    text_column = next((name for name in _TEXT_COLUMNS if name in header), None)
    if path_column is None or text_column is None:
        wanted = f"a header with one of {', '.join(_PATH_COLUMNS)} and one of {', '.join(_TEXT_COLUMNS)}"
        raise DataError("a table of transcripts", path=path, expected=wanted, got=header)
    table: dict[str, list[dict[str, str]]] = {}
    for number, cells in enumerate(lines, start=2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(f"row {number} of the table", path=path, expected=f"{len(header)} cells", got=len(cells))
        row = dict(zip(header, (cell.strip() for cell in cells)))
        name = row[path_column].replace("\\", "/").removeprefix("./")
        table.setdefault(name, []).append({**row, "text": row[text_column]})
    return table
