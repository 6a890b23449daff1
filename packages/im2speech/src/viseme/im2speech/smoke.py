"""What an installed wheel must be able to do: make a model directory, load it, and describe a picture with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from viseme.core.layers.hifigan import HiFiGANConfig, UnitVocoder, UnitVocoderConfig
from viseme.im2speech import Captioner, CaptionerConfig, GenerationConfig, Im2Speech

__all__ = ["smoke"]


def smoke() -> None:
    """An untrained model describes a picture; what it says means nothing, that it speaks is the point."""
    config = CaptionerConfig(
        units=20,
        image_size=32,
        patch_size=8,
        vision_dim=32,
        vision_layers=1,
        vision_heads=2,
        vision_mlp_dim=64,
        dim=32,
        layers=1,
        heads=2,
        mlp_dim=64,
        max_tokens=64,
    )
    geometry = HiFiGANConfig(16, (5, 4, 4, 2, 2), (11, 8, 8, 4, 4), 32, (3,), ((1,),))
    voice = UnitVocoder(UnitVocoderConfig(20, 16, geometry))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Im2Speech(Captioner(config), voice, search=GenerationConfig(2, 20), device="cpu").save(folder / "model")
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "black.png")
        said = Im2Speech.from_pretrained(folder / "model", device="cpu").describe(folder / "black.png")
        assert said.audio is not None and len(said.audio.samples) % 320 == 0, said
