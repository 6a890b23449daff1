"""Language models beside a recogniser: published checkpoints converted, model directories written and read.

A language model lives in a directory of its own (`avsr convert lm.pth DIR`), or inside the recogniser's directory, as
`language_model.safetensors` with its geometry in the configuration. It must have the recogniser's units.

V units, D channels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from viseme.core.checkpoint import ModelDir, check_keys, load_model_dir, save_model_dir
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.language_model import TransformerLM

__all__ = ["LMConfig", "convert_language_model", "is_language_model", "load_language_model", "save_language_model"]

PACKAGE = "avsr-language-model"
FILE = "language_model.safetensors"
HEADS = 8
"""Of every published language model: shapes do not tell."""


@dataclass(frozen=True)
class LMConfig:
    """Geometry of a `TransformerLM`; the defaults are the published sub-word model's (53.7 M parameters)."""

    vocabulary: int = 5049
    embed: int = 128
    dim: int = 512
    heads: int = HEADS
    units: int = 2048
    blocks: int = 16

    def build(self) -> TransformerLM:
        """A model of this geometry."""
        return TransformerLM(self.vocabulary, self.embed, self.dim, self.heads, self.units, self.blocks)

    @classmethod
    def of(cls, model: TransformerLM) -> LMConfig:
        """The geometry of a model at hand."""
        block: Any = model.encoder.encoders[0]
        return cls(
            model.vocabulary,
            model.embed.embedding_dim,
            model.dim,
            block.self_attn.heads,
            block.feed_forward.w_1.out_features,
            len(model.encoder.encoders),
        )


def is_language_model(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is a published Transformer language model: an embedding, and no CTC head."""
    keys = {re.sub(r"^(model|module)\.", "", key) for key in state}
    return {"embed.weight", "encoder.embed.0.weight", "decoder.weight"} <= keys and "ctc.ctc_lo.weight" not in keys


def convert_language_model(
    state: Mapping[str, Tensor], model_json: Mapping[str, Any] | list[Any] | None = None
) -> TransformerLM:
    """A published language model's weights as a model; geometry from shapes, heads from `model.json` (else 8).

    Raises:
        CheckpointError: keys that are missing, unknown or of the wrong shape; a `model.json` that asks for what no
            published language model has, or that contradicts the weights.
    """
    bare = {re.sub(r"^(model|module)\.", "", key): value for key, value in state.items() if not key.endswith(".pe")}
    options = _options(model_json)
    try:
        vocabulary, embed = bare["embed.weight"].shape
        config = LMConfig(
            vocabulary,
            embed,
            bare["encoder.embed.0.weight"].shape[0],
            int(options.get("head", HEADS)),
            bare["encoder.encoders.0.feed_forward.w_1.weight"].shape[0],
            len({key.split(".")[2] for key in bare if key.startswith("encoder.encoders.")}),
        )
    except KeyError as error:
        raise CheckpointError(
            "not a checkpoint of a Transformer language model", got=f"missing: {error.args[0]}"
        ) from error
    said = {"embed_unit": config.embed, "att_unit": config.dim, "unit": config.units, "layer": config.blocks}
    if wrong := [
        f"{name} {options[name]} against {has}" for name, has in said.items() if options.get(name, has) != has
    ]:
        raise CheckpointError("model.json contradicts the weights", got=", ".join(wrong))
    model = config.build()
    if bool(options.get("tie_weights")):
        bare.setdefault("decoder.weight", bare["embed.weight"])
    check_keys(bare, model.state_dict(), what="the language model")
    model.load_state_dict(bare)
    return model


def _options(model_json: Mapping[str, Any] | list[Any] | None) -> dict[str, Any]:
    if model_json is None:
        return {}
    options = model_json[2] if isinstance(model_json, list) and len(model_json) == 3 else model_json
    if not isinstance(options, Mapping):
        raise CheckpointError("not a model.json", expected="a dict, or a list of three whose last is a dict")
    for name, only in {"pos_enc": "none", "model_module": "transformer"}.items():
        if options.get(name, only) not in (only, None):
            raise CheckpointError(f"model.json asks for {name}={options[name]}, which no published model has")
    return dict(options)


# ------------------------------------------------------------------------------------------------------ directories


def save_language_model(model: TransformerLM, directory: str | Path, *, card: str = "") -> Path:
    """Write a language model's own model directory."""
    config = {"package": PACKAGE, "language_model": asdict(LMConfig.of(model))}
    return save_model_dir(directory, config, model.state_dict(), card=card)


def write_beside(model: TransformerLM, folder: Path) -> None:
    """Write a language model's weights into the model directory of a recogniser."""
    save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, folder / FILE)


def load_language_model(directory: str | Path, *, vocabulary: int | None = None) -> TransformerLM:
    """Load a language model: its own directory, or that of a recogniser that has one.

    Args:
        directory: model directory.
        vocabulary: units that it must have.

    Raises:
        CheckpointError: no model directory, or without a language model.
        ConfigError: another vocabulary.
    """
    folder = load_model_dir(directory)
    if folder.config.get("package") == PACKAGE:
        model = _build(folder, folder.state)
    else:
        found = language_model_of(folder)
        if found is None:
            raise CheckpointError("there is no language model in this directory", path=folder.path)
        model = found
    check_vocabulary(model, vocabulary, folder.path)
    return model


def language_model_of(folder: ModelDir) -> TransformerLM | None:
    """The language model in a recogniser's directory, if it has one."""
    if "language_model" not in folder.config:
        return None
    try:
        return _build(folder, load_file(folder.file(FILE)))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError("not a readable safetensors file", path=folder.path / FILE, got=error) from error


def check_vocabulary(model: TransformerLM, vocabulary: int | None, path: Path | None = None) -> None:
    """Refuse a language model over other units.

    Raises:
        ConfigError: the numbers of units differ.
    """
    if vocabulary is not None and model.vocabulary != vocabulary:
        raise ConfigError(
            "the language model has another vocabulary than the recogniser",
            path=path,
            expected=f"{vocabulary} units",
            got=f"{model.vocabulary} units",
        )


def _build(folder: ModelDir, state: Mapping[str, Tensor]) -> TransformerLM:
    try:
        with torch.device("meta"):
            model = LMConfig(**folder.config["language_model"]).build()
    except (KeyError, TypeError) as error:
        raise CheckpointError("the configuration does not fit this version", path=folder.path, got=error) from error
    check_keys(state, model.state_dict(), what="the language model")
    model.load_state_dict(dict(state), assign=True)
    return model.eval()
