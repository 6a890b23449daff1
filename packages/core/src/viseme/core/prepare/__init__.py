"""Preparation: videos in, a store of crops (mouths, lips, faces) and sound out. Over all cores, resumable at any
moment; one bad clip is named in `failures.csv` and never stops the others."""

from __future__ import annotations

from viseme.core.prepare.clip import prepare_clip
from viseme.core.prepare.crops import FOR, keep_points
from viseme.core.prepare.journal import ClipRecord
from viseme.core.prepare.options import AUDIO_RATE, FPS, PrepareOptions
from viseme.core.prepare.run import PrepareReport, prepare
from viseme.core.prepare.sheet import contact_sheet

__all__ = [
    "prepare",
    "PrepareReport",
    "PrepareOptions",
    "ClipRecord",
    "prepare_clip",
    "FOR",
    "keep_points",
    "contact_sheet",
    "FPS",
    "AUDIO_RATE",
]
