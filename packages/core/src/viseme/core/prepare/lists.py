"""Lists that the published systems read beside the crops."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from viseme.core.data import Manifest, ManifestRow
from viseme.core.files import write_text_atomic

__all__ = ["write_face_lists", "write_lip_centres"]


def write_lip_centres(manifest: Manifest, store: Path) -> list[Path]:
    """`lips/preprocess_<part>.txt` for each first folder of the ids (LRS2: main, pretrain): a line
    `<video>/<clip>.mp4:x0/y0/x1/y1/...` a clip, in pixels of the source. Returns the files."""
    parts: dict[str, list[str]] = defaultdict(list)
    for row in manifest:
        place = store / "lips" / "centres" / f"{row.id}.txt"
        if place.is_file():
            part, _, name = row.id.partition("/")
            known = (part, name) if name else ("all", part)
            parts[known[0]].append(f"{known[1]}.mp4:{place.read_text(encoding='ascii')}\n")
    written = []
    for part, lines in sorted(parts.items()):
        write_text_atomic(store / "lips" / f"preprocess_{part}.txt", "".join(lines))
        written.append(store / "lips" / f"preprocess_{part}.txt")
    return written


def write_face_lists(manifest: Manifest, store: Path) -> list[Path]:
    """`face/filelists/{train,val,test}.txt`: the clips' folders below `face`, by the manifest's splits (none:
    training). Returns the files."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for row in manifest:
        folder = _face_folder(row)
        if folder is not None:
            lists[row.split if row.split in ("val", "test") else "train"].append(f"{folder}\n")
    for name, lines in lists.items():
        write_text_atomic(store / "face" / "filelists" / f"{name}.txt", "".join(sorted(lines)))
    return [store / "face" / "filelists" / f"{name}.txt" for name in lists]


def _face_folder(row: ManifestRow) -> str | None:
    place = row.extra.get("face_path") or row.path
    parts = PurePosixPath(place).parts
    return "/".join(parts[1:]) if parts[:1] == ("face",) else None
