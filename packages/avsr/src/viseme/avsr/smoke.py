"""What an installed wheel must be able to do: make a model directory, load it, and read a recording with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from viseme.avsr import AVSR
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.core.media import write_audio
from viseme.core.text import CharUnits
from viseme.core.types import Audio

__all__ = ["smoke"]


def smoke() -> None:
    """An untrained model reads a second of noise; what it reads means nothing, that it reads is the point."""
    units = CharUnits.from_texts(["A B"])
    config = AVSRConfig.preset("tiny", "audiovisual", vocabulary=units.size, optional_modalities=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        AVSR(AVSRModel(config), units).save(folder / "model")
        noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
        write_audio(folder / "noise.wav", Audio(noise, 16_000))
        transcript = AVSR.from_pretrained(folder / "model", device="cpu").transcribe(folder / "noise.wav")
        assert isinstance(transcript.text, str), transcript
