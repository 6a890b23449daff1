"""One shard of a packed store: a safetensors file with the clips' frames and samples, mapped into memory.

`<id>/frames` uint8 (T, H, W) grey or (T, H, W, 3) RGB, `<id>/samples` int16 (S,); the clip's row of the manifest is in
the header's metadata under its id. Any safetensors reader can open it.

T frames, H, W of a picture, S samples.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from viseme.core.errors import DataError

__all__ = ["MARK", "RATE", "Shard", "digest", "open_shard", "packed_place", "read_packed"]

RATE = 16_000
"""Samples per second in shards."""

MARK = ".safetensors#"
"""In a manifest's path: file of the shard, then `#`, then the clip's id."""

_TYPES: dict[str, np.dtype] = {"U8": np.dtype("u1"), "I16": np.dtype("<i2")}
_LONGEST_HEADER = 100 * 1024**2  # as the format's own reader has it


def packed_place(path: str) -> tuple[str, str] | None:
    """Shard and id that a manifest's path names; None for an ordinary file."""
    shard, mark, clip = path.partition(MARK)
    return (shard + MARK[:-1], clip) if mark and clip else None


def digest(array: np.ndarray) -> str:
    """Checksum of an array's bytes: BLAKE2b, 128 bits, as hexadecimal digits."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


class Shard:
    """A shard's arrays by name, without copying them; reading one touches its bytes only. What is written into an array
    stays in this process.

    Raises:
        DataError: no such file, or not a shard.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._bytes = np.memmap(self.path, np.uint8, "c")
            size = int(self._bytes[:8].view("<u8")[0])
            if not 2 <= size <= min(len(self._bytes) - 8, _LONGEST_HEADER):
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(bytes(self._bytes[8 : 8 + size]))
            self.rows: dict[str, str] = header.pop("__metadata__", {})
            self._tensors: dict[str, dict] = header
            self._start = 8 + size
        except FileNotFoundError as error:
            raise DataError("no such shard", path=path) from error
        except (OSError, ValueError, AttributeError, TypeError) as error:  # ValueError: broken JSON, UTF-8, no bytes
            raise DataError("not a readable shard", path=path, got=str(error)) from error

    @property
    def clips(self) -> list[str]:
        """Ids of the clips in it."""
        return list(self.rows)

    def get(self, clip: str, what: str) -> np.ndarray | None:
        """`frames` or `samples` of a clip; None where it has none.

        Raises:
            DataError: there is no such clip, or the file is damaged.
        """
        entry = self._tensors.get(f"{clip}/{what}")
        if entry is None:
            if clip not in self.rows:
                raise DataError("no such clip in this shard", path=self.path, got=repr(clip))
            return None
        try:
            kind, shape, (begin, end) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            if end - begin != math.prod(shape) * kind.itemsize or self._start + end > len(self._bytes):
                raise ValueError("its bytes are not all there")
            bytes_of_it = np.asarray(self._bytes[self._start + begin : self._start + end])
            return bytes_of_it.view(kind).reshape(shape)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"clip {clip!r} is damaged", path=self.path, got=str(error)) from error


@lru_cache(maxsize=4096)
def open_shard(path: Path) -> Shard:
    """The shard at `path`, mapped once in this process."""
    return Shard(path)


def read_packed(
    root: Path, path: str, *, video: bool, audio: bool, gray: bool
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Frames and samples (int16) of a clip of a packed store.

    Args:
        root: folder of the store.
        path: the clip's path in the manifest.
        video, audio: which to read.
        gray: frames as (T, H, W); from RGB ones by OpenCV's conversion.

    Raises:
        DataError: missing or damaged, a stream that was asked for is not there, or colour wanted of grey frames.
    """
    place = packed_place(path)
    if place is None:
        raise DataError("not a clip of a packed store", got=path, expected=f"SHARD{MARK}ID")
    shard = open_shard(root / place[0])
    frames = shard.get(place[1], "frames") if video else None
    samples = shard.get(place[1], "samples") if audio else None
    if missing := [
        what for what, wanted, got in (("frames", video, frames), ("sound", audio, samples)) if wanted and got is None
    ]:
        raise DataError(f"clip {place[1]!r} was packed without {missing[0]}", path=shard.path)
    if frames is not None and frames.ndim == 4 and gray:
        frames = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    if frames is not None and frames.ndim == 3 and not gray:
        raise DataError(
            f"clip {place[1]!r} was packed in grey", path=shard.path, expected="RGB", hint="Pack with --rgb."
        )
    return frames, samples
