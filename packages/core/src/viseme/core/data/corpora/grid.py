"""GRID: 34 talkers, sentences such as "bin blue at f two now", 3 s each: `s1/*.mpg`, `s1/video/*.mpg` or
`s1/video/mpg_6000/*.mpg`, and word alignments `<n>.align` (25,000 units a second) anywhere below the talker, or below
`align*/s1/`.

Cooke, Barker, Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech recognition",
2006. Names of files spell the sentence, so that it is known without alignments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["UNSEEN_TEST", "UNSEEN_VAL", "scan", "spelled"]

UNSEEN_TEST = ("s2", "s4", "s11", "s13", "s15", "s18", "s19", "s25", "s31", "s33")
UNSEEN_VAL = ("s9", "s20", "s23", "s27", "s29", "s30", "s34")
"""Talkers of the published split by talkers (VCA-GAN); the others are for training."""

_COMMANDS = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
_COLOURS = {"b": "blue", "g": "green", "r": "red", "w": "white"}
_PREPOSITIONS = {"a": "at", "b": "by", "i": "in", "w": "with"}
_DIGITS = dict(zip("z123456789", ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]))
_ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}
_VIDEO = {".mpg", ".mpeg", ".mp4", ".avi", ".mov"}


def spelled(name: str) -> str | None:
    """The sentence that a file's name spells: `bbaf2n` is "bin blue at f two now"; None if it is not one."""
    slots: list[Mapping[str, str]] = [_COMMANDS, _COLOURS, _PREPOSITIONS, {}, _DIGITS, _ADVERBS]
    if not re.fullmatch(r"[blps][bgrw][abiw][a-z][z1-9][anps]", name):
        return None
    return " ".join(words.get(letter, letter) for words, letter in zip(slots, name))


def scan(root: str | Path, *, case: str = "upper", language: str = "en") -> Manifest:
    """A manifest of GRID, split by talkers as published.

    Args:
        case: `upper` or `lower` transcripts.

    Raises:
        DataError: no such folder, or no clip in it.
    """
    root = Path(root)
    report = ScanReport(root)
    aligned = {(_talker(root, path), path.stem): path for path in root.rglob("*.align")}
    rows: list[ManifestRow] = []
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in _VIDEO):
        talker = _talker(root, path)
        if talker is None:
            report.skip(path, "no folder s1 .. s34 above it")
            continue
        with report.clip(path):
            text = _text(aligned.get((talker, path.stem)), path.stem)
            rows.append(
                ManifestRow(
                    id=f"{talker}/{path.stem}",
                    path=path.relative_to(root).as_posix(),
                    text=text.upper() if case == "upper" else text,
                    speaker=talker,
                    language=language,
                    split="test" if talker in UNSEEN_TEST else "val" if talker in UNSEEN_VAL else "train",
                    dataset="grid",
                )
            )
    return report.manifest(rows)


def _talker(root: Path, path: Path) -> str | None:
    folders = path.relative_to(root).parts[:-1]
    found = next((name for name in folders if re.fullmatch(r"s\d{1,2}", name)), None)
    return found or (root.name if re.fullmatch(r"s\d{1,2}", root.name) else None)


def _text(alignment: Path | None, name: str) -> str:
    if alignment is not None:
        cells = [line.split() for line in read_text(alignment).split("\n") if line.strip()]
        if any(len(line) != 3 for line in cells):
            raise DataError("not an alignment", path=alignment, expected="lines `start end word`")
        return " ".join(word for _, _, word in cells if word not in ("sil", "sp"))
    if (text := spelled(name)) is None:
        raise DataError("neither an alignment nor a name that spells its sentence", got=name)
    return text
