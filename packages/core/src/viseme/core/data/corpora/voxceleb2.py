"""VoxCeleb2: `{dev,test}/mp4/<speaker>/<video>/<utterance>.mp4`, the sound in the same or as `.m4a` or `.wav` under
`aac/` beside `mp4/`. There are no transcripts.

Chung, Nagrani and Zisserman, "VoxCeleb2: Deep Speaker Recognition", 2018. Clips are cut into equal pieces, as published
for lip reading.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from viseme.core.data.corpora.scanning import ScanReport, read_text
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError
from viseme.core.media import probe

__all__ = ["scan"]

FPS = 25.0
_SHORTEST_FRAMES = 12


def scan(
    root: str | Path, *, ids: str | Path | None = None, max_s: float | None = 24.0, language: str = ""
) -> Manifest:
    """A manifest of VoxCeleb2 or a part of it; `dev` is for training.

    Args:
        root: the folder with `dev` and `test`, one of them, or any with `<speaker>/<video>/<utterance>.mp4`.
        ids: file with the clips wanted, one a line (`<...>/<speaker>/<video>/<utterance>`, with or without what comes
            before), such as the published list of English ones.
        max_s: seconds after which a clip is cut into pieces of that length (published: 24 and 16); pieces below 12
            frames are dropped. None keeps clips whole, and looks into no file.

    Raises:
        DataError: no such folder, or no usable clip.
    """
    root = Path(root)
    report = ScanReport(root)
    wanted = None if ids is None else {_key(line) for line in read_text(Path(ids)).split("\n") if line.strip()}
    rows: list[ManifestRow] = []
    for path in sorted(root.rglob("*.mp4")):
        relative = path.relative_to(root)
        if len(relative.parts) < 3 or (wanted is not None and _key(relative.as_posix()) not in wanted):
            continue
        sound = _sound(root, relative)
        row = ManifestRow(
            id=relative.with_suffix("").as_posix(),
            path=relative.as_posix(),
            audio="" if sound is None else sound.relative_to(root).as_posix(),
            speaker=relative.parts[-3],
            language=language,
            split="test" if "test" in relative.parts[:-3] else "train",
            dataset="voxceleb2",
        )
        with report.clip(path):
            rows += [row] if max_s is None else _pieces(row, path, max_s)
    found = {_key(row.id) for row in rows}
    for name in sorted((wanted or set()) - found - {_key(name) for name, _ in report.skipped}):
        report.skip(root / f"{name}.mp4", "in the list of ids, but there is no such file")
    return report.manifest(rows)


def _key(name: str) -> str:
    return "/".join(Path(name.strip().split()[0]).with_suffix("").parts[-3:])


def _sound(root: Path, relative: Path) -> Path | None:
    """The clip's own file of sound, if it has one."""
    parts = list(relative.parts)
    if "mp4" in parts[:-3]:
        parts[parts.index("mp4")] = "aac"
    for suffix in (".m4a", ".wav"):
        place = root.joinpath(*parts).with_suffix(suffix)
        if place.is_file():
            return place
    return None


def _pieces(row: ManifestRow, path: Path, max_s: float) -> list[ManifestRow]:
    frames = round(probe(path).duration_s * FPS)
    step = round(max_s * FPS)
    if frames <= step:
        if frames < _SHORTEST_FRAMES:
            raise DataError("too short", expected=f"at least {_SHORTEST_FRAMES} frames", got=frames)
        return [row]
    cuts = range(0, frames, step)
    return [
        replace(row, id=f"{row.id}_{index:02d}", start_s=start / FPS, end_s=min(start + step, frames) / FPS)
        for index, start in enumerate(cuts)
        if min(start + step, frames) - start >= _SHORTEST_FRAMES
    ]
