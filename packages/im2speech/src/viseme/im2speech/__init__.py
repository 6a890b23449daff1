"""Image-to-speech captioning: a picture described aloud, by way of speech units instead of text.

from viseme.im2speech import Im2Speech
Im2Speech.from_pretrained("runs/demo/model").describe("photo.jpg").audio
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from viseme.core import __version__

if TYPE_CHECKING:
    from viseme.im2speech.decoding import GenerationConfig
    from viseme.im2speech.model import Captioner, CaptionerConfig
    from viseme.im2speech.pipeline import Im2Speech, Synthesis
    from viseme.im2speech.units import UnitExtractor

__all__ = [
    "Captioner",
    "CaptionerConfig",
    "GenerationConfig",
    "Im2Speech",
    "Synthesis",
    "UnitExtractor",
    "__version__",
]

# Torch and transformers take seconds to import: they come with the first name that needs them.
_HOME = {
    "Captioner": "model",
    "CaptionerConfig": "model",
    "GenerationConfig": "decoding",
    "Im2Speech": "pipeline",
    "Synthesis": "pipeline",
    "UnitExtractor": "units",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"viseme.im2speech.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
