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

__all__ = ["kept_memory"]

# <malloc.h>
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER_TRIM, NO_MAPPINGS = -1, 0
DEFAULT_TRIM_BYTES, DEFAULT_MAPPINGS = 128 * 1024, 65536


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Within it, the process keeps what it frees; after it, free memory goes back to the kernel.

    Yields:
        Whether the C library can do that (glibc); elsewhere nothing changes.
    """
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        yield False
        return
    set_both = [library.mallopt(MMAP_MAX, NO_MAPPINGS), library.mallopt(TRIM_THRESHOLD, NEVER_TRIM)]
    try:
        yield all(set_both)
    finally:
        library.mallopt(MMAP_MAX, DEFAULT_MAPPINGS)
        library.mallopt(TRIM_THRESHOLD, DEFAULT_TRIM_BYTES)
        library.malloc_trim(0)
