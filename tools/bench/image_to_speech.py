"""Describing pictures at the published full size, and its parts: caption search, unit vocoder, units of speech.

Weights are deterministic noise and no caption ends by itself, so that each has 60 units. The alternatives are what the
published structure amounts to: transformers' `generate`, which encodes a picture once for every hypothesis, HuBERT as
transformers has it, and the vocoder's convolutions as they are written. The quality figure of a caption is a digest of
the token lists of the first picture: equal digests mean identical captions.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from tools.bench.registry import Work, case
from transformers import HubertConfig, HubertModel

from viseme.core.data import Manifest, ManifestRow
from viseme.core.files import scratch_folder
from viseme.core.layers.hifigan import HiFiGANConfig, UnitVocoder, UnitVocoderConfig
from viseme.core.layers.linear import Linear
from viseme.core.media import write_audio
from viseme.core.types import Audio
from viseme.im2speech.decoding import GenerationConfig, generate
from viseme.im2speech.extract import extract
from viseme.im2speech.model import Captioner, CaptionerConfig
from viseme.im2speech.units import HubertFeatures, UnitExtractor, nearest_centres

UNITS, BEAM, BATCH, SECONDS = 60, 5, 8, 3
JOB, LENGTH_S = 12, 10  # recordings of a batch job, seconds of each
PLAIN = "plain port"
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
    for part in model.modules():
        if type(part) is Linear:
            part.__class__ = torch.nn.Linear  # as transformers has them
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


def vocoder() -> UnitVocoder:
    torch.manual_seed(0)
    return UnitVocoder(UnitVocoderConfig(200, 128, HiFiGANConfig(128))).eval()


def spoken(model: UnitVocoder) -> Work:
    units = torch.arange(50 * SECONDS) % 200
    return lambda: f"{len(model.speak(units, durations=False)) / 16000:g} s of sound"


@case("unit vocoder", "3 s, 13.4 M", PLAIN, items=SECONDS)
def _() -> Work:
    return spoken(vocoder())


@case("unit vocoder", "3 s, 13.4 M", items=SECONDS)
def _() -> Work:
    model = vocoder()
    model.lay_out()
    return spoken(model)


def hubert(layers: int) -> HubertModel:
    torch.manual_seed(0)
    return HubertModel(HubertConfig(num_hidden_layers=layers, apply_spec_augment=False)).eval()


def noise(seconds: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=16000 * seconds).astype(np.float32) * 0.1


@case("HuBERT units, layer 6", "3 s", PLAIN, items=SECONDS)
def _() -> Work:
    model, centres, sound = hubert(6), torch.randn(200, 768), torch.from_numpy(noise(SECONDS))[None]

    def work() -> str:
        with torch.no_grad():
            return f"{len(nearest_centres(model(sound).last_hidden_state[0], centres))} units"

    return work


@case("HuBERT units, layer 6", "3 s", items=SECONDS)
def _() -> Work:
    extractor, sound = UnitExtractor(HubertFeatures(hubert(6), 6), torch.randn(200, 768)), noise(SECONDS)
    return lambda: f"{len(extractor(sound))} units"


@case("HuBERT units, layer 6", f"a list of {JOB} recordings of {LENGTH_S} s", items=JOB * LENGTH_S, runs=2)
def _() -> Work:
    """Seconds per item are seconds of work for a second of sound: their inverse is hours of sound an hour."""
    extractor = UnitExtractor(HubertFeatures(hubert(6), 6), torch.randn(200, 768))
    root = scratch_folder("bench")
    for number in range(JOB):
        write_audio(root / f"{number}.wav", Audio(noise(LENGTH_S, number), 16000))
    rows = [ManifestRow(id=str(number), path=f"{number}.wav", audio=f"{number}.wav") for number in range(JOB)]
    manifest = Manifest(rows, root)

    def work() -> str:
        out = Path(tempfile.mkdtemp(dir=root))
        with contextlib.redirect_stderr(io.StringIO()):
            report = extract(extractor, manifest, out / "units.txt")
        shutil.rmtree(out)
        return f"{report.made} recordings"

    return work
