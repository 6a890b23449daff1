"""MuAViC, and any corpus with AV-HuBERT's lists: `<split>.tsv` (first line the folder; then id, video, sound, frames,
samples, tab-separated) and the transcripts `<split>.<language>` or `<split>.wrd`, line by line.

Anwar et al., "MuAViC: A Multilingual Audio-Visual Corpus for Robust Speech Recognition and Robust Speech-to-Text
Translation", 2023.
"""

from __future__ import annotations

from pathlib import Path

from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["scan"]

_SPLITS = {"train": "train", "valid": "val", "val": "val", "dev": "val", "test": "test"}


def scan(root: str | Path, *, language: str = "") -> Manifest:
    """A manifest of all lists below a folder (one folder a language, or one language's own).

    Args:
        language: of lists whose folder has no name of a language (two letters).

    Raises:
        DataError: no such folder, no list, or no usable clip.
    """
    root = Path(root)
    report = ScanReport(root)
    lists = [p for p in sorted(root.rglob("*.tsv")) if p.stem in _SPLITS]
    if not lists:
        raise DataError("no lists", path=root, expected=" or ".join(f"{name}.tsv" for name in _SPLITS))
    rows: list[ManifestRow] = []
    for file in lists:
        tongue = next((p for p in reversed(file.relative_to(root).parts[:-1]) if len(p) == 2), "") or language
        rows += _rows(root, file, tongue, report)
    return report.manifest(rows)


def _rows(root: Path, file: Path, language: str, report: ScanReport) -> list[ManifestRow]:
    lines = read_text(file).rstrip("\n").split("\n")
    base = Path(lines[0].strip())
    texts = _texts(file, language, len(lines) - 1)
    rows = []
    for number, line in enumerate(lines[1:]):
        cells = line.split("\t")
        with report.clip(file):
            if len(cells) != 5 or not (cells[3].isdigit() and cells[4].isdigit()):
                expected = "id, video, sound, frames, samples"
                raise DataError(f"line {number + 2} of the list", path=file, expected=expected, got=line[:80])
            video, sound = (_place(root, file, base, cell) for cell in cells[1:3])
            rows.append(
                ManifestRow(
                    id=f"{language}/{cells[0]}" if language and not cells[0].startswith(f"{language}/") else cells[0],
                    path=video,
                    audio=sound,
                    text=texts[number],
                    speaker=cells[0].split("/")[0],
                    language=language,
                    split=_SPLITS[file.stem],
                    dataset="muavic",
                )
            )
    return rows


def _texts(file: Path, language: str, count: int) -> list[str]:
    place = next((p for s in (language, "wrd", "txt") if s and (p := file.with_suffix(f".{s}")).is_file()), None)
    if place is None:
        return [""] * count
    texts = read_text(place).rstrip("\n").split("\n")
    if len(texts) != count:
        raise DataError("transcripts do not match the list", path=place, expected=f"{count} lines", got=len(texts))
    return texts


def _place(root: Path, file: Path, base: Path, name: str) -> str:
    """Where a listed file is: as listed, or, as lists travel, below the list's own folder."""
    for place in (base / name, file.parent / name.lstrip("/"), root / name.lstrip("/")):
        if place.is_file():
            return place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)
    raise DataError("listed, but not there", path=base / name)
