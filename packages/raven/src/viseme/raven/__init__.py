"""RAVEn and BRAVEn: speech representations learnt from unlabelled talking faces, and what is read from lips or sound
with them.

from viseme.raven import RAVEn
RAVEn.from_pretrained("runs/vsr/model").transcribe("talk.mp4").text
RAVEn.from_pretrained("runs/pretrain/video").features("talk.mp4", layer=12)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from viseme.core import __version__

if TYPE_CHECKING:
    from viseme.raven.models.encoder import Encoder, EncoderConfig
    from viseme.raven.models.pretraining import PretrainConfig, Pretrainer
    from viseme.raven.models.recogniser import Recogniser, RecogniserConfig
    from viseme.raven.pipeline import Features, RAVEn, Search, Transcript

__all__ = [
    "RAVEn",
    "Transcript",
    "Features",
    "Search",
    "Encoder",
    "EncoderConfig",
    "Recogniser",
    "RecogniserConfig",
    "Pretrainer",
    "PretrainConfig",
    "__version__",
]

# Torch and the rest take seconds to import: they come with the first name that needs them.
_HOME = {
    "RAVEn": "pipeline",
    "Transcript": "pipeline",
    "Features": "pipeline",
    "Search": "pipeline",
    "Encoder": "models.encoder",
    "EncoderConfig": "models.encoder",
    "Recogniser": "models.recogniser",
    "RecogniserConfig": "models.recogniser",
    "Pretrainer": "models.pretraining",
    "PretrainConfig": "models.pretraining",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"viseme.raven.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
