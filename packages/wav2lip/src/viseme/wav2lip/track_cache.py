"""Face tracks kept between runs, for many sounds on one face: keyed by the file's content and the options."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from viseme.core.files import write_bytes_atomic
from viseme.wav2lip.boxes import FacePath

if TYPE_CHECKING:
    from viseme.wav2lip.options import SyncOptions
    from viseme.wav2lip.source import Source

__all__ = ["TrackCache"]

_VERSION = 1


class TrackCache:
    """One entry: `read` gives what was found before, `write` keeps it."""

    def __init__(self, folder: str | Path, source: Source, options: SyncOptions) -> None:
        with source.path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        decided: tuple[object, ...] = (
            _VERSION,
            source.fps,
            source.still,
            options.face,
            options.smooth,
            options.max_gap,
        )
        decided += (options.resize_factor, options.rotate, options.crop, options.sizes)
        key = hashlib.sha256(f"{content} {decided}".encode()).hexdigest()[:32]
        self.path, self.frames = Path(folder) / f"{key}.npz", source.frames

    def read(self) -> tuple[FacePath, int] | None:
        """The track and the number of faces, if it was found for at least as many frames; a damaged entry counts as
        none."""
        try:
            with np.load(self.path) as kept:
                path = FacePath(kept["boxes"], kept["points"], kept["seen"])
                asked, faces = int(kept["asked"]), int(kept["faces"])
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None
        if asked < self.frames:
            return None
        few = min(self.frames, len(path.seen))
        return FacePath(path.boxes[:few], path.points[:few], path.seen[:few]), faces

    def write(self, path: FacePath, faces: int) -> None:
        """Keep a track; whole or not at all."""
        out = io.BytesIO()
        np.savez(out, boxes=path.boxes, points=path.points, seen=path.seen, faces=faces, asked=self.frames)
        write_bytes_atomic(self.path, out.getvalue())
