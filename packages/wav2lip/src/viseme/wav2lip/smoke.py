"""What an installed wheel must be able to do: make a model directory, load it, and sync a picture to a sound."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from viseme.core.media import probe, write_audio, write_video
from viseme.core.types import Audio, Video
from viseme.wav2lip import SyncOptions, Wav2Lip
from viseme.wav2lip.models import GeneratorConfig, Wav2LipGenerator
from viseme.wav2lip.weights import save_network

__all__ = ["smoke"]


def smoke() -> None:
    """An untrained model, a box instead of a face: what it draws means nothing, that it draws is the point."""
    config = GeneratorConfig((4, 6, 8, 16), (0, 0, 0, 0), (16, 12, 10, 8, 8), (0, 0, 0, 0, 0), (4, 4, 8, 8, 16), 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_network(folder / "model", "generator", Wav2LipGenerator(config))
        noise = np.random.default_rng(0)
        write_audio(folder / "noise.wav", Audio(noise.standard_normal(16_000).astype(np.float32) * 0.1, 16_000))
        frames = noise.integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
        write_video(folder / "face.mp4", Video(frames, 25.0))
        syncer = Wav2Lip.from_pretrained(folder / "model", device="cpu")
        made = syncer.sync(
            folder / "face.mp4", folder / "noise.wav", folder / "out.mp4", SyncOptions(box=(8, 56, 8, 56))
        )
        assert made.frames == probe(made.path).frames == 25, made
