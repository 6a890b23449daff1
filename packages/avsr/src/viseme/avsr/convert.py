"""A published checkpoint file and its unit files in, a model directory out: what `avsr convert` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from viseme.avsr.data import InputConfig
from viseme.avsr.model import AVSRModel
from viseme.avsr.pipeline import AVSR
from viseme.avsr.published import convert
from viseme.core.checkpoint import read_published
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.conformer import AttentionKind
from viseme.core.text import CharUnits, SentencePieceUnits, Tokenizer, UnitList

__all__ = ["convert_file"]


def convert_file(
    checkpoint: Path,
    directory: Path,
    *,
    model_json: str | None = None,
    units_model: str | None = None,
    units_file: str | None = None,
    attention: AttentionKind | None = None,
) -> Path:
    """Convert one file.

    Args:
        checkpoint: bare state dict, or a training checkpoint.
        directory: model directory to write.
        model_json: of the model zoo.
        units_model, units_file: SentencePiece model and units; not needed where `model_json` lists characters.
        attention: variant, where neither keys nor `model_json` tell.

    Raises:
        CheckpointError: not such a checkpoint.
        ConfigError: units missing, or of another number than the model's.
    """
    options: Any = None
    if model_json is not None:
        try:
            options = json.loads(Path(model_json).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError("not readable as JSON", path=model_json, got=str(error)) from error
    published = convert(_read(checkpoint), options, attention=attention)
    tokenizer: Tokenizer
    if published.units is not None:
        tokenizer = CharUnits(UnitList.from_tokens(published.units))
    elif units_model and units_file:
        tokenizer = SentencePieceUnits(units_model, units_file)
    else:
        raise ConfigError(
            "the checkpoint does not hold its units", expected="--units-model and --units-file", path=checkpoint
        )
    if tokenizer.size != published.config.vocabulary:
        raise ConfigError(
            "the units file does not match the checkpoint",
            path=units_file,
            expected=f"{published.config.vocabulary} units with blank and eos",
            got=tokenizer.size,
        )
    model = AVSRModel(published.config)
    model.load_state_dict(published.state)
    card = f"# {checkpoint.stem}\n\nConverted from a published checkpoint ({published.layout} layout).\n"
    return AVSR(model, tokenizer, InputConfig(), device="cpu").save(directory, card=card)


def _read(path: Path) -> dict[str, Any]:
    """The bare state dict, or the one inside a training checkpoint."""
    if path.suffix == ".ckpt":
        return read_published(path, unwrap="state_dict")
    return read_published(path)
