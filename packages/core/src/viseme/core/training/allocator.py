"""Memory that stays: between the steps of a training on a CPU, freed blocks are not handed back to the kernel.

glibc gives every large block back as soon as it is freed, and the next step has the kernel fault in and clear the same
pages again: 12 to 30 % of a step's processor time on the machines where this was measured. The blocks of one step are
those of the next, so keeping them costs no more than the step's own peak.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["give_memory_back", "keep_memory", "kept_memory"]

# <malloc.h>
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER_TRIM, NO_MAPPINGS = -1, 0
DEFAULT_MAPPINGS = 65536
LARGEST_TRIM_BYTES = 64 * 1024 * 1024
"""What glibc arrives at by itself in a process that frees large blocks; once set, a threshold no longer adapts."""


def _library() -> ctypes.CDLL | None:
    """The C library, where it is one that can be told."""
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def keep_memory() -> bool:
    """From here on the process keeps what it frees; whether the C library can do that (glibc)."""
    library = _library()
    if library is None:
        return False
    return all([library.mallopt(MMAP_MAX, NO_MAPPINGS), library.mallopt(TRIM_THRESHOLD, NEVER_TRIM)])


def give_memory_back() -> None:
    """Free memory goes back to the kernel, now and from here on."""
    library = _library()
    if library is not None:
        library.mallopt(MMAP_MAX, DEFAULT_MAPPINGS)
        library.mallopt(TRIM_THRESHOLD, LARGEST_TRIM_BYTES)
        library.malloc_trim(0)


@contextmanager
def kept_memory() -> Iterator[bool]:
    """`keep_memory` within, `give_memory_back` after."""
    able = keep_memory()
    try:
        yield able
    finally:
        give_memory_back()
