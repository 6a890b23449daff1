"""Converters, on small models: every layout, what they refuse, and starting from other weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from viseme.avsr.model import AVSRConfig, AVSRModel, Modality
from viseme.avsr.published import convert, transfer_encoder, transfer_frontend
from viseme.core.errors import CheckpointError

UNITS = 11


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def build(modality: Modality, **changes: object) -> AVSRModel:
    return AVSRModel(AVSRConfig.preset("tiny", modality, vocabulary=UNITS, **changes))


def as_v1(model: AVSRModel) -> dict[str, Tensor]:
    """The model's weights under the keys of the v1 layout, written independently of the converter."""
    state = {}
    for key, value in model.state_dict().items():
        branch, _, rest = key.partition(".")
        home = {"video": "encoder", "audio": "aux_encoder"}.get(branch)
        if home is None:
            home, rest = "encoder", key
        if rest.startswith("frontend."):
            key = f"{home}.{rest}"
        elif rest.startswith("proj_encoder."):
            key = f"{home}.embed.0.{rest.partition('.')[2]}"
        elif rest.startswith("encoder."):
            key = f"{home}.{rest.partition('.')[2]}"
        state[key] = value
    return state


def same(found: dict[str, Tensor], model: AVSRModel) -> bool:
    want = model.state_dict()
    return found.keys() == want.keys() and all(torch.equal(found[key], want[key]) for key in want)


def invisible(config: AVSRConfig) -> dict:
    return {"attention": config.attention, "decoder_heads": config.decoder_heads}


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_current_layout(modality: Modality) -> None:
    model = build(modality, fusion_hidden=8192, fusion_norm="batchnorm")
    found = convert(model.state_dict())
    assert found.layout == "current" and same(found.state, model)
    assert found.config == model.config


@pytest.mark.parametrize("modality", ["video", "audio", "audiovisual"])
@pytest.mark.parametrize("fusion_norm", ["batchnorm", "layernorm"])
def test_v1_layout(modality: Modality, fusion_norm: str) -> None:
    model = build(modality, fusion_norm=fusion_norm)
    state = as_v1(model)
    assert "proj_encoder.weight" not in state
    found = convert(state, **invisible(model.config))
    assert found.layout == "v1" and same(found.state, model)
    AVSRModel(found.config).load_state_dict(found.state)
    assert found.config.attention_dropout == 0.1  # what v1 was trained with
    if modality == "audiovisual":
        assert found.config.fusion_norm == fusion_norm


def test_own_audio_visual_training_checkpoint() -> None:
    model = build("audiovisual", optional_modalities=True)
    found = convert({f"model.{key}": value for key, value in model.state_dict().items()} | {"other": torch.zeros(1)})
    assert found.layout == "viseme" and same(found.state, model) and found.config == model.config


def test_older_names_and_stored_tables() -> None:
    model = build("video")
    old = {
        key.replace("encoder.embed.", "encoder.input_layer.")
        .replace("encoder.after_norm", "encoder.norm")
        .replace("decoder.after_norm", "decoder.output_norm"): value
        for key, value in as_v1(model).items()
    }
    old["encoder.input_layer.1.pe"] = old["decoder.embed.1.pe"] = torch.zeros(1, 5000, 32)
    assert same(convert(old, attention="relative").state, model)


def test_decoder_of_another_width() -> None:
    model = build("video", decoder_dim=64, decoder_heads=1)
    state = model.state_dict()
    assert convert(state).config.decoder_dim == 64
    moved = {key.replace("decoder.proj_decoder", "proj_decoder"): value for key, value in state.items()}
    assert same(convert(moved).state, model)


def test_prelu_is_seen_in_the_keys() -> None:
    model = build("video", activation="prelu", stem_activation="prelu")
    assert convert(model.state_dict()).config.stem_activation == "prelu"
    v1 = build("video", activation="prelu", stem_activation="swish")
    found = convert(as_v1(v1), attention="relative").config
    assert (found.activation, found.stem_activation) == ("prelu", "swish")


OPTIONS = {
    "adim": 32,
    "aheads": 2,
    "eunits": 64,
    "elayers": 2,
    "dunits": 64,
    "dlayers": 1,
    "cnn_module_kernel": 7,
    "transformer_encoder_attn_layer_type": "rel_mha",
    "macaron_style": True,
    "use_cnn_module": True,
    "zero_triu": False,
    "a_upsample_ratio": 1,
    "relu_type": "relu",
    "dropout_rate": 0.2,
    "transformer_attn_dropout_rate": None,
    "char_list": ["<blank>", *"ABCDEFGHI", "<eos>"],
}


@pytest.mark.parametrize("wrap", [dict, lambda options: [7, UNITS, options]])
def test_model_json(wrap: Callable) -> None:
    model = build("video", attention="legacy_relative")
    found = convert(as_v1(model), wrap(OPTIONS))
    config = found.config
    assert (config.attention, config.activation, config.stem_activation) == ("legacy_relative", "relu", "swish")
    assert (config.dropout, config.attention_dropout) == (0.2, 0.2)
    assert found.units == OPTIONS["char_list"]
    bare = {**OPTIONS, "char_list": list("ABCDEFGHI"), "rel_pos_type": "latest"}
    again = convert(as_v1(model), bare)
    assert again.units == OPTIONS["char_list"] and again.config.attention == "relative"
    assert convert(as_v1(model), {**OPTIONS, "labels_type": "unigram5000"}).units is None


def test_plain_attention() -> None:
    model = build("video", attention="absolute")
    options = {**OPTIONS, "transformer_encoder_attn_layer_type": "mha"}
    assert convert(as_v1(model), options).config.attention == "absolute"


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"elayers": 12}, "elayers 12 against 2"),
        ({"macaron_style": False}, "macaron_style"),
        ({"transformer_encoder_attn_layer_type": "lightconv"}, "unknown attention"),
        ({"char_list": ["A"]}, "another number of units"),
    ],
)
def test_model_json_that_does_not_fit(change: dict, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        convert(as_v1(build("video")), {**OPTIONS, **change})
    with pytest.raises(CheckpointError, match=r"not a model\.json"):
        convert(as_v1(build("video")), [1, 2, 3])


def test_attention_that_nobody_names() -> None:
    with pytest.raises(CheckpointError, match="cannot tell which attention"):
        convert(as_v1(build("video")))


def test_keys_that_do_not_fit_are_named() -> None:
    state = build("video").state_dict()
    lost = {key: value for key, value in state.items() if key != "encoder.encoders.1.norm_ff.bias"}
    with pytest.raises(CheckpointError, match=r"missing: encoder\.encoders\.1\.norm_ff\.bias"):
        convert(lost)
    with pytest.raises(CheckpointError, match=r"unknown: encoder\.surprise"):
        convert(state | {"encoder.surprise": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"ctc\.ctc_lo\.bias \(12,\) instead of \(11,\)"):
        convert(state | {"ctc.ctc_lo.bias": torch.zeros(12)})
    with pytest.raises(CheckpointError, match=r"missing: decoder\.embed\.0\.weight"):
        convert({key: value for key, value in state.items() if key != "decoder.embed.0.weight"})
    with pytest.raises(CheckpointError, match=r"not a checkpoint of an Auto-AVSR recogniser.*layer\.weight"):
        convert({"layer.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="no keys"):
        convert({})


@pytest.mark.parametrize("source, target", [("video", "video"), ("audio", "audio"), ("video", "audiovisual")])
def test_transfer_frontend(source: Modality, target: Modality) -> None:
    """A word classifier's file: the front-end beside a head of its own."""
    word, model = build(source), build(target)
    part = {key.removeprefix("frontend."): value for key, value in word.state_dict().items() if "frontend." in key}
    transfer_frontend(model, part | {"tcn.mb_ms_tcn.weight": torch.zeros(3)})
    branch = getattr(model, source) if target == "audiovisual" else model
    assert all(torch.equal(branch.frontend.state_dict()[key], value) for key, value in part.items())
    with pytest.raises(CheckpointError, match="missing: trunk"):
        transfer_frontend(model, {key: value for key, value in part.items() if "layer3.0.conv1" not in key})
    with pytest.raises(CheckpointError, match="no front-end"):
        transfer_frontend(model, {"tcn.weight": torch.zeros(3)})


def test_transfer_encoder() -> None:
    source = build("video")
    for state in (source.state_dict(), as_v1(source)):
        model = build("video")
        decoder = {key: value.clone() for key, value in model.decoder.state_dict().items()}
        transfer_encoder(model, state)
        assert torch.equal(model.encoder.after_norm.weight, source.encoder.after_norm.weight)
        assert torch.equal(model.proj_encoder.weight, source.proj_encoder.weight)
        assert torch.equal(model.frontend.frontend3D[0].weight, source.frontend.frontend3D[0].weight)
        assert all(torch.equal(model.decoder.state_dict()[key], value) for key, value in decoder.items())
        both = build("audiovisual")
        untouched = both.audio.proj_encoder.weight.clone()
        transfer_encoder(both, state)
        assert torch.equal(both.video.proj_encoder.weight, source.proj_encoder.weight)
        assert torch.equal(both.audio.proj_encoder.weight, untouched)
    pair, model = build("audiovisual"), build("audio")
    transfer_encoder(model, as_v1(pair))
    assert torch.equal(model.proj_encoder.weight, pair.audio.proj_encoder.weight)


def test_transfer_from_another_modality() -> None:
    with pytest.raises(CheckpointError, match="another modality"):
        transfer_encoder(build("audio"), build("video").state_dict())
    part = {key.removeprefix("frontend."): v for key, v in build("video").state_dict().items() if "frontend." in key}
    with pytest.raises(CheckpointError, match="another modality"):
        transfer_frontend(build("audio"), part)
