"""The contact sheet: one row of crops per clip, to see at a glance whether every crop is a mouth."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import VisemeError
from viseme.core.files import write_bytes_atomic
from viseme.core.media import read_video, stream_frames

__all__ = ["contact_sheet", "strip"]

_COLUMNS = 12
_TITLE = 18


def contact_sheet(manifest: Manifest, path: Path, *, rows: int = 40) -> None:
    """Write a JPEG with crops of at most `rows` clips, spread evenly over the manifest, twelve moments of each.

    Raises:
        DataError: the manifest is empty, or a clip of it cannot be read.
    """
    chosen = np.unique(np.linspace(0, len(manifest) - 1, min(rows, len(manifest))).round().astype(int))
    strips = [strip(manifest, manifest[int(index)]) for index in chosen]
    width = max(strip.shape[1] for strip in strips)
    picture = np.vstack([np.pad(s, [(0, 0), (0, width - s.shape[1]), (0, 0)], constant_values=255) for s in strips])
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not encoded:
        raise VisemeError("the contact sheet cannot be encoded", path=path)
    write_bytes_atomic(path, data.tobytes())


def _moments(film: Path, frames: int) -> list[np.ndarray]:
    """Twelve frames of a film, the first and the last among them, without holding the others."""
    wanted = np.linspace(0, frames - 1, _COLUMNS).round().astype(int).tolist()
    found: dict[int, np.ndarray] = {}
    for index, frame in enumerate(stream_frames(film, fps=None)):
        last = frame
        if index in wanted:
            found[index] = frame
    return [found.get(index, last) for index in wanted]


def _faces(folder: Path) -> list[np.ndarray]:
    """Up to twelve of a clip's single pictures, all of one size."""
    files = sorted(folder.glob("*.jpg"), key=lambda file: int(file.stem))
    chosen = np.linspace(0, len(files) - 1, _COLUMNS).round().astype(int)
    pictures = [read_video(files[index], fps=None).frames[0] for index in chosen if files]
    return [cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA) for picture in pictures]


def strip(manifest: Manifest, row: ManifestRow) -> np.ndarray:
    """Twelve moments of a clip side by side, with its name above, (H, W, 3) RGB."""
    place = manifest.file(row)
    crops = np.hstack(_faces(place) if place.is_dir() else _moments(place, row.frames or 1))
    title = np.full((_TITLE, crops.shape[1], 3), 255, np.uint8)
    # OpenCV's font has ASCII only.
    name = unicodedata.normalize("NFKD", row.id).encode("ascii", "replace").decode("ascii")
    text = f"{name}  {row.frames} frames" + ("" if row.samples else "  no audio")
    cv2.putText(title, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([title, crops])
