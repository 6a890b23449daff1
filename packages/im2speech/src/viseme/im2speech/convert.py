"""Published files in, model directories out: what `im2speech convert` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from viseme.core.checkpoint import announce, find_record, read_published
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.hifigan import UnitVocoder, UnitVocoderConfig
from viseme.im2speech.initial import read_codebook
from viseme.im2speech.model import Captioner
from viseme.im2speech.pipeline import Im2Speech
from viseme.im2speech.published import convert_captioner, convert_vocoder, read_kmeans
from viseme.im2speech.train import load_hubert, save_vocoder
from viseme.im2speech.units import UnitExtractor

__all__ = ["convert_captioner_file", "convert_units_files", "convert_vocoder_file", "read_vocoder"]


def read_vocoder(checkpoint: Path, config: Path) -> UnitVocoder:
    """A published unit vocoder with its `config.json`.

    Raises:
        CheckpointError, ConfigError: files that do not fit each other.
    """
    try:
        options: Any = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError("not readable as JSON", path=config, got=str(error)) from error
    model = UnitVocoder(UnitVocoderConfig.from_published(options))
    state = convert_vocoder(read_published(checkpoint, unwrap="generator"))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:300]
        raise CheckpointError("the vocoder does not fit its configuration", path=checkpoint, got=line) from error
    return model.eval()


def convert_captioner_file(
    checkpoint: Path,
    directory: Path,
    *,
    codebook: Path | None = None,
    vocoder: Path | None = None,
    vocoder_config: Path | None = None,
) -> Path:
    """A published captioner, with its voice where that is given too."""
    book = None if codebook is None else read_codebook(codebook)
    published = convert_captioner(read_published(checkpoint, unwrap="state_dict"), book)
    voice = _voice(vocoder, vocoder_config)
    model = Captioner(published.config)
    expected = set(model.state_dict())
    if odd := sorted(expected ^ set(published.state)):
        raise CheckpointError(f"{len(odd)} weights are missing or unknown", path=checkpoint, got=", ".join(odd[:5]))
    model.load_state_dict(published.state)
    record = find_record("im_sp" if published.config.image == "pixels" else "im_unit")
    announce(record)
    card = f"# {checkpoint.stem}\n\nConverted from a published checkpoint; taken for:\n\n{record.card()}"
    return Im2Speech(model, voice, device="cpu").save(directory, card=card)


def _voice(vocoder: Path | None, config: Path | None) -> UnitVocoder | None:
    if vocoder is None:
        return None
    if config is None:
        raise ConfigError("a published vocoder needs its config.json", expected="--vocoder-config")
    return read_vocoder(vocoder, config)


def convert_vocoder_file(checkpoint: Path, directory: Path, config: Path | None) -> Path:
    """A published unit vocoder alone."""
    model = _voice(checkpoint, config)
    assert model is not None
    record = find_record("unit_hifigan_200")
    announce(record)
    card = f"# {checkpoint.stem}\n\nConverted from a published checkpoint; taken for:\n\n{record.card()}"
    return save_vocoder(directory, model.config, model.state_dict(), card=card)


def convert_units_files(hubert: Path, directory: Path, kmeans: Path | None, layer: int = 6) -> Path:
    """HuBERT and its k-means model as an extractor of units."""
    if kmeans is None:
        raise ConfigError("units need cluster centres", expected="--kmeans km.bin")
    features = load_hubert(hubert, layer)
    centres = torch.from_numpy(read_kmeans(kmeans))
    width = features.model.config.hidden_size
    if centres.shape[1] != width:
        raise CheckpointError("centres of other features", path=kmeans, expected=f"{width} wide", got=centres.shape[1])
    records = [find_record("hubert_base_ls960"), find_record("hubert_km200")]
    for record in records:
        announce(record)
    card = f"# {hubert.stem}, {len(centres)} units\n\n" + "\n".join(record.card() for record in records)
    return UnitExtractor(features, centres).save(directory, card=card)
