"""LRS3, and any corpus in its layout: `<root>/{pretrain,trainval,test}/<speaker>/<clip>.{mp4,txt}`.

Afouras et al., "LRS3-TED: a large-scale dataset for visual speech recognition", 2018. Further folders `train` and
`val` are understood: LRS3 has no validation set, but corpora in its layout (such as the embedded one) do.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from viseme.core.data.corpora.lrs_text import FPS, LrsSegment, main_text, split_pretrain
from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["scan", "clip_rows"]

_SPLITS = {"pretrain": "train", "trainval": "train", "train": "train", "val": "val", "test": "test"}


def scan(root: str | Path, *, max_s: float | None = 16.0, language: str = "en", dataset: str = "lrs3") -> Manifest:
    """A manifest of a corpus in LRS3's layout.

    Pretrain clips are cut at word boundaries into segments of at most `max_s` seconds (`split_pretrain`); one that
    gives a single segment is kept whole. Clips without a usable transcript are left out and listed in the
    manifest's `skipped`.

    Args:
        root: the folder that holds `trainval`, `test`, ...
        max_s: limit of a segment in seconds (published: 24, later 16); None keeps pretrain clips whole.

    Raises:
        DataError: no such folder, none of the subsets in it, or no usable clip.
    """
    root = Path(root)
    report = ScanReport(root)
    subsets = [name for name in _SPLITS if (root / name).is_dir()]
    if not subsets:
        raise DataError("not in LRS3's layout", path=root, expected=f"folders {', '.join(_SPLITS)}")
    rows: list[ManifestRow] = []
    for subset in subsets:
        for path in sorted((root / subset).glob("*/*.mp4")):
            with report.clip(path):
                limit = max_s if subset == "pretrain" else None
                rows += clip_rows(root, path, _SPLITS[subset], max_s=limit, language=language, dataset=dataset)
    return report.manifest(rows)


def clip_rows(
    root: Path, path: Path, split: str, *, max_s: float | None, language: str, dataset: str
) -> list[ManifestRow]:
    """The rows of one clip: one, or one per segment where `max_s` cuts it.

    Raises:
        DataError: no transcript, or not one of LRS's.
    """
    transcript = read_text(path.with_suffix(".txt"))
    name = path.relative_to(root).with_suffix("").as_posix()
    whole = ManifestRow(
        id=name,
        path=path.relative_to(root).as_posix(),
        speaker=path.parent.name,
        language=language,
        split=split,
        dataset=dataset,
    )
    segments: list[LrsSegment] = split_pretrain(transcript, max_s) if max_s is not None else []
    if len(segments) > 1:
        return [
            replace(
                whole,
                id=f"{name}_{index:02d}",
                frames=segment.end_frame - segment.start_frame,
                fps=float(FPS),
                start_s=segment.start_frame / FPS,
                end_s=segment.end_frame / FPS,
                text=segment.content,
            )
            for index, segment in enumerate(segments)
            if segment.end_frame > segment.start_frame
        ]
    text = main_text(transcript.split("\n")[0])
    if not text:
        raise DataError("the transcript has no words", path=path.with_suffix(".txt"), expected="Text:  WORDS ...")
    return [replace(whole, text=text)]
