"""Published checkpoints become ours: which file it is told from its top-level names, geometry from shapes.

Reading files is `viseme.core.checkpoint`'s part; everything here works on tensors in memory. The records of the
published weights are at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from viseme.core.checkpoint import WeightRecord, register
from viseme.core.checkpoint.keys import check_keys, some
from viseme.core.errors import CheckpointError
from viseme.lip2speech.models import (
    VCAGAN,
    ContentRecogniser,
    GridRecogniser,
    LrwRecogniser,
    MultitaskConfig,
    MultitaskModel,
    VCAConfig,
)
from viseme.lip2speech.models.config import MelName, SpectrogramScale

__all__ = [
    "Layout",
    "PublishedMultitask",
    "PublishedVCA",
    "convert_content_recogniser",
    "convert_grid_recogniser",
    "convert_lrw_recogniser",
    "convert_multitask",
    "convert_vca",
    "layout_of",
    "load_visual_front",
]

State = dict[str, Tensor]
Layout = Literal["vca", "multitask", "content_recogniser", "recogniser", "visual_front"]

VCA_PARTS = {
    "v_front_state_dict": "visual_front.",
    "gen_state_dict": "generator.",
    "post_state_dict": "postnet.",
    "dis1_state_dict": "discriminators.0.",
    "dis2_state_dict": "discriminators.1.",
    "dis3_state_dict": "discriminators.2.",
    "s_dis_state_dict": "sync_discriminator.",
}
MULTITASK_PARTS = {
    "v_front_state_dict": "visual_front.",
    "ctc_layer_state_dict": "ctc.",
    "mel_layer_state_dict": "mel_head.",
    "sp_layer_state_dict": "speaker.",
}
RECOGNISER_PARTS = {"a_front_state_dict": "front.", "a_back_state_dict": "back."}


def layout_of(checkpoint: Mapping[str, Any]) -> Layout:
    """Which published file this is.

    Raises:
        CheckpointError: none of them.
    """
    if "gen_state_dict" in checkpoint:
        return "vca"
    if "mel_layer_state_dict" in checkpoint:
        return "multitask"
    if "asr_model_state_dict" in checkpoint:
        return "content_recogniser"
    if "a_front_state_dict" in checkpoint:
        return "recogniser"
    if any(name.startswith("frontend.") for name in checkpoint):
        return "visual_front"
    raise CheckpointError(
        "not a checkpoint of a lip-to-speech system",
        expected="gen_state_dict, mel_layer_state_dict, asr_model_state_dict or a_front_state_dict",
        got=some(map(str, checkpoint)) or "nothing",
    )


@dataclass(frozen=True)
class PublishedVCA:
    """A converted VCA-GAN: configuration, weights under our names, and the parts that the file lacked."""

    config: VCAConfig
    state: State
    missing: list[str] = field(default_factory=list)

    def model(self) -> VCAGAN:
        """A model with these weights; missing parts are freshly made."""
        return _fill(VCAGAN(self.config), self.state)


@dataclass(frozen=True)
class PublishedMultitask:
    """A converted multi-task model; as `PublishedVCA`."""

    config: MultitaskConfig
    state: State
    missing: list[str] = field(default_factory=list)

    def model(self) -> MultitaskModel:
        """A model with these weights; missing parts are freshly made."""
        return _fill(MultitaskModel(self.config), self.state)


def convert_vca(
    checkpoint: Mapping[str, Mapping[str, Tensor]],
    *,
    mel: MelName = "vca_lrs",
    temperature: float = 1.0,
    dropout: float = 0.3,
) -> PublishedVCA:
    """Convert a VCA-GAN checkpoint.

    Args:
        checkpoint: its sub-dictionaries by published name; those that only training needs may be missing.
        mel: the audio front-end, which no shape tells: `vca_grid` for a model trained on GRID, whose postnet gives raw
            magnitudes.
        temperature: of the sync discriminator.
        dropout: for further training.

    Raises:
        CheckpointError: of the other system, or keys that are missing, unknown or of the wrong shape.
    """
    _refuse(checkpoint, MULTITASK_PARTS, VCA_PARTS, "VCA-GAN")
    state, missing = _join(checkpoint, VCA_PARTS)
    spectrogram: SpectrogramScale = "linear" if mel == "vca_grid" else "log"
    found: dict[str, Any] = {}
    if "visual_front.frontend.0.weight" in state:
        found["widths"] = _widths(state, "visual_front.resnet.")
        found["gru_layers"] = _count(state, "visual_front.sentence_encoder.weight_ih_l")
    if "generator.decode.0.conv1.weight" in state:
        found["generator"] = tuple(_out(state, f"generator.{name}.conv1.weight") for name in _GENERATOR_STAGES)
        found["attention"] = _out(state, "generator.att1.k.weight")
        visual = state["generator.att1.k.weight"].shape[1]
        found["noise"] = state["generator.decode.0.conv1.weight"].shape[1] - visual
        found.setdefault("widths", (*VCAConfig().widths[:3], visual))
    if "postnet.postnet.0.weight" in state:
        found["postnet"] = (_out(state, "postnet.postnet.0.weight"), _out(state, "postnet.postnet.3.conv2.weight"))
    if "discriminators.0.main.0.weight" in state:
        found["discriminator"] = _out(state, "discriminators.0.main.0.weight")
        found["discriminator_limit"] = max(
            _out(state, key) for key in state if key.startswith("discriminators.") and key.endswith("uncond.1.weight")
        )
        visual = state["discriminators.0.cond.1.weight"].shape[1] - _out(state, "discriminators.0.uncond.1.weight")
        found.setdefault("widths", (*VCAConfig().widths[:3], visual))
    if "sync_discriminator.frontend.0.weight" in state:
        key = "sync_discriminator.frontend.{}.weight"
        found["sync"] = (_out(state, key.format(0)), _out(state, key.format(3)))
        found.setdefault("widths", (*VCAConfig().widths[:3], _out(state, "sync_discriminator.Linear.weight")))
    config = VCAConfig(mel=mel, spectrogram=spectrogram, temperature=temperature, dropout=dropout, **found)
    _insist(VCAGAN(config), state, missing, "a VCA-GAN checkpoint")
    return PublishedVCA(config, state, missing)


_GENERATOR_STAGES = ("decode.0", "decode.1", "g1.0", "g2.0", "g3.0")


def convert_multitask(
    checkpoint: Mapping[str, Mapping[str, Tensor]],
    *,
    dropout: float = 0.3,
    conformer_dropout: float = 0.1,
) -> PublishedMultitask:
    """Convert a multi-task checkpoint; its padding behaves as published.

    Args:
        checkpoint: its sub-dictionaries by published name; the CTC layer may be missing.
        dropout, conformer_dropout: for further training.

    Raises:
        CheckpointError: as `convert_vca`.
    """
    _refuse(checkpoint, VCA_PARTS, MULTITASK_PARTS, "the multi-task system")
    state, missing = _join(checkpoint, MULTITASK_PARTS)
    found: dict[str, Any] = {}
    if "visual_front.frontend.0.weight" in state:
        found |= _conformer(state, "visual_front.conformer.encoder.")
        found["widths"] = _widths(state, "visual_front.resnet.resnet.")
        gate = "visual_front.resnet.resnet.layer1.0.cbam.ChannelGate.mlp.1.weight"
        found["reduction"] = state[gate].shape[1] // state[gate].shape[0]
    if "ctc.classifier.weight" in state:
        found["vocabulary"], found["dim"] = state["ctc.classifier.weight"].shape
    if "speaker.linear.weight" in state:
        found["speaker"] = tuple(_out(state, f"speaker.classifier.{place}.weight") for place in (0, 3, 6))
        found["dim"] = _out(state, "speaker.linear.weight")
    if "mel_head.fusion.0.weight" in state:
        found["head"] = tuple(_out(state, f"mel_head.classifier.{place}.weight") for place in (0, 2))
        found["dim"] = _out(state, "mel_head.fusion.0.weight")
    config = MultitaskConfig(published_padding=True, dropout=dropout, conformer_dropout=conformer_dropout, **found)
    _insist(MultitaskModel(config), state, missing, "a multi-task checkpoint")
    return PublishedMultitask(config, state, missing)


def convert_content_recogniser(state: Mapping[str, Tensor]) -> ContentRecogniser:
    """The network of the published content supervision (what is under `asr_model_state_dict`), in eval mode.

    Raises:
        CheckpointError: keys that are missing, unknown or of the wrong shape.
    """
    state = _without_tables(state)
    if "audio_front.0.weight" not in state:
        raise CheckpointError("not a recogniser for content supervision", expected="audio_front.*", got=some(state))
    geometry = _conformer(state, "encoder.")
    model = ContentRecogniser(
        (_out(state, "audio_front.0.weight"), _out(state, "audio_front.3.weight")),
        vocabulary=_out(state, "classifier.weight"),
        published_padding=True,
        **geometry,
    )
    check_keys(state, model, "a content recogniser")
    return _fill(model, state).eval()


def convert_grid_recogniser(checkpoint: Mapping[str, Mapping[str, Tensor]]) -> GridRecogniser:
    """The GRID recogniser, in eval mode.

    Raises:
        CheckpointError: keys that are missing, unknown or of the wrong shape.
    """
    return _recogniser(GridRecogniser, checkpoint)


def convert_lrw_recogniser(checkpoint: Mapping[str, Mapping[str, Tensor]]) -> LrwRecogniser:
    """The LRW recogniser, in eval mode; errors as `convert_grid_recogniser`."""
    return _recogniser(LrwRecogniser, checkpoint)


def _recogniser(cls: Any, checkpoint: Mapping[str, Mapping[str, Tensor]]) -> Any:
    state, missing = _join(checkpoint, RECOGNISER_PARTS)
    if missing:
        raise CheckpointError(
            "not a recogniser's checkpoint", expected=", ".join(RECOGNISER_PARTS), got=some(checkpoint)
        )
    try:
        model = cls(
            (_out(state, "front.frontend.0.weight"), _out(state, "front.frontend.3.weight")),
            _out(state, "front.Linear.weight"),
            _count(state, "back.gru.weight_ih_l"),
            _out(state, "back.fc.weight"),
        )
    except KeyError as error:
        raise CheckpointError("not a recogniser's checkpoint", expected=str(error), got=some(state)) from error
    check_keys(state, model, "a recogniser")
    return _fill(model, state).eval()


def load_visual_front(model: MultitaskModel | VCAGAN, state: Mapping[str, Tensor]) -> list[str]:
    """Start from a visual front pretrained with CTC: a flat state dict of all or the first part of its keys; or from
    the ResNet-18 of a lip reader (avsr, raven), to which what this one has beyond it (CBAM gates, slopes, conformer or
    GRU) is added untrained.

    The published loader takes whatever fits and says nothing, so that a wrong file loads nothing. Here a key that does
    not fit is an error, and only whole parts (stem, ResNet, conformer or GRU) may be missing.

    Returns:
        The parts that were loaded.

    Raises:
        CheckpointError: unknown or misshapen keys, or half a part.
    """
    expected = model.visual_front.state_dict()
    state = _of_lip_reader(_without_tables(state), expected)
    loaded = []
    parts = tuple(dict.fromkeys(key.partition(".")[0] + "." for key in expected))
    for part in parts:
        mine = {key: value for key, value in state.items() if key.startswith(part)}
        if mine:
            wanted = {key: value for key, value in expected.items() if key.startswith(part)}
            check_keys(mine, wanted, f"a visual front ({part}*)")
            loaded.append(part.rstrip("."))
    if unknown := [key for key in state if not key.startswith(parts)]:
        raise CheckpointError("keys of a visual front do not fit", got=f"unknown: {some(unknown)}")
    if "frontend" not in loaded:
        raise CheckpointError("no visual front in this checkpoint", expected="frontend.*", got=some(state))
    model.visual_front.load_state_dict(state, strict=False)
    return loaded


_BEYOND_A_LIP_READER = (".cbam.", "resnet.resnet.fc.", ".relu", "frontend.2.")


def _of_lip_reader(state: State, expected: Mapping[str, Tensor]) -> State:
    """The state dict, with the names of a lip reader's front-end turned into ours; any other as it is."""
    trunk = "resnet.resnet." if any(key.startswith("resnet.resnet.") for key in expected) else "resnet."
    for prefix in ("encoder.frontend.", "video.frontend.", "frontend."):
        parts = {f"{prefix}frontend3D.": "frontend.", f"{prefix}trunk.": trunk}
        mine = {
            new + key.removeprefix(old): value
            for old, new in parts.items()
            for key, value in state.items()
            if key.startswith(old)
        }
        if mine:
            added = {key: value for key, value in expected.items() if any(part in key for part in _BEYOND_A_LIP_READER)}
            return added | mine
    return state


# ------------------------------------------------------------------------------------------------------------ shapes


def _refuse(checkpoint: Mapping[str, Any], others: Mapping[str, str], own: Mapping[str, str], what: str) -> None:
    foreign = [name for name in checkpoint if name in others and name not in own]
    if foreign or not any(name in own for name in checkpoint):
        raise CheckpointError(f"not a checkpoint of {what}", expected=", ".join(own), got=some(map(str, checkpoint)))


def _join(checkpoint: Mapping[str, Mapping[str, Tensor]], parts: Mapping[str, str]) -> tuple[State, list[str]]:
    """All sub-dictionaries under our prefixes, and the names of those that are not there."""
    state: State = {}
    for name, prefix in parts.items():
        if name in checkpoint:
            state |= {prefix + key: value for key, value in _without_tables(checkpoint[name]).items()}
    return state, [name for name in parts if name not in checkpoint]


def _without_tables(state: Mapping[str, Tensor]) -> State:
    """Without stored position tables and without a wrapper's prefix."""
    return {key.removeprefix("module."): value for key, value in state.items() if not key.endswith(".pe")}


def _out(state: State, key: str) -> int:
    if key not in state:
        raise CheckpointError("a key is missing", expected=key, got=some(state))
    return state[key].shape[0]


def _widths(state: State, prefix: str) -> tuple[int, ...]:
    return tuple(_out(state, f"{prefix}layer{number}.1.conv2.weight") for number in (1, 2, 3, 4))


def _count(state: State, prefix: str) -> int:
    """How many numbers follow the prefix."""
    numbers = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    return len({number for number in numbers if number.isdigit()})


def _conformer(state: State, prefix: str) -> dict[str, int]:
    block = f"{prefix}layers.0."
    heads, per_head = (
        state[f"{block}MHA.module.attention.u_bias"].shape if f"{block}MHA.module.attention.u_bias" in state else (0, 0)
    )
    if not heads:
        raise CheckpointError("a key is missing", expected=f"{block}MHA.module.attention.u_bias", got=some(state))
    dim = heads * per_head
    return {
        "dim": dim,
        "heads": heads,
        "layers": _count(state, f"{prefix}layers."),
        "kernel": state[f"{block}Conv.module.sequential.4.conv.weight"].shape[-1],
        "expansion": _out(state, f"{block}feed_forward1.module.sequential.1.linear.weight") // dim,
    }


def _insist(model: nn.Module, state: State, missing: list[str], what: str) -> None:
    """Every key of the parts that are there."""
    parts = VCA_PARTS if isinstance(model, VCAGAN) else MULTITASK_PARTS
    prefixes = tuple(parts[name] for name in missing)
    expected = {key: value for key, value in model.state_dict().items() if not (prefixes and key.startswith(prefixes))}
    check_keys(state, expected, what)


def _fill(model: Any, state: State) -> Any:
    with torch.no_grad():
        model.load_state_dict(state, strict=False)
    return model


# ----------------------------------------------------------------------------------------------------------- records

_VCA = {
    "system": "lip2speech",
    "source": "https://github.com/ms-dot-k/Visual-Context-Attentional-GAN",
    "licence": "CC BY-NC 4.0",
    "commercial_ok": False,
    "paper": 'Kim, Hong, Ro, "Lip to Speech Synthesis with Visual Context Attentional GAN", NeurIPS 2021',
}
_MULTITASK = {
    "system": "lip2speech",
    "source": "https://github.com/ms-dot-k/Lip-to-Speech-Synthesis-in-the-Wild",
    "licence": "CC BY-NC 4.0",
    "commercial_ok": False,
    "paper": 'Kim, Hong, Ro, "Lip-to-Speech Synthesis in the Wild with Multi-task Learning", ICASSP 2023',
}

register(
    [
        WeightRecord("vca_gan_lrs2", trained_on="LRS2", claims={"LRS2 STOI": 0.407}, **_VCA),
        WeightRecord("vca_gan_lrs3", trained_on="LRS3", claims={"LRS3 STOI": 0.474}, **_VCA),
        WeightRecord(
            "grid_recogniser_4",
            file="GRID_4_wer_0.00833_cer_0.00252.ckpt",
            trained_on="GRID, speakers s1 s2 s4 s29",
            claims={"GRID WER %": 0.833, "GRID CER %": 0.252},
            **_VCA,
        ),
        WeightRecord(
            "grid_recogniser_33",
            file="GRID_33_wer_0.00368_cer_0.00120.ckpt",
            trained_on="GRID, 33 speakers",
            claims={"GRID WER %": 0.368, "GRID CER %": 0.120},
            **_VCA,
        ),
        WeightRecord(
            "grid_recogniser_unseen",
            file="GRID_unseen_wer_0.01676_cer_0.00896.ckpt",
            trained_on="GRID, unseen-speaker split",
            claims={"GRID WER %": 1.676, "GRID CER %": 0.896},
            **_VCA,
        ),
        WeightRecord(
            "lrw_recogniser", file="LRW_acc_0.98464.ckpt", trained_on="LRW", claims={"LRW WER %": 1.57}, **_VCA
        ),
        WeightRecord("multitask_lrs2", trained_on="LRS2", claims={"LRS2 STOI": 0.526}, **_MULTITASK),
        WeightRecord("multitask_lrs3", trained_on="LRS3", claims={"LRS3 STOI": 0.497}, **_MULTITASK),
        WeightRecord("multitask_visual_front_lrs2", trained_on="LRS2 (CTC)", **_MULTITASK),
        WeightRecord("multitask_visual_front_lrs3", trained_on="LRS3 (CTC)", **_MULTITASK),
        WeightRecord("multitask_recogniser_lrs2", trained_on="LRS2", **_MULTITASK),
        WeightRecord("multitask_recogniser_lrs3", trained_on="LRS3", **_MULTITASK),
    ]
)
