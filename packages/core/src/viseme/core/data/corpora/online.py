"""Corpora that are lists of clips in online videos: AVSpeech, MultiVSR, ViSpeR, and lists like them.

The lists say which video, from when to when, and (some) what is said; the videos are the user's to get, whole or cut,
and some of them are gone. A list is CSV or TSV with a header, JSON, or JSON lines; its columns are found by their usual
names. A video is found by its name: `<video>.mp4` whole, or `<video>_<start>_<end>.mp4`, `<video>/<clip>.mp4` cut.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viseme.core.data.corpora.folder import VIDEO_SUFFIXES
from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["avspeech", "multivsr", "visper"]

_COLUMNS: dict[str, tuple[str, ...]] = {
    "video": ("video_id", "video", "youtube_id", "yt_id", "ytid", "vid", "youtube", "url", "link"),
    "start": ("start_s", "start", "start_time", "start_sec", "begin", "from"),
    "end": ("end_s", "end", "end_time", "end_sec", "stop", "to"),
    "text": ("text", "transcript", "transcription", "sentence", "label", "caption"),
    "language": ("language", "lang", "locale"),
    "speaker": ("speaker", "speaker_id", "spk"),
    "split": ("split", "set", "subset"),
    "clip": ("clip", "clip_id", "segment", "segment_id", "id", "name", "file", "filename", "path"),
}
_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class _Entry:
    video: str
    start_s: float | None
    end_s: float | None
    clip: str
    cells: Mapping[str, str]


def avspeech(root: str | Path, *, lists: Sequence[str | Path] | None = None, language: str = "") -> Manifest:
    """AVSpeech (Ephrat et al. 2018): `avspeech_{train,test}.csv` without header: video, start, end, and the face's
    centre as a share of width and height (columns `face_x`, `face_y`). No transcripts.

    Args:
        root: folder of the videos.
        lists: the lists; by default those in the folder.

    Raises:
        DataError: no folder, no list, or none of the videos in the lists.
    """
    header = ["youtube_id", "start", "end", "face_x", "face_y"]
    return _scan(root, lists, dataset="avspeech", language=language, header=header)


def multivsr(root: str | Path, *, lists: Sequence[str | Path] | None = None, language: str = "") -> Manifest:
    """MultiVSR (Prajwal et al. 2025): clips of online videos in thirteen languages, with transcripts."""
    return _scan(root, lists, dataset="multivsr", language=language)


def visper(root: str | Path, *, lists: Sequence[str | Path] | None = None, language: str = "") -> Manifest:
    """ViSpeR (Narayan et al. 2024): clips in Arabic, Chinese, French and Spanish, with transcripts."""
    return _scan(root, lists, dataset="visper", language=language)


def _scan(
    root: str | Path,
    lists: Sequence[str | Path] | None,
    *,
    dataset: str,
    language: str,
    header: list[str] | None = None,
) -> Manifest:
    root = Path(root)
    report = ScanReport(root)
    files = [Path(p) for p in lists] if lists else sorted(p for p in root.glob("*") if p.suffix in _SUFFIXES)
    if not files:
        raise DataError("no list of clips", path=root, expected=" or ".join(f"*{s}" for s in _SUFFIXES))
    videos = _videos(root)
    rows: dict[str, ManifestRow] = {}
    for file in files:
        from_name = next((split for split in _SPLITS if split in file.stem.lower()), "")
        for cells in _records(file, header):
            try:
                entry = _entry(cells, file)
            except DataError as error:
                report.skip(file, str(error))
                continue
            row = _row(entry, videos, root, dataset, cells.get("language") or language, cells.get("split") or from_name)
            if row is None:
                report.skip(root / f"{entry.video}.mp4", "in the list, but there is no such video")
            elif row.id in rows:
                report.skip(file, f"{row.id} is in the list twice")
            else:
                rows[row.id] = row
    return report.manifest(list(rows.values()))


def _videos(root: Path) -> dict[str, Path]:
    """Videos by path below the root without suffix, and by their bare name."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES):
        found.setdefault(path.stem, path)
        found[path.relative_to(root).with_suffix("").as_posix()] = path
    return found


def _row(
    entry: _Entry, videos: Mapping[str, Path], root: Path, dataset: str, language: str, split: str
) -> ManifestRow | None:
    span = "" if entry.start_s is None or entry.end_s is None else f"{entry.start_s:.6f}_{entry.end_s:.6f}"
    names = [f"{entry.video}_{span}", f"{entry.video}_{_plain(entry.start_s)}_{_plain(entry.end_s)}"] if span else []
    if entry.clip:
        clip = Path(entry.clip).with_suffix("").as_posix() if Path(entry.clip).suffix else entry.clip
        names += [f"{entry.video}/{clip}", f"{entry.video}_{clip}", clip]
    cut = next((videos[name] for name in names if name in videos), None)
    path = cut or videos.get(entry.video)
    if path is None:
        return None
    relative = path.relative_to(root)
    whole = cut is None
    name = relative.with_suffix("").as_posix()
    extra = {column: entry.cells[column] for column in ("face_x", "face_y") if column in entry.cells}
    return ManifestRow(
        id=f"{name}_{_plain(entry.start_s)}_{_plain(entry.end_s)}" if whole and span else name,
        path=relative.as_posix(),
        start_s=entry.start_s if whole else None,
        end_s=entry.end_s if whole else None,
        text=entry.cells.get("text", ""),
        speaker=entry.cells.get("speaker") or entry.video,
        language=language,
        split=split,
        dataset=dataset,
        extra=extra,
    )


def _plain(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:g}"


def _entry(cells: Mapping[str, str], file: Path) -> _Entry:
    clip = cells.get("clip", "")
    video = cells.get("video", "") or clip.split("/")[0]
    if found := re.search(r"(?:v=|youtu\.be/|shorts/)([\w-]{11})", video):
        video = found[1]
    if not video:
        raise DataError("a clip without a video", path=file, got=dict(cells))
    try:
        start, end = (float(cells[c]) if cells.get(c, "") != "" else None for c in ("start", "end"))
    except ValueError:
        raise DataError("start or end of a clip", path=file, expected="seconds", got=dict(cells)) from None
    if start is not None and end is not None and end <= start:
        raise DataError("a clip ends before it starts", path=file, got=dict(cells))
    return _Entry(video, start, end, clip, cells)


def _records(file: Path, header: list[str] | None) -> Iterator[dict[str, str]]:
    """The list's clips with the columns' names as above."""
    text = read_text(file)
    if file.suffix in (".json", ".jsonl"):
        try:
            tree = (
                [json.loads(line) for line in text.split("\n") if line.strip()]
                if file.suffix == ".jsonl"
                else json.loads(text)
            )
        except ValueError as error:
            raise DataError("not JSON", path=file, got=str(error)) from error
        yield from (_named(record) for record in _leaves(tree, {}))
        return
    lines = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if file.suffix == ".tsv" else ",")
    names = header if header is not None else [name.strip().lower() for name in next(lines, [])]
    if header is None and not set(names) & {*_COLUMNS["video"], *_COLUMNS["clip"]}:
        raise DataError("a list of clips", path=file, expected=f"a header with one of {_COLUMNS['video']}", got=names)
    for cells in lines:
        if cells:
            yield _named(dict(zip(names, (cell.strip() for cell in cells))))


def _leaves(node: Any, above: dict[str, str]) -> Iterator[dict[str, str]]:
    """Records of nested JSON: {video: {clip: {start, end, ...}}}, {video: [{...}]}, [{...}]."""
    if isinstance(node, list):
        for child in node:
            yield from _leaves(child, above)
    elif isinstance(node, dict):
        if any(isinstance(value, int | float | str) for value in node.values()):
            yield above | {str(k).lower(): str(v) for k, v in node.items() if isinstance(v, int | float | str)}
            return
        for name, child in node.items():
            yield from _leaves(child, above | ({"clip": str(name)} if "video_id" in above else {"video_id": str(name)}))


def _named(record: Mapping[str, str]) -> dict[str, str]:
    out = dict(record)
    for name, spellings in _COLUMNS.items():
        value = next((record[s] for s in spellings if record.get(s)), None)
        if value is not None:
            out[name] = value
    return out
