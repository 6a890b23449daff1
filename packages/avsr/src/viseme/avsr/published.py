"""Published checkpoints become ours: layouts told from keys, geometry from shapes, nothing from file names.

Layouts (keys of a bare state dict):

* current (2025): `frontend.*`, `proj_encoder.*`, `encoder.*`, `decoder.*`, `ctc.*`; also what our unimodal models save;
* v1 (2022 to 2024, and the model zoo): front-end and projection inside `encoder.*`, the audio branch of audio-visual
  models in `aux_encoder.*`, `fusion.*`;
* viseme: our audio-visual models, with `video.*` and `audio.*`.

Reading files is `viseme.core.checkpoint`'s part; everything here works on tensors in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.core.errors import CheckpointError
from viseme.core.layers.conformer import AttentionKind
from viseme.core.layers.resnet import Activation

__all__ = ["Published", "convert", "transfer_encoder", "transfer_frontend"]

Layout = Literal["current", "v1", "viseme"]
Stream = Literal["video", "audio"]
State = dict[str, Tensor]

PUBLISHED_VOCABULARY = 5049
"""Units of every v1 model that does not come from the 2022 zoo."""

HEAD_CHANNELS = 64
"""Channels of one decoder head in every published model: the count of heads is not visible in shapes."""

OLDER_NAMES = (
    (re.compile(r"^((?:aux_)?encoder)\.input_layer\."), r"\1.embed."),
    (re.compile(r"^((?:aux_)?encoder)\.norm\."), r"\1.after_norm."),
    (re.compile(r"^decoder\.output_norm\."), "decoder.after_norm."),
    (re.compile(r"^proj_decoder\."), "decoder.proj_decoder."),
)


@dataclass(frozen=True)
class Published:
    """A converted checkpoint.

    Attributes:
        config: the geometry found.
        state: weights under our names; loads strictly into `AVSRModel(config)`.
        layout: `current`, `v1` or `viseme`.
        units: the V unit strings, blank first and eos last, where `model.json` lists characters; else None.
    """

    config: AVSRConfig
    state: State
    layout: Layout
    units: list[str] | None = None


def convert(
    state: Mapping[str, Tensor],
    model_json: Mapping[str, Any] | list[Any] | None = None,
    *,
    attention: AttentionKind | None = None,
    activation: Activation | None = None,
    decoder_heads: int | None = None,
) -> Published:
    """Convert a published recogniser, or the weights of a training checkpoint.

    Args:
        state: key -> tensor; a leading `model.` or `module.` is taken off.
        model_json: what the zoo's `model.json` holds: a dict, or a list whose third item is one.
        attention, activation, decoder_heads: what neither keys nor shapes tell, where `model_json` does not either;
            the published values where None.

    Raises:
        CheckpointError: keys that belong to no layout, are missing, unknown or of the wrong shape (all are named);
            a `model.json` that contradicts the weights or asks for what no published model has; a v1 model with units
            of its own whose attention variant is not given.
    """
    state, layout = _rename(state)
    options = _read_options(model_json)
    config = _infer(state, layout, options, attention, activation, decoder_heads)
    with torch.device("meta"):
        expected = AVSRModel(config).state_dict()
    _insist(state, {key: tuple(value.shape) for key, value in expected.items()}, "an Auto-AVSR checkpoint")
    _check_options(config, options)
    return Published(config, state, layout, _units(options, config.vocabulary))


def transfer_frontend(model: AVSRModel, state: Mapping[str, Tensor]) -> None:
    """Start from a front-end trained on single words (LRW): its `trunk.*` and `frontend3D.*`, all of them; or from that
    of another of our models, whatever encoder follows it there (raven's too).

    In an audio-visual model, the branch that the weights belong to. Other keys of such a file (its classifier) are not
    used.

    Raises:
        CheckpointError: no such keys, another modality, or keys that do not fit.
    """
    bare = _bare(state)
    for prefix in ("encoder.frontend.", "frontend."):
        if any(key.startswith((f"{prefix}trunk.", f"{prefix}frontend3D.")) for key in bare):
            bare = {key.removeprefix(prefix): value for key, value in bare.items() if key.startswith(prefix)}
    part = {key: value for key, value in bare.items() if key.startswith(("trunk.", "frontend3D."))}
    if not part:
        raise CheckpointError(
            "no front-end in this checkpoint", expected="keys trunk.*, frontend3D.*", got=_some(state)
        )
    modality: Stream = "video" if any(key.startswith("frontend3D.") for key in part) else "audio"
    _load(_branch(model, modality).frontend, part, "a front-end")


def transfer_encoder(model: AVSRModel, state: Mapping[str, Tensor]) -> None:
    """Start from another recogniser's front-end, projection and encoder, any layout; decoder and CTC head stay.

    An audio-visual model takes the branches that the checkpoint has; a unimodal one takes its own.

    Raises:
        CheckpointError: a checkpoint without the model's modality, or keys that do not fit.
    """
    renamed, _ = _rename(state)
    parts = {
        modality: {
            key.removeprefix(prefix): value
            for key, value in renamed.items()
            if key.startswith((f"{prefix}frontend.", f"{prefix}proj_encoder.", f"{prefix}encoder."))
        }
        for modality, prefix in _prefixes(renamed).items()
    }
    taken = [modality for modality in parts if model.config.modality in ("audiovisual", modality)]
    if not taken:
        raise CheckpointError("weights of another modality", expected=model.config.modality, got=" and ".join(parts))
    for modality in taken:
        branch = _branch(model, modality)
        modules = nn.ModuleDict({name: getattr(branch, name) for name in ("frontend", "proj_encoder", "encoder")})
        _load(modules, parts[modality], f"{modality} encoder")


# ------------------------------------------------------------------------------------------------------------- keys


def _bare(state: Mapping[str, Tensor]) -> State:
    """Without the prefixes of training frameworks and without stored position tables."""
    bare = dict(state)
    for prefix in ("model.", "module."):
        if any(key.startswith(prefix) for key in bare):
            bare = {key.removeprefix(prefix): value for key, value in bare.items() if key.startswith(prefix)}
    return {key: value for key, value in bare.items() if not key.endswith(".pe")}


def _rename(state: Mapping[str, Tensor]) -> tuple[State, Layout]:
    """Any layout to our names."""
    bare: State = {}
    for key, value in _bare(state).items():
        for old, new in OLDER_NAMES:
            key = old.sub(new, key)
        bare[key] = value
    if "video.proj_encoder.weight" in bare:
        return bare, "viseme"
    if "proj_encoder.weight" in bare:
        return bare, "current"
    if "encoder.embed.0.weight" not in bare:
        raise CheckpointError(
            "not a checkpoint of an Auto-AVSR recogniser",
            expected="proj_encoder.weight or encoder.embed.0.weight among its keys",
            got=_some(bare),
        )
    audiovisual = any(key.startswith("aux_encoder.") for key in bare)
    first, second = ("video.", "audio.") if audiovisual else ("", "")

    def new_name(key: str) -> str:
        for old, branch in (("encoder.", first), ("aux_encoder.", second)):
            if key.startswith(old):
                rest = key.removeprefix(old)
                if rest.startswith("frontend."):
                    return branch + rest
                if rest.startswith("embed.0."):
                    return f"{branch}proj_encoder.{rest.removeprefix('embed.0.')}"
                return f"{branch}encoder.{rest}"
        return key

    return {new_name(key): value for key, value in bare.items()}, "v1"


def _prefixes(state: State) -> dict[Stream, str]:
    """Modality -> prefix of its branch."""
    if "video.proj_encoder.weight" in state:
        return {"video": "video.", "audio": "audio."}
    return {"video" if any(key.startswith("frontend.frontend3D.") for key in state) else "audio": ""}


def _some(keys: Iterable[str]) -> str:
    """Up to eight names, and how many more."""
    names = sorted(keys)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "no keys"


def _insist(state: State, expected: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Exactly these keys with exactly these shapes."""
    problems = []
    if missing := expected.keys() - state.keys():
        problems.append(f"missing: {_some(missing)}")
    if unknown := state.keys() - expected.keys():
        problems.append(f"unknown: {_some(unknown)}")
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {shape}"
        for key, shape in expected.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    if wrong:
        problems.append(f"of another shape: {_some(wrong)}")
    if problems:
        raise CheckpointError(f"keys of {what} do not fit", got="; ".join(problems))


def _load(module: nn.Module, part: State, what: str) -> None:
    _insist(part, {key: tuple(value.shape) for key, value in module.state_dict().items()}, what)
    module.load_state_dict(part)


def _branch(model: AVSRModel, modality: Stream) -> Any:
    if model.config.modality == "audiovisual":
        return getattr(model, modality)
    if model.config.modality != modality:
        raise CheckpointError("weights of another modality", expected=model.config.modality, got=modality)
    return model


# --------------------------------------------------------------------------------------------------------- geometry


def _infer(
    state: State,
    layout: Layout,
    options: Mapping[str, Any],
    attention: AttentionKind | None,
    activation: Activation | None,
    decoder_heads: int | None,
) -> AVSRConfig:
    prefixes = _prefixes(state)
    audiovisual = len(prefixes) == 2
    branch = next(iter(prefixes.values()))

    def size(key: str, axis: int = 0) -> int:
        if key not in state:
            raise CheckpointError("keys of an Auto-AVSR checkpoint do not fit", got=f"missing: {key}")
        return state[key].shape[axis]

    def count(prefix: str) -> int:
        return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})

    block, trunk = f"{branch}encoder.encoders.0.", f"{branch}frontend.trunk."
    dim, decoder_dim = size(f"{branch}proj_encoder.weight"), size("decoder.embed.0.weight", 1)
    vocabulary = size("decoder.embed.0.weight")
    if f"{block}self_attn.pos_bias_u" in state:
        heads = size(f"{block}self_attn.pos_bias_u")
        found = attention or options.get("attention") or _published_attention(layout, vocabulary)
    else:
        heads = options.get("aheads", dim // HEAD_CHANNELS)
        found = "absolute"
    if f"{trunk}layer1.0.relu1.weight" in state:
        activation = "prelu"
    activation = activation or options.get("relu_type", "swish")
    stem_activation = "swish" if layout == "v1" else activation  # v1's stem does not follow the option
    dropout = options.get("dropout_rate", 0.1)
    attention_dropout = options.get("transformer_attn_dropout_rate")
    if attention_dropout is None:
        attention_dropout = dropout if layout == "v1" else 0.0
    same_heads = heads if decoder_dim == dim else decoder_dim // HEAD_CHANNELS
    fusion: dict[str, Any] = {}
    if audiovisual:
        fusion = {
            "fusion_hidden": size("fusion.fc1.weight"),
            "fusion_norm": "batchnorm" if "fusion.bn1.weight" in state else "layernorm",
            "optional_modalities": "absent_video" in state,
        }
    return AVSRConfig(
        modality="audiovisual" if audiovisual else next(iter(prefixes)),
        vocabulary=vocabulary,
        dim=dim,
        heads=heads,
        units=size(f"{block}feed_forward.w_1.weight"),
        blocks=count(f"{branch}encoder.encoders."),
        kernel=size(f"{block}conv_module.depthwise_conv.weight", 2),
        attention=found,
        decoder_dim=decoder_dim,
        decoder_heads=decoder_heads or options.get("aheads", same_heads),
        decoder_units=size("decoder.decoders.0.feed_forward.w_1.weight"),
        decoder_blocks=count("decoder.decoders."),
        dropout=dropout,
        attention_dropout=attention_dropout,
        frontend_widths=tuple(size(f"{trunk}layer{stage}.0.conv1.weight") for stage in range(1, 5)),
        activation=activation,
        stem_activation=stem_activation,
        **fusion,
    )


def _published_attention(layout: Layout, vocabulary: int) -> AttentionKind:
    """Which of the two relative variants, when nobody says: their keys and shapes are the same."""
    if layout != "v1" or vocabulary == PUBLISHED_VOCABULARY:
        return "relative"
    raise CheckpointError(
        "cannot tell which attention this v1 checkpoint has: keys and shapes of both variants are the same",
        got=f"{vocabulary} units, not the {PUBLISHED_VOCABULARY} of the published models",
        hint="Give its model.json, or attention=legacy_relative (2022 model zoo) or relative (Auto-AVSR training).",
    )


# ------------------------------------------------------------------------------------------------------- model.json


def _read_options(model_json: Mapping[str, Any] | list[Any] | None) -> dict[str, Any]:
    """The options of a `model.json`, and `attention` in our words."""
    if model_json is None:
        return {}
    options = model_json[2] if isinstance(model_json, list) and len(model_json) == 3 else model_json
    if not isinstance(options, Mapping):
        raise CheckpointError("not a model.json", expected="a dict, or a list of three whose last is a dict")
    options = dict(options)
    layer = options.get("transformer_encoder_attn_layer_type", "rel_mha")
    if layer == "rel_mha":
        latest = options.get("rel_pos_type", "legacy") == "latest"
        options["attention"] = "relative" if latest else "legacy_relative"
    elif layer == "mha":
        options["attention"] = "absolute"
    else:
        raise CheckpointError("model.json asks for an unknown attention", expected="rel_mha or mha", got=layer)
    for name, only in {
        "macaron_style": True,
        "use_cnn_module": True,
        "zero_triu": False,
        "a_upsample_ratio": 1,
    }.items():
        if options.get(name, only) != only:
            raise CheckpointError(f"model.json asks for {name}={options[name]}, which no published model has")
    return options


def _check_options(config: AVSRConfig, options: Mapping[str, Any]) -> None:
    """What `model.json` says of the sizes must be what the weights say."""
    said: dict[str, Any] = {
        "adim": config.dim,
        "aheads": config.heads,
        "eunits": config.units,
        "elayers": config.blocks,
        "dunits": config.decoder_units,
        "dlayers": config.decoder_blocks,
        "cnn_module_kernel": config.kernel,
        "attention": config.attention,
    }
    if config.modality == "audiovisual":
        said |= {"fusion_hdim": config.fusion_hidden, "fusion_norm": config.fusion_norm}
    wrong = [
        f"{name} {options[name]} against {value}" for name, value in said.items() if options.get(name, value) != value
    ]
    if wrong:
        raise CheckpointError("model.json contradicts the weights", got=", ".join(wrong))


def _units(options: Mapping[str, Any], vocabulary: int) -> list[str] | None:
    """The character list, blank first and eos last; None where the units are in a file of their own."""
    if options.get("labels_type", "char") != "char" or "char_list" not in options:
        return None
    units = [str(unit) for unit in options["char_list"]]
    if len(units) == vocabulary - 2:
        units = ["<blank>", *units, "<eos>"]
    if len(units) != vocabulary:
        raise CheckpointError(
            "model.json lists another number of units than the weights have", expected=vocabulary, got=len(units)
        )
    return units
