"""The published label lists of Auto-AVSR and RAVEn: a headless CSV, `dataset,rel_path,input_length,token_ids`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError
from viseme.core.files import write_text_atomic
from viseme.core.text import Tokenizer

__all__ = ["LabelRow", "read_labels", "write_labels", "labels_to_manifest", "manifest_to_labels"]

_SAMPLES_PER_FRAME = 640  # 16 kHz over 25 fps


@dataclass(frozen=True)
class LabelRow:
    """One clip of a published list.

    Attributes:
        dataset: corpus, the first folder below the data root.
        path: the mp4 relative to that folder; the sound is the same path with `.wav`.
        frames: length in video frames.
        tokens: unit ids.
    """

    dataset: str
    path: str
    frames: int
    tokens: tuple[int, ...]


def read_labels(path: str | Path) -> list[LabelRow]:
    """Read a label list; blanks around the commas (as some guides show them) are forgiven.

    Raises:
        DataError: no such list, an empty one, or a line that does not fit; names the line.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise DataError("cannot read the label list", path=path, got=str(error)) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            dataset, rest = line.split(",", 1)
            name, frames, tokens = rest.rsplit(",", 2)  # a path may hold commas, the other fields cannot
            row = LabelRow(dataset.strip(), name.strip(), int(frames), tuple(map(int, tokens.split())))
        except ValueError:
            wanted = "dataset,rel_path,input_length,token_ids"
            raise DataError(f"line {number} of the label list", path=path, expected=wanted, got=line.strip()) from None
        rows.append(row)
    if not rows:
        raise DataError(
            "the label list is empty", path=path, hint="Its preparation failed for every clip: see its failures.csv."
        )
    return rows


def write_labels(path: str | Path, rows: Iterable[LabelRow]) -> None:
    """Write a label list in the published format; all of it or nothing.

    Raises:
        DataError: a dataset with a comma, or a name with a line end.
    """
    lines = []
    for row in rows:
        if "," in row.dataset or "\n" in row.dataset + row.path:
            raise DataError("the published format cannot hold this name", got=repr((row.dataset, row.path)))
        lines.append(f"{row.dataset},{row.path},{row.frames},{' '.join(map(str, row.tokens))}\n")
    write_text_atomic(path, "".join(lines))


def labels_to_manifest(
    rows: Iterable[LabelRow], root: str | Path, tokenizer: Tokenizer, *, split: str = ""
) -> Manifest:
    """A manifest over a published data root: text decoded from the token ids, sound in the `.wav` beside each mp4."""
    made = []
    for row in rows:
        path = PurePosixPath(row.dataset, row.path)
        made.append(
            ManifestRow(
                id=path.with_suffix("").as_posix(),
                path=path.as_posix(),
                audio=path.with_suffix(".wav").as_posix(),
                frames=row.frames,
                fps=25.0,
                samples=row.frames * _SAMPLES_PER_FRAME,
                rate=16000,
                text=tokenizer.decode(row.tokens),
                split=split,
                dataset=row.dataset,
            )
        )
    return Manifest(made, root)


def manifest_to_labels(manifest: Manifest, tokenizer: Tokenizer) -> list[LabelRow]:
    """The published list of a manifest; a path that starts with the dataset's folder is cut below it."""
    rows = []
    for row, frames in zip(manifest, manifest.lengths()):
        path = PurePosixPath(row.path)
        dataset = row.dataset or path.parts[0]
        rest = path.relative_to(dataset) if path.parts[0] == dataset else path
        rows.append(LabelRow(dataset, rest.as_posix(), frames, tuple(tokenizer.encode(row.text))))
    return rows
