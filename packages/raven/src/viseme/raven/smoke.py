"""What an installed wheel must be able to do: make model directories, load them, encode and read a recording."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from viseme.core.media import write_audio
from viseme.core.text import CharUnits
from viseme.core.types import Audio
from viseme.raven import RAVEn
from viseme.raven.models.recogniser import Recogniser, RecogniserConfig

__all__ = ["smoke"]


def smoke() -> None:
    """An untrained model reads a second of noise; what it reads means nothing, that it reads is the point."""
    units = CharUnits.from_texts(["A B"])
    config = RecogniserConfig.preset("tiny", "audio", "tiny", vocabulary=units.size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        RAVEn(Recogniser(config), units).save(folder / "model")
        noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
        write_audio(folder / "noise.wav", Audio(noise, 16_000))
        model = RAVEn.from_pretrained(folder / "model", device="cpu")
        assert isinstance(model.transcribe(folder / "noise.wav").text, str)
        assert model.features(folder / "noise.wav", layer=1).frames.shape == (25, 32)
