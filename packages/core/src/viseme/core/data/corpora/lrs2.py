"""LRS2: `<root>/{main,pretrain}/<speaker>/<clip>.{mp4,txt}` and the lists `{train,val,test,pretrain}.txt` beside
the folders, or in the folder above.

Chung et al., "Lip reading sentences in the wild", 2017. Training takes `main` clips of the train list and all of
pretrain.
"""

from __future__ import annotations

from pathlib import Path

from viseme.core.data.corpora.lrs3 import clip_rows
from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["scan"]

_LISTS = {
    "train": ("main", "train"),
    "pretrain": ("pretrain", "train"),
    "val": ("main", "val"),
    "test": ("main", "test"),
}


def scan(root: str | Path, *, max_s: float | None = 16.0, language: str = "en") -> Manifest:
    """A manifest of LRS2; pretrain clips are cut and unusable ones left out as in `lrs3.scan`.

    Args:
        root: the folder that holds `main` and `pretrain`.
        max_s: limit of a pretrain segment in seconds (published: 24, later 16); None keeps them whole.

    Raises:
        DataError: no such folder, no list, or no usable clip.
    """
    root = Path(root)
    report = ScanReport(root)
    rows: list[ManifestRow] = []
    found = False
    for name, (folder, split) in _LISTS.items():
        places = [place / f"{name}.txt" for place in (root, root.parent) if (place / f"{name}.txt").is_file()]
        if not places:
            continue
        found = True
        for line in read_text(places[0]).split("\n"):
            if not (cells := line.split()):
                continue
            path = root / folder / f"{cells[0]}.mp4"  # further columns (test list) are notes
            with report.clip(path):
                if not path.is_file():
                    raise DataError("listed, but not there", path=path)
                limit = max_s if folder == "pretrain" else None
                rows += clip_rows(root, path, split, max_s=limit, language=language, dataset="lrs2")
    if not found:
        raise DataError("none of LRS2's lists", path=root, expected=", ".join(f"{name}.txt" for name in _LISTS))
    return report.manifest(rows)
