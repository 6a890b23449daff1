"""Landmarks made elsewhere, read instead of detecting: npy, npz, and the published pickled lists.

A pickle can run any program while it is read. The published lists hold nothing but arrays, so they are read with an
unpickler that knows how to make arrays and refuses everything else.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from viseme.core.errors import DataError
from viseme.core.files import atomic_path

__all__ = ["LANDMARK_SUFFIXES", "read_landmarks", "write_landmarks"]

LANDMARK_SUFFIXES = (".npz", ".npy", ".pkl")

_ALLOWED = {
    (module, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar")
} | {
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
"""What arrays and numbers are rebuilt with; `_codecs.encode` for bytes up to protocol 2, `_frombuffer` in 5."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_landmarks(path: str | Path) -> list[np.ndarray | None]:
    """Landmarks per frame: (N, 2) float64, None where there are none.

    npy: (T, N, 2). npz: the same under `landmarks` or as its only array. pkl: a list of (N, 2) arrays or None. In
    arrays, a frame with any NaN counts as missing.

    Raises:
        DataError: unreadable, of another shape, or a pickle that asks for anything but arrays.
    """
    path = Path(path)
    try:
        if path.suffix == ".pkl":
            with path.open("rb") as file:
                entries = _ArrayUnpickler(file).load()
        else:
            entries = _load_array(path)
    except pickle.UnpicklingError as error:
        hint = "Nothing of it was run. Published landmarks are lists of arrays; this file is something else."
        raise DataError("refused to read this pickle", path=path, got=str(error), hint=hint) from error
    except Exception as error:  # a damaged pickle or archive can fail in any way at all
        raise DataError("not a landmark file", path=path, expected="npy, npz or pkl", got=str(error)) from error
    if not isinstance(entries, list | np.ndarray):
        raise DataError("not landmarks", path=path, expected="one entry per frame", got=type(entries).__name__)
    return _checked(entries, path)


def _load_array(path: Path) -> np.ndarray:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        name = "landmarks" if "landmarks" in loaded.files else loaded.files[0] if len(loaded.files) == 1 else None
        if name is None:
            raise ValueError(f"arrays {loaded.files}, none of them called 'landmarks'")
        return loaded[name]


def _checked(entries: Sequence[Any] | np.ndarray, path: Path) -> list[np.ndarray | None]:
    out: list[np.ndarray | None] = []
    for index, entry in enumerate(entries):
        if entry is None:
            out.append(None)
            continue
        if not isinstance(entry, np.ndarray) or entry.ndim != 2 or entry.shape[1] != 2 or entry.dtype.kind not in "fiu":
            got = f"{entry.dtype} {entry.shape}" if isinstance(entry, np.ndarray) else type(entry).__name__
            raise DataError(f"landmarks of frame {index}", path=path, expected="numbers (points, 2)", got=got)
        points = entry.astype(np.float64)
        out.append(points if np.isfinite(points).all() else None)
    shapes = {points.shape for points in out if points is not None}
    if len(shapes) > 1:
        raise DataError("the number of landmarks changes", path=path, expected="one number", got=sorted(shapes))
    return out


def write_landmarks(path: str | Path, landmarks: Sequence[np.ndarray | None]) -> None:
    """Write npz with `landmarks` (T, N, 2) float32, NaN where there are none; all of it or nothing.

    Raises:
        DataError: no frame has landmarks.
    """
    shape = next((np.shape(points) for points in landmarks if points is not None), None)
    if shape is None:
        raise DataError("no landmarks to write", path=path)
    missing = np.full(shape, np.nan)
    table = np.stack([missing if points is None else points for points in landmarks]).astype(np.float32)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, landmarks=table)
