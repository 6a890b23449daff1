"""Describing pictures at the published full size, and its parts: caption search, unit vocoder, units of speech.

Weights are deterministic noise and no caption ends by itself, so that each has 60 units. The alternative is
transformers' `generate`, which encodes a picture once for every hypothesis. The quality figure is a digest of the token
lists of the first picture: equal digests mean identical captions.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import transformers
from tools.bench.registry import Work, case
from transformers import HubertConfig, HubertModel

from viseme.core.layers.hifigan import HiFiGANConfig, UnitVocoder, UnitVocoderConfig
from viseme.im2speech.decoding import GenerationConfig, generate
from viseme.im2speech.model import Captioner, CaptionerConfig
from viseme.im2speech.units import HubertFeatures, UnitExtractor

UNITS, BEAM, BATCH, SECONDS = 60, 5, 8, 3
CAPTION = "caption, beam 5"
GREEDY = "caption, greedy"


def captioner() -> Captioner:
    torch.manual_seed(0)
    model = Captioner(CaptionerConfig(numbering="published")).eval()
    with torch.no_grad():
        model.model.output.bias.normal_(0, 1, generator=torch.Generator().manual_seed(1))
        model.model.output.bias[model.config.tokens.eos] = -1e4
    return model


def pictures(count: int) -> torch.Tensor:
    return torch.stack([torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(k)) for k in range(count)])


def digest(tokens: list[int]) -> str:
    return hashlib.sha256(repr(tokens).encode()).hexdigest()[:8]


def ours(beam: int, count: int) -> Work:
    model, pixels, search = captioner(), pictures(count), GenerationConfig(beam, UNITS + 1)

    def work() -> str:
        with torch.inference_mode():
            return digest(generate(model.model, model.encode(pixels), search)[0].tokens)

    return work


def theirs(beam: int) -> Work:
    model, pixels = captioner(), pictures(1)
    tokens = model.config.tokens
    options = transformers.GenerationConfig(
        max_length=UNITS + 1,
        num_beams=beam,
        early_stopping=beam > 1,
        bos_token_id=tokens.bos,
        eos_token_id=tokens.eos,
        pad_token_id=tokens.pad,
    )

    def work() -> str:
        with torch.inference_mode():
            return digest(model.model.generate(pixel_values=pixels, generation_config=options)[0].tolist())

    return work


@case(CAPTION, "1 picture, 60 units", "transformers generate", runs=3)
def _() -> Work:
    return theirs(BEAM)


@case(CAPTION, "1 picture, 60 units", runs=3)
def _() -> Work:
    return ours(BEAM, 1)


@case(CAPTION, f"{BATCH} pictures, 60 units", items=BATCH, runs=2, full_only=True)
def _() -> Work:
    return ours(BEAM, BATCH)


@case(GREEDY, "1 picture, 60 units", "transformers generate", runs=3)
def _() -> Work:
    return theirs(1)


@case(GREEDY, "1 picture, 60 units", runs=3)
def _() -> Work:
    return ours(1, 1)


@case(GREEDY, f"{BATCH} pictures, 60 units", items=BATCH, runs=2, full_only=True)
def _() -> Work:
    return ours(1, BATCH)


@case("unit vocoder", "3 s, 13.4 M", items=SECONDS)
def _() -> Work:
    torch.manual_seed(0)
    model = UnitVocoder(UnitVocoderConfig(200, 128, HiFiGANConfig(128))).eval()
    units = torch.arange(50 * SECONDS) % 200

    def work() -> str:
        return f"{len(model.speak(units, durations=False)) / 16000:g} s of sound"

    return work


@case("HuBERT units, layer 6", "3 s", items=SECONDS)
def _() -> Work:
    torch.manual_seed(0)
    features = HubertFeatures(HubertModel(HubertConfig()).eval(), 6)
    extractor = UnitExtractor(features, torch.randn(200, 768))
    sound = np.random.default_rng(0).normal(size=16000 * SECONDS).astype(np.float32) * 0.1
    return lambda: f"{len(extractor(sound))} units"
