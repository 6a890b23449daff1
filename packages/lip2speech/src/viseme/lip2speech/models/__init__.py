"""Networks of both lip-to-speech systems, and of the recognisers that score or supervise them."""

from __future__ import annotations

from viseme.lip2speech.models.config import (
    MELS,
    ContentConfig,
    ModelConfig,
    MultitaskConfig,
    SpectrumConfig,
    VCAConfig,
    VocoderConfig,
    model_config,
)
from viseme.lip2speech.models.conformer import Conformer
from viseme.lip2speech.models.discriminators import Discriminator, SyncDiscriminator
from viseme.lip2speech.models.generator import GeneratedMels, Generator, Postnet
from viseme.lip2speech.models.inference import for_inference
from viseme.lip2speech.models.multitask import (
    ContentRecogniser,
    CTCLayer,
    MelHead,
    MultitaskVisualFront,
    SpeakerEncoder,
)
from viseme.lip2speech.models.recognisers import GridRecogniser, LrwRecogniser, grid_errors, grid_text
from viseme.lip2speech.models.systems import VCAGAN, MultitaskModel, VCASpeech, build_model, build_recogniser
from viseme.lip2speech.models.visual import VisualFront

__all__ = [
    "MELS",
    "VCAGAN",
    "CTCLayer",
    "Conformer",
    "ContentConfig",
    "ContentRecogniser",
    "Discriminator",
    "GeneratedMels",
    "Generator",
    "GridRecogniser",
    "LrwRecogniser",
    "MelHead",
    "ModelConfig",
    "MultitaskConfig",
    "MultitaskModel",
    "MultitaskVisualFront",
    "Postnet",
    "SpectrumConfig",
    "SpeakerEncoder",
    "SyncDiscriminator",
    "VCAConfig",
    "VCASpeech",
    "VisualFront",
    "VocoderConfig",
    "build_model",
    "build_recogniser",
    "for_inference",
    "grid_errors",
    "grid_text",
    "model_config",
]
