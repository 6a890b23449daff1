"""Wav2Lip: the lips of a face follow any speech.

from viseme.wav2lip import Wav2Lip
Wav2Lip.from_pretrained("runs/demo/generator/model").sync("face.mp4", "speech.wav", "out.mp4")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from viseme.core import __version__

if TYPE_CHECKING:
    from viseme.wav2lip.blend import BlendOptions
    from viseme.wav2lip.models import GeneratorConfig, SyncExpert, Wav2LipGenerator
    from viseme.wav2lip.options import SyncedVideo, SyncOptions
    from viseme.wav2lip.pipeline import Wav2Lip

__all__ = [
    "BlendOptions",
    "GeneratorConfig",
    "SyncExpert",
    "SyncOptions",
    "SyncedVideo",
    "Wav2Lip",
    "Wav2LipGenerator",
    "__version__",
]

# Torch and the rest take seconds to import: they come with the first name that needs them.
_HOME = {
    "BlendOptions": "blend",
    "GeneratorConfig": "models",
    "SyncExpert": "models",
    "SyncOptions": "options",
    "SyncedVideo": "options",
    "Wav2Lip": "pipeline",
    "Wav2LipGenerator": "models",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"viseme.wav2lip.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
