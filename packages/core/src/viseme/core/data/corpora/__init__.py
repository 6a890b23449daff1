"""Readers: each turns a corpus as it is distributed, or any folder, into a manifest with `scan(root)`. What cannot
be used is left out and listed with its reason in the manifest's `skipped`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from viseme.core.data.manifest import Manifest

__all__ = ["READERS", "reader"]

READERS = {
    "folder": "folder:scan",
    "lrs2": "lrs2:scan",
    "lrs3": "lrs3:scan",
    "lrw": "lrw:scan",
    "voxceleb2": "voxceleb2:scan",
    "avspeech": "online:avspeech",
    "multivsr": "online:multivsr",
    "visper": "online:visper",
    "muavic": "muavic:scan",
    "grid": "grid:scan",
}
"""Name of a corpus -> module and function."""


def reader(name: str) -> Callable[..., Manifest]:
    """The `scan` of a corpus by its name in `READERS`."""
    module, function = READERS[name].split(":")
    return getattr(import_module(f"{__name__}.{module}"), function)
