"""Published files in, a model directory out: what `avsr convert` does.

A checkpoint is a recogniser or a language model, told from its keys; an `.ini` of the model zoo names both, and how to
decode with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from viseme.avsr.data import InputConfig
from viseme.avsr.language_model import (
    convert_language_model,
    is_language_model,
    load_language_model,
    save_language_model,
)
from viseme.avsr.model import AVSRModel
from viseme.avsr.pipeline import AVSR
from viseme.avsr.published import convert
from viseme.avsr.records import available_models
from viseme.avsr.search import Search
from viseme.avsr.zoo import ZooSettings, read_ini
from viseme.core.checkpoint import WeightRecord, announce, identify, read_published
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.faces import CropVariant
from viseme.core.layers.conformer import AttentionKind
from viseme.core.layers.language_model import TransformerLM
from viseme.core.text import CharUnits, SentencePieceUnits, Tokenizer, UnitList

__all__ = ["ConvertOptions", "convert_file"]


@dataclass(frozen=True)
class ConvertOptions:
    """What a checkpoint does not say itself.

    Attributes:
        model_json: of the model zoo.
        units, spm: units file and SentencePiece model; not needed where `model_json` lists characters.
        attention: variant, where neither keys nor `model_json` tell.
        ini: of the model zoo: how to decode.
        lm: language model to keep beside the recogniser: a published checkpoint, or a model directory.
        lm_json: the `model.json` beside it.
        crop: how mouths are cropped for this model.
        record: name of the published weights, where their checksum does not tell.
    """

    model_json: str | None = None
    units: str | None = None
    spm: str | None = None
    attention: AttentionKind | None = None
    ini: str | None = None
    lm: str | None = None
    lm_json: str | None = None
    crop: CropVariant = "mediapipe"
    record: str | None = None


def convert_file(source: Path, directory: Path, options: ConvertOptions = ConvertOptions()) -> Path:
    """Convert one file.

    Args:
        source: a bare state dict, a training checkpoint, or an `.ini` of the model zoo that names one.
        directory: model directory to write.
        options: what the file does not say.

    Returns:
        The directory.

    Raises:
        CheckpointError: not such a checkpoint.
        ConfigError: units missing, or of another number than the model's; a language model over other units.
    """
    settings: ZooSettings | None = None
    if source.suffix == ".ini":
        settings = read_ini(source)
        if settings.checkpoint is None:
            raise ConfigError("the .ini file names no model", path=source, expected="[model] model_path")
        options = replace(
            options,
            model_json=options.model_json or _text(settings.model_json),
            lm=options.lm or _text(settings.lm_checkpoint),
            lm_json=options.lm_json or _text(settings.lm_json),
        )
        checkpoint = settings.checkpoint
    else:
        checkpoint = source
        settings = read_ini(options.ini) if options.ini else None
    state = read_weights(checkpoint)
    record = _record(checkpoint, source, options.record)
    if is_language_model(state):
        return _language_model(state, checkpoint, directory, options, record)
    return _recogniser(state, checkpoint, directory, options, settings, record)


def _language_model(
    state: dict[str, Tensor], path: Path, directory: Path, options: ConvertOptions, record: WeightRecord | None
) -> Path:
    model = convert_language_model(state, _json(options.model_json))
    return save_language_model(model, directory, card=_card(path, "language model", record))


def _recogniser(
    state: dict[str, Tensor],
    path: Path,
    directory: Path,
    options: ConvertOptions,
    settings: ZooSettings | None,
    record: WeightRecord | None,
) -> Path:
    published = convert(state, _json(options.model_json), attention=options.attention)
    tokenizer = _tokenizer(published.units, options, path)
    if tokenizer.size != published.config.vocabulary:
        raise ConfigError(
            "the units file does not match the checkpoint",
            path=options.units,
            expected=f"{published.config.vocabulary} units with blank and eos",
            got=tokenizer.size,
        )
    if settings is not None and settings.modality != published.config.modality:
        raise ConfigError(
            "the .ini file is for another modality", expected=published.config.modality, got=settings.modality
        )
    language_model: TransformerLM | None = None
    if options.lm:
        lm_path = Path(options.lm)
        if lm_path.is_dir():
            language_model = load_language_model(lm_path, vocabulary=tokenizer.size)
        else:
            language_model = convert_language_model(read_weights(lm_path), _json(options.lm_json))
    search = Search()
    if settings is not None:
        search = Search(
            beam=settings.beam,
            ctc_weight=settings.ctc_weight,
            penalty=settings.penalty,
            maxlenratio=settings.maxlenratio,
            minlenratio=settings.minlenratio,
            lm_weight=settings.lm_weight,
        )
    if search.lm_weight and language_model is None:
        raise ConfigError(
            "these decode settings want a language model",
            got=f"lm_weight {search.lm_weight:g}",
            hint="Give it with --lm.",
        )
    model = AVSRModel(published.config)
    model.load_state_dict(published.state)
    recogniser = AVSR(
        model,
        tokenizer,
        InputConfig(crop=options.crop),
        search=search,
        device="cpu",
        language_model=language_model,
        record=record.name if record else "",
    )
    if record:
        announce(record)
    return recogniser.save(directory, card=_card(path, f"{published.layout} layout", record))


def _tokenizer(units: list[str] | None, options: ConvertOptions, checkpoint: Path) -> Tokenizer:
    if units is not None:
        return CharUnits(UnitList.from_tokens(units))
    if options.units and options.spm:
        return SentencePieceUnits(options.spm, options.units)
    if options.units:
        return CharUnits(UnitList.read(options.units))
    raise ConfigError(
        "the checkpoint does not hold its units",
        path=checkpoint,
        expected="--units and --spm (sub-words), --units alone (characters), or a --model-json that lists them",
    )


def _record(checkpoint: Path, source: Path, name: str | None) -> WeightRecord | None:
    """Which published weights these are: named, by checksum, or by the name of the zoo's `.ini`."""
    known = {record.name: record for record in available_models()}
    name = name or (f"zoo_{source.stem}" if source.suffix == ".ini" and f"zoo_{source.stem}" in known else None)
    if name is None:
        return identify(checkpoint, "avsr")
    if name not in known:
        raise ConfigError("no published weights are called so", expected=", ".join(known), got=name)
    return known[name]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The bare state dict in a file, or the one inside a training checkpoint."""
    return read_published(path, unwrap="state_dict" if path.suffix == ".ckpt" else ())


def _json(path: str | None) -> Any:
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError("not readable as JSON", path=path, got=str(error)) from error


def _card(path: Path, what: str, record: WeightRecord | None) -> str:
    lines = f"# {record.name if record else path.stem}\n\nConverted from a published checkpoint ({what}).\n"
    return lines + (f"\n{record.card()}" if record else "")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
