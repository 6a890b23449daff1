"""Lists of clips by name: published label lists or manifests, found, read, and kept apart from one another."""

from __future__ import annotations

from pathlib import Path

from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["check_disjoint", "find_list", "is_manifest", "usable_rows"]


def find_list(name: str | Path, root: str | Path, label_dir: str = "labels") -> Path:
    """A list by name: as given, below `root/label_dir`, or below `root`.

    Raises:
        DataError: it is nowhere.
    """
    places = [Path(name), Path(root) / label_dir / name, Path(root) / name]
    for place in places:
        if place.is_file():
            return place
    raise DataError("no such list of clips", path=name, expected=" or ".join(str(place) for place in places[1:]))


def is_manifest(path: str | Path) -> bool:
    """Whether a list is a manifest (it names its columns), rather than a published label list."""
    if Path(path).suffix == ".parquet":
        return True
    with Path(path).open(encoding="utf-8-sig", errors="replace") as lines:
        return {"id", "path"} <= set(lines.readline().strip().split(","))


def usable_rows(manifest: Manifest, *, video: bool, audio: bool) -> Manifest:
    """The clips that have the streams asked for; a number that is not known counts as there.

    Raises:
        DataError: none has.
    """

    def has(row: ManifestRow) -> bool:
        return (row.frames != 0 or not video) and (row.samples != 0 or not audio)

    wanted = [row for row in manifest if has(row)]
    if not wanted:
        streams = " and ".join(name for name, asked in (("video", video), ("audio", audio)) if asked)
        raise DataError(f"no clip with {streams} in the list", path=manifest.root, got=f"{len(manifest)} clips")
    return Manifest(wanted, manifest.root)


def check_disjoint(first: Manifest, second: Manifest, what: str, *, allow: bool = False, used: str = "trained") -> None:
    """Refuse a list (`second`, the `what` list) that shares clips with one that was `used` (trained, validated) on.

    Raises:
        DataError: they overlap, and `allow` is not set.
    """
    known = {(row.dataset, row.id) for row in first} | {_file(first, row) for row in first}
    shared = [row.id for row in second if (row.dataset, row.id) in known or _file(second, row) in known]
    if shared and not allow:
        raise DataError(
            f"{len(shared)} of {len(second)} clips of the {what} list are also {used} on",
            got=", ".join(shared[:3]),
            hint="A result on them would mean nothing. Set allow_overlap=true if that is what you want.",
        )


def _file(manifest: Manifest, row: ManifestRow) -> tuple[str, float]:
    return (str(manifest.file(row).absolute()), row.start_s or 0.0)
