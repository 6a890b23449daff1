"""What an installed wheel must be able to do: make a model directory, load it, and speak from crops with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from viseme.lip2speech.lips import LipInput
from viseme.lip2speech.models import VCAGAN, MultitaskConfig, MultitaskModel, VCAConfig
from viseme.lip2speech.pipeline import Lip2Speech

__all__ = ["smoke"]


def smoke() -> None:
    """Untrained models of both systems speak half a second; what they say means nothing, that they do is the point."""
    crops = np.random.default_rng(0).integers(0, 255, (12, 48, 48), dtype=np.uint8)
    prompt = torch.zeros(1, 80, 50)
    models: list[VCAGAN | MultitaskModel] = [VCAGAN(VCAConfig.preset("tiny"))]
    models.append(MultitaskModel(MultitaskConfig.preset("tiny", vocabulary=5)))
    for model in models:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "model"
            Lip2Speech(model, LipInput(size=48), prompt=prompt, iterations=2, device="cpu").save(folder)
            speaker = Lip2Speech.from_pretrained(folder, device="cpu")
            samples = np.concatenate(list(speaker.waveform([speaker.speak_crops(crops, prompt)])))
            assert samples.shape == (160 * (4 * len(crops) - 1),), samples.shape
            assert np.isfinite(samples).all()
