"""Published checkpoints become ours: kinds are told from keys, geometry from shapes, nothing from file names.

| kind             | keys                                                                                           |
|------------------|------------------------------------------------------------------------------------------------|
| `recogniser`     | `encoder.*`, `ctc.ctc_lo.*`, `decoder.*`; training checkpoints the same under `model.`         |
| `encoder`        | `frontend.*`, `embed.0.*`, ... bare, or under `encoder.` or `bone.encoder.` (an export's slip) |
| `pretraining`    | `model_video.backbone.encoder.*`, `model_audio.target_backbone.*`, ...                         |
| `language_model` | `embed.weight`, `encoder.encoders.*`, `decoder.*`                                              |

Reading files is `viseme.core.checkpoint`'s part; everything here works on tensors in memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from viseme.core.checkpoint.keys import check_keys, some
from viseme.core.errors import CheckpointError
from viseme.core.layers.language_model import TransformerLM
from viseme.raven import records as _records  # noqa: F401  (registers the published weights)
from viseme.raven.models.encoder import Encoder, EncoderConfig
from viseme.raven.models.pretraining import PretrainConfig, Pretrainer
from viseme.raven.models.recogniser import (
    DECODER_FIELDS,
    DECODER_PRESETS,
    Recogniser,
    RecogniserConfig,
    decoder_preset,
)

__all__ = ["Published", "convert", "convert_encoder", "convert_language_model", "convert_pretraining", "kind_of"]

Kind = Literal["recogniser", "encoder", "pretraining", "language_model"]
State = dict[str, Tensor]

HEAD_CHANNELS = 64
"""Channels of one decoder head in every published model: the count of heads is not visible in shapes."""

UNUSED = ("gamma_ff_macaron", "gamma_conv", ".pe")
"""Endings of entries that old files carry and nothing uses: LayerScales of absent branches, stored position tables."""

WRAPPERS = ("module.", "model.")
ENCODER_PREFIXES = ("backbone.encoder.", "bone.encoder.", "encoder.")
OLDER_NAMES = (
    (re.compile(r"^encoder\.input_layer\."), "encoder.embed."),
    (re.compile(r"^encoder\.norm\."), "encoder.after_norm."),
    (re.compile(r"^decoder\.output_norm\."), "decoder.after_norm."),
)
STUDENT = re.compile(r"^model_(video|audio)\.")


@dataclass(frozen=True)
class Published:
    """A converted checkpoint.

    Attributes:
        kind: what it is.
        config: the geometry found: `RecogniserConfig`, `EncoderConfig`, `PretrainConfig`, or for a language model the
            keyword arguments of `TransformerLM`.
        state: weights under our names; loads strictly.
    """

    kind: Kind
    config: Any
    state: State

    def build(self) -> nn.Module:
        """The network with its weights, in evaluation mode."""
        makers: dict[str, Any] = {"recogniser": Recogniser, "encoder": Encoder, "pretraining": Pretrainer}
        with torch.device("meta"):
            model = TransformerLM(**self.config) if self.kind == "language_model" else makers[self.kind](self.config)
        model.load_state_dict(self.state, strict=True, assign=True)
        return model.eval().requires_grad_(True)


def kind_of(state: Mapping[str, Tensor]) -> Kind:
    """What a state dict is.

    Raises:
        CheckpointError: nothing of RAVEn's.
    """
    keys = [_unwrapped(key) for key in state]
    if any(STUDENT.match(key) for key in keys):
        return "pretraining"
    if any(key.startswith("ctc.ctc_lo.") for key in keys):
        return "recogniser"
    if "embed.weight" in keys and "decoder.weight" in keys:
        return "language_model"
    if any(".frontend." in f".{key}" for key in keys):
        return "encoder"
    raise CheckpointError(
        "this is no RAVEn checkpoint",
        expected="keys encoder.frontend.*, frontend.*, model_video.*, or a language model's",
        got=some(keys),
    )


def convert(state: Mapping[str, Tensor], *, decoder_heads: int | None = None) -> Published:
    """Convert whatever it is; see the module's table.

    Args:
        state: key -> tensor.
        decoder_heads: of a recogniser's or probe's decoder, or of a language model, which shapes do not show; 64
            channels a head where None.

    Raises:
        CheckpointError: keys that belong to no kind, are missing, unknown or of the wrong shape (all are named).
    """
    match kind_of(state):
        case "pretraining":
            return convert_pretraining(state, decoder_heads=decoder_heads)
        case "language_model":
            return convert_language_model(state, heads=decoder_heads)
        case "encoder":
            return convert_encoder(state)
    renamed = _bare(state)
    for pattern, replacement in OLDER_NAMES:
        renamed = {pattern.sub(replacement, key): value for key, value in renamed.items()}
    encoder = _infer_encoder(_below(renamed, "encoder."), "a RAVEn recogniser")
    config = RecogniserConfig(encoder, **_infer_decoder(renamed, decoder_heads))
    with torch.device("meta"):
        check_keys(renamed, Recogniser(config), "a RAVEn recogniser")
    return Published("recogniser", config, renamed)


def convert_encoder(state: Mapping[str, Tensor]) -> Published:
    """Convert a pre-trained encoder, or take the encoder out of a recogniser; raises as `convert`."""
    renamed = _bare(state)
    for prefix in ENCODER_PREFIXES:
        if any(key.startswith(f"{prefix}frontend.") for key in renamed):
            renamed = _below(renamed, prefix)
            break
    for pattern, replacement in OLDER_NAMES:
        bare = re.compile(pattern.pattern.replace(r"encoder\.", ""))
        renamed = {bare.sub(replacement.removeprefix("encoder."), key): value for key, value in renamed.items()}
    config = _infer_encoder(renamed, "a RAVEn encoder")
    with torch.device("meta"):
        check_keys(renamed, Encoder(config), "a RAVEn encoder")
    return Published("encoder", config, renamed)


def convert_language_model(state: Mapping[str, Tensor], *, heads: int | None = None) -> Published:
    """Convert the Transformer language model (also from under `model.`), 64 channels a head unless `heads` says
    otherwise; raises as `convert`."""
    renamed = _bare(state)
    vocabulary, embed = _size(renamed, "embed.weight"), _size(renamed, "embed.weight", 1)
    dim = _size(renamed, "encoder.embed.0.weight")
    config = {
        "vocabulary": vocabulary,
        "embed": embed,
        "dim": dim,
        "heads": heads or max(1, dim // HEAD_CHANNELS),
        "units": _size(renamed, "encoder.encoders.0.feed_forward.w_1.weight"),
        "blocks": _count(renamed, "encoder.encoders."),
    }
    with torch.device("meta"):
        check_keys(renamed, TransformerLM(**config), "a language model")
    return Published("language_model", config, renamed)


def convert_pretraining(state: Mapping[str, Tensor], *, decoder_heads: int | None = None) -> Published:
    """Convert a whole pre-training state: students, teachers, predictors, probes; raises as `convert`."""
    renamed = _bare(state)
    parts = {name: _below(renamed, f"model_{name}.") for name in ("video", "audio")}
    encoders = {
        name: _infer_encoder(_below(part, "backbone.encoder."), f"the {name} student") for name, part in parts.items()
    }
    predictors = {
        (name, which): _below(part, f"predictor_{which}.")
        for name, part in parts.items()
        for which in ("cross", "within")
    }
    depths = {
        name: max(_count(predictors[name, which], "encoders.") for which in ("cross", "within")) for name in parts
    }
    some_predictor = next((p for p in predictors.values() if p), {})
    probe: dict[str, Any] = {}
    if "backbone.ctc.ctc_lo.weight" in parts["video"]:
        found = _infer_decoder(_below(parts["video"], "backbone."), decoder_heads)
        probe = {"probe_vocabulary": found["vocabulary"], "probe_decoder": _probe_decoder(found, encoders["video"])}
    config = PretrainConfig(
        **encoders,
        predictor_dim=_size(some_predictor, "embed.mask_emb"),
        predictor_heads=_size(some_predictor, "encoders.0.self_attn.pos_bias_u"),
        predictor_units=_size(some_predictor, "encoders.0.feed_forward.w_1.weight"),
        video_predictor_blocks=depths["video"],
        audio_predictor_blocks=depths["audio"],
        v2a=float(bool(predictors["video", "cross"])),
        v2v=float(bool(predictors["video", "within"])),
        a2a=float(bool(predictors["audio", "within"])),
        a2v=float(bool(predictors["audio", "cross"])),
        **probe,
    )
    with torch.device("meta"):
        check_keys(renamed, Pretrainer(config), "a RAVEn pre-training state")
    return Published("pretraining", config, renamed)


# ------------------------------------------------------------------------------------------------------------ keys


def _unwrapped(key: str) -> str:
    for wrapper in WRAPPERS:
        key = key.removeprefix(wrapper)
    return key


def _bare(state: Mapping[str, Tensor]) -> State:
    """Without wrappers' prefixes, entries that nothing uses, and the search's duplicates of a training checkpoint."""
    bare = {_unwrapped(key): value for key, value in state.items() if not key.startswith("beam_search.")}
    bare = {
        key: value for key, value in bare.items() if not key.endswith(UNUSED) and not key.startswith("beam_search.")
    }
    if not bare:
        raise CheckpointError("no weights in this checkpoint", got=some(state))
    return bare


def _below(state: Mapping[str, Tensor], prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


# -------------------------------------------------------------------------------------------------------- geometry


def _size(state: Mapping[str, Tensor], key: str, axis: int = 0) -> int:
    if key not in state:
        raise CheckpointError("keys of a RAVEn checkpoint do not fit", got=f"missing: {key}")
    return state[key].shape[axis]


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _infer_encoder(state: State, what: str) -> EncoderConfig:
    """Geometry of an encoder from its bare keys."""
    if "embed.0.weight" not in state:
        raise CheckpointError(f"keys of {what} do not fit", expected="embed.0.weight, frontend.*", got=some(state))
    block, trunk = "encoders.0.", "frontend.trunk."
    return EncoderConfig(
        modality="video" if any(key.startswith("frontend.frontend3D.") for key in state) else "audio",
        dim=_size(state, "embed.0.weight"),
        heads=_size(state, f"{block}self_attn.pos_bias_u"),
        units=_size(state, f"{block}feed_forward.w_1.weight"),
        blocks=_count(state, "encoders."),
        layer_scale=0.1 if f"{block}gamma_mha" in state else None,
        ff_norm="batch" if f"{block}norm_ff.running_mean" in state else "layer",
        frontend_widths=tuple(_size(state, f"{trunk}layer{stage}.0.conv1.weight") for stage in range(1, 5)),
        activation="prelu" if f"{trunk}layer1.0.relu1.weight" in state else "swish",
    )


def _infer_decoder(state: State, heads: int | None) -> dict[str, int]:
    dim = _size(state, "decoder.embed.0.weight", 1)
    return {
        "vocabulary": _size(state, "ctc.ctc_lo.weight"),
        "decoder_dim": dim,
        "decoder_heads": heads or max(1, dim // HEAD_CHANNELS),
        "decoder_units": _size(state, "decoder.decoders.0.feed_forward.w_1.weight"),
        "decoder_blocks": _count(state, "decoder.decoders."),
    }


def _probe_decoder(found: Mapping[str, int], encoder: EncoderConfig) -> str | tuple[int, ...]:
    """A probe's decoder as a pre-training configuration keeps it: the name of its preset, or its sizes."""
    for name in ("wide", *DECODER_PRESETS):
        if all(found[key] == value for key, value in decoder_preset(name, encoder).items()):
            return name
    return tuple(found[key] for key in DECODER_FIELDS)
