"""LRW: `<root>/<WORD>/{train,val,test}/<WORD>_00001.mp4`, one word spoken in the middle of 29 frames.

Chung and Zisserman, "Lip Reading in the Wild", 2016. The folder may be the one above (`lipread_mp4/`).
"""

from __future__ import annotations

import re
from pathlib import Path

from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["scan"]

_SPLITS = ("train", "val", "test")


def scan(root: str | Path, *, language: str = "en") -> Manifest:
    """A manifest of LRW. The text is the word; column `word_s` is how long it lasts, from the clip's `.txt` if there.

    Raises:
        DataError: no such folder, or no clip in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError("no such folder", path=root)
    base = root / "lipread_mp4" if (root / "lipread_mp4").is_dir() else root
    report = ScanReport(base)
    rows: list[ManifestRow] = []
    for path in sorted(base.glob("*/*/*.mp4")):
        word, split = path.parent.parent.name, path.parent.name
        with report.clip(path):
            if split not in _SPLITS or not path.stem.startswith(f"{word}_"):
                raise DataError("not in LRW's layout", expected="<WORD>/<split>/<WORD>_<number>.mp4")
            name = path.relative_to(base)
            rows.append(
                ManifestRow(
                    id=name.with_suffix("").as_posix(),
                    path=name.as_posix(),
                    text=word,
                    language=language,
                    split=split,
                    dataset="lrw",
                    extra={"word_s": _duration(path.with_suffix(".txt"))},
                )
            )
    return report.manifest(rows)


def _duration(path: Path) -> str:
    if not path.is_file():
        return ""
    found = re.search(r"Duration:\s*([\d.]+)", read_text(path))
    return found[1] if found else ""
