"""`wav2lip sync` from its first moment: torch and the weights are loaded beside the search for the face."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from viseme.core.errors import CheckpointError
from viseme.core.training.allocator import keep_memory
from viseme.wav2lip.options import SyncedVideo, SyncOptions
from viseme.wav2lip.plan import Progress, make_plan
from viseme.wav2lip.sound import Clock, check_output

if TYPE_CHECKING:
    from viseme.wav2lip.pipeline import Wav2Lip

__all__ = ["sync_files"]

_SWITCH_S = 2e-4
"""An import holds Python's lock; the search, which mostly works without it, must not wait 5 ms each time."""


def sync_files(
    model: str | Path,
    face: str | Path,
    audio: str | Path,
    out: str | Path,
    options: SyncOptions | None = None,
    *,
    device: str = "auto",
    bf16: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> SyncedVideo:
    """`Wav2Lip.from_pretrained(model).sync(face, audio, out, ...)` in less time, for a process that does no more: what
    it frees, it keeps.

    Raises:
        CheckpointError, MediaError, FaceError: as these two.
    """
    options, clock = options or SyncOptions(), Clock()
    check_output(Path(out))
    if not Path(model).exists():
        raise CheckpointError("no such model directory", path=Path(model), hint="`convert` or `train` makes one.")
    keep_memory()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with ThreadPoolExecutor(1) as beside:
            loading = beside.submit(_load, model, device, bf16, clock)
            plan = make_plan(face, audio, options, clock=clock, cache=cache, progress=progress)
            syncer = loading.result()
    finally:
        sys.setswitchinterval(interval)
    return syncer.render(plan, out, options, clock=clock, progress=progress)


def _load(model: str | Path, device: str, bf16: bool, clock: Clock) -> Wav2Lip:
    with clock("loading"):
        from viseme.wav2lip.pipeline import Wav2Lip

        return Wav2Lip.from_pretrained(model, device=device, bf16=bf16)
