"""Clips of the published corpora as the published systems list them, as manifests.

LRS2 and LRS3 are read whole (face frames, sound beside them in `<root>_audio`, lip centres of `preprocess_*.txt`); GRID
after alignment (`lip2speech grid`). A prepared store has a manifest of its own.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import ConfigError, DataError
from viseme.lip2speech.crops import read_lip_centres
from viseme.lip2speech.transcripts import main_text

__all__ = ["GRID_UNSEEN", "grid_manifest", "lrs_manifest", "unseen_split"]

_log = logging.getLogger(__name__)

LRS_LISTS = {
    "LRS2": {"train": ("pretrain.txt", "train.txt"), "val": ("val.txt",), "test": ("test.txt",)},
    "LRS3": {
        "train": ("lrs3_unseen_train.txt",),
        "val": ("lrs3_unseen_val.txt",),
        "test": ("lrs3_unseen_test.txt",),
    },
}
GRID_UNSEEN = {
    "test": ("s2", "s4", "s11", "s13", "s15", "s18", "s19", "s25", "s31", "s33"),
    "val": ("s9", "s20", "s23", "s27", "s29", "s30", "s34"),
}
"""Speakers of GRID's unseen-speaker split; all others train."""


def lrs_manifest(
    data: str | Path, data_name: str, split: str, lists: str | Path, *, texts: bool = False
) -> tuple[Manifest, dict[str, np.ndarray]]:
    """Clips of a split that have a video and lip centres, and the centres by id.

    Args:
        data: the corpus: the folder with `main` and `pretrain` (LRS2), or `pretrain`, `trainval` and `test` (LRS3).
        data_name: `LRS2` or `LRS3`.
        split: `train`, `val` or `test`.
        lists: folder with the split lists and `<data_name>_crop/preprocess_*.txt`. Where LRS3 has no lists, its split
            is made by `unseen_split` of all clips that have lip centres.
        texts: read transcripts too.

    Raises:
        ConfigError: no such corpus or split.
        DataError: no lists, no centres, or no clip that has everything.
    """
    if data_name not in LRS_LISTS or split not in LRS_LISTS[data_name]:
        raise ConfigError(
            "no such corpus or split", expected="LRS2 or LRS3; train, val or test", got=(data_name, split)
        )
    root, lists = Path(data), Path(lists)
    centres: dict[str, np.ndarray] = {}
    files = sorted((lists / f"{data_name}_crop").glob("preprocess_*.txt"))
    if not files:
        raise DataError("no lip centres", path=lists / f"{data_name}_crop", expected="preprocess_*.txt")
    for file in files:
        folder = file.stem.removeprefix("preprocess_")
        centres |= {f"{folder}/{name}": points for name, points in read_lip_centres(file).items()}
    rows, skipped = [], []
    for name in _ids(lists, data_name, split, centres):
        path = root / f"{name}.mp4"
        if name not in centres or not path.is_file():
            skipped.append((name, "no lip centres" if name not in centres else "no such video"))
            continue
        sound = root.with_name(f"{root.name}_audio") / f"{name}.wav"
        text = main_text(path.with_suffix(".txt").read_text(encoding="utf-8")) if texts else ""
        rows.append(
            ManifestRow(
                name,
                f"{name}.mp4",
                audio=str(sound.resolve()) if sound.is_file() else "",
                frames=len(centres[name]),
                fps=25.0,
                text=text,
                speaker=name.split("/")[1],
                split=split,
                dataset=data_name.lower(),
            )
        )
    if not rows:
        raise DataError(f"none of {len(skipped)} clips of {split} can be used", path=root, got=skipped[:3])
    return Manifest(rows, root, skipped=skipped), {row.id: centres[row.id] for row in rows}


def _ids(lists: Path, data_name: str, split: str, known: Iterable[str]) -> list[str]:
    def find(file: str) -> Path | None:
        return next((place / file for place in (lists / data_name, lists) if (place / file).is_file()), None)

    if data_name == "LRS3" and not any(find(file) for files in LRS_LISTS["LRS3"].values() for file in files):
        _log.warning("no lrs3_unseen_*.txt in %s: the split of unseen speakers is made by its rule", lists / data_name)
        return unseen_split(known)[split]
    found = []
    for file in LRS_LISTS[data_name][split]:
        path = find(file)
        if path is None:
            raise DataError("no such list", path=lists / data_name / file)
        folder = "" if data_name == "LRS3" else "pretrain/" if file == "pretrain.txt" else "main/"
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [folder + line.split()[0] for line in lines if line.strip()]
    return found


def unseen_split(ids: Iterable[str], *, val_share: float = 0.05) -> dict[str, list[str]]:
    """A split of LRS3 in which no video is in two parts: the test set tests, and of the other videos a share, chosen by
    the hash of the name, validates. The published one is such a split; its lists are read where they are at hand."""
    names = sorted(ids)
    tested = {name.split("/")[1] for name in names if name.startswith("test/")}
    split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name in names:
        video = name.split("/")[1]
        if name.startswith("test/"):
            split["test"].append(name)
        elif video not in tested:
            share = int(hashlib.sha256(video.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
            split["val" if share < val_share else "train"].append(name)
    return split


def grid_manifest(grid: str | Path, subject: str, split: str, lists: str | Path | None = None) -> Manifest:
    """Aligned GRID clips `<subject>/video/<n>.mp4` with `<subject>/audio/<n>.flac`.

    Args:
        grid: the aligned corpus.
        subject: `unseen` (by speakers), `overlap` (by lists), `four`, or one speaker (`s1`).
        split: `train`, `val` or `test`.
        lists: folder of `overlap_*.txt` and `*_4.txt`; not needed for `unseen`.

    Raises:
        DataError: no list, or no clip.
    """
    root = Path(grid)
    if subject == "unseen":
        named = {speaker for speakers in GRID_UNSEEN.values() for speaker in speakers}
        speakers: Sequence[str] = sorted(
            folder.name
            for folder in root.glob("s*")
            if (folder.name in GRID_UNSEEN[split] if split in GRID_UNSEEN else folder.name not in named)
        )
        names = [
            f"{path.parts[-3]}/{path.stem}" for who in speakers for path in sorted((root / who).glob("video/*.mp4"))
        ]
    else:
        file = f"overlap_{'train' if split == 'train' else 'val'}.txt" if subject == "overlap" else f"{split}_4.txt"
        path = Path(lists or ".") / file
        if not path.is_file():
            raise DataError("no such list", path=path)
        lines = path.read_text(encoding="utf-8").split()
        names = [f"{line.split('/')[0]}/{Path(line).stem}" for line in lines]
        if subject not in ("overlap", "four"):
            names = [name for name in names if name.startswith(f"{subject}/")]
    rows = []
    for name in names:
        speaker, number = name.split("/")
        video, sound = root / speaker / "video" / f"{number}.mp4", root / speaker / "audio" / f"{number}.flac"
        if video.is_file() and sound.is_file():
            rows.append(
                ManifestRow(
                    name,
                    f"{speaker}/video/{number}.mp4",
                    audio=f"{speaker}/audio/{number}.flac",
                    fps=25.0,
                    speaker=speaker,
                    split=split,
                    dataset="grid",
                )
            )
    if not rows:
        raise DataError(f"no clip of {subject} {split} is there", path=root, expected="<subject>/video/<n>.mp4")
    return Manifest(rows, root, skipped=[(name, "no such clip") for name in names[len(rows) :]])
