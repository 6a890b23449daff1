"""RAVEn's networks: the encoder of one modality, the recogniser on top of it, and the pre-training pair."""

from __future__ import annotations

from viseme.raven.models.encoder import Encoder, EncoderBlock, EncoderConfig, Modality
from viseme.raven.models.pretraining import PretrainConfig, Pretrainer, Student
from viseme.raven.models.recogniser import Recogniser, RecogniserConfig

__all__ = [
    "Encoder",
    "EncoderBlock",
    "EncoderConfig",
    "Modality",
    "PretrainConfig",
    "Pretrainer",
    "Recogniser",
    "RecogniserConfig",
    "Student",
]
