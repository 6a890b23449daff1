"""The networks of Wav2Lip: sync expert, generator, visual-quality discriminator, and the S3FD face detector."""

from __future__ import annotations

from viseme.wav2lip.models.discriminator import DiscriminatorConfig, QualityDiscriminator
from viseme.wav2lip.models.expert import ExpertConfig, SyncExpert
from viseme.wav2lip.models.generator import GeneratorConfig, Wav2LipGenerator
from viseme.wav2lip.models.s3fd import S3FD
from viseme.wav2lip.models.s3fd_vgg import S3FDVGG

__all__ = [
    "DiscriminatorConfig",
    "ExpertConfig",
    "GeneratorConfig",
    "QualityDiscriminator",
    "S3FD",
    "S3FDVGG",
    "SyncExpert",
    "Wav2LipGenerator",
]
