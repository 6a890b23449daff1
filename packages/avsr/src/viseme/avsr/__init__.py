"""Auto-AVSR: speech read from lips, from sound, or from both.

from viseme.avsr import AVSR
AVSR.from_pretrained("runs/demo/model").transcribe("talk.mp4").text
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from viseme.core import __version__

if TYPE_CHECKING:
    from viseme.avsr.model import AVSRConfig, AVSRModel
    from viseme.avsr.pipeline import AVSR
    from viseme.avsr.recording import Recording
    from viseme.avsr.records import available_models
    from viseme.avsr.search import Search
    from viseme.avsr.transcript import Transcript, Word

__all__ = [
    "AVSR",
    "AVSRConfig",
    "AVSRModel",
    "Recording",
    "Search",
    "Transcript",
    "Word",
    "__version__",
    "available_models",
]

# Torch and the rest take seconds to import: they come with the first name that needs them.
_HOME = {
    "AVSR": "pipeline",
    "Recording": "recording",
    "Search": "search",
    "Transcript": "transcript",
    "Word": "transcript",
    "available_models": "records",
    "AVSRConfig": "model",
    "AVSRModel": "model",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"viseme.avsr.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
