"""Tux Paint's stamps: pictures with written captions in a hundred languages and recorded spoken ones in several (French
928, Spanish 890, Russian 920, English 66). Anyone can install them (Debian: tuxpaint-stamps-default; GPL-2 or later and
public domain): an obtainable stand-in for SpokenCOCO.

    animals/mammals/cats/lion.png        the picture, mostly with a transparent background
    animals/mammals/cats/lion.txt        `A lion.` and lines such as `fr.utf8=Un lion.`
    animals/mammals/cats/lion_desc_fr.ogg    (`lion_desc.ogg` in English)
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["ROOT", "scan"]

ROOT = Path("/usr/share/tuxpaint/stamps")
"""Where Debian and others install them."""


def scan(root: str | Path = ROOT, language: str = "fr") -> Manifest:
    """Every stamp that has a picture of pixels (not drawings, `.svg`) and a recording in the language. One in ten is in
    the split `test`, one in twenty in `val`, by a hash of its path, so that releases agree.

    Args:
        root: folder of the stamps.
        language: of the recordings, as the files name it: `fr`, `es`, `ru`, `ro`, ...; `en`.

    Raises:
        DataError: no such folder, or no stamps with recordings in this language.
    """
    report = ScanReport(Path(root))
    ending = "_desc.ogg" if language == "en" else f"_desc_{language}.ogg"
    rows = []
    for sound in sorted(report.root.rglob(f"*{ending}")):
        stem = sound.name.removesuffix(ending)
        picture = sound.with_name(f"{stem}.png")
        if not picture.is_file():
            report.skip(sound, "no picture of pixels beside it")
            continue
        with report.clip(sound):
            name = picture.relative_to(report.root).with_suffix("").as_posix()
            text = _caption(sound.with_name(f"{stem}.txt"), language)
            rows.append(
                ManifestRow(
                    id=name,
                    path=f"{name}.png",
                    audio=sound.relative_to(report.root).as_posix(),
                    text=text,
                    language=language,
                    split=_split(name),
                    dataset="tuxpaint",
                    extra={"image": name, "references": text},
                )
            )
    return report.manifest(rows)


def _caption(path: Path, language: str) -> str:
    lines = read_text(path).split("\n")
    if language == "en":
        return lines[0].strip()
    for line in lines[1:]:
        name, sign, text = line.partition(".utf8=")
        if sign and name == language and text.strip():
            return text.strip()
    raise DataError("no caption in this language", path=path, got=language)


def _split(name: str) -> str:
    block = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 20
    return "test" if block < 2 else "val" if block == 2 else "train"
