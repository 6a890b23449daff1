"""Speech from silent lips: VCA-GAN and the multi-task system.

from viseme.lip2speech import Lip2Speech
Lip2Speech.from_pretrained("runs/lips/model").speak("silent.mp4").save("speech.wav")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from viseme.core import __version__

if TYPE_CHECKING:
    from viseme.lip2speech.models import VCAGAN, MultitaskConfig, MultitaskModel, VCAConfig
    from viseme.lip2speech.pipeline import Lip2Speech
    from viseme.lip2speech.synthesis import Synthesis

__all__ = ["Lip2Speech", "MultitaskConfig", "MultitaskModel", "Synthesis", "VCAConfig", "VCAGAN", "__version__"]

# Torch and the rest take seconds to import: they come with the first name that needs them.
_HOME = {
    "Lip2Speech": "pipeline",
    "Synthesis": "synthesis",
    "VCAConfig": "models",
    "VCAGAN": "models",
    "MultitaskConfig": "models",
    "MultitaskModel": "models",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"viseme.lip2speech.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
