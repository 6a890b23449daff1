"""What the parity tests of raven share: weights through the converter, inputs as our networks take them."""

from __future__ import annotations

import harness
import torch
from torch import Tensor

from viseme.raven.published import Published, convert

SYSTEM = "raven"


def weights(entry: dict, module: str = "model", overlay: str | None = None) -> dict[str, Tensor]:
    state = harness.inputs.make_weights(harness.folder(SYSTEM), entry, module, overlay)
    return {name: torch.from_numpy(value) for name, value in state.items()}


def given(entry: dict, name: str) -> Tensor:
    """An input of the entry; video gets the channel axis that our networks want."""
    x = torch.as_tensor(harness.inputs.make_input(harness.folder(SYSTEM), entry, name))
    return x.unsqueeze(2) if name == "video" else x


def converted(entry: dict, module: str = "model", config: dict | None = None) -> Published:
    """The entry's weights through the converter, which must find the entry's geometry in them."""
    config = config or entry["config"]
    found = convert(weights(entry, module), decoder_heads=config["geometry"].get("decoder_heads"))
    check_geometry(found, config)
    return found


def check_geometry(found: Published, config: dict) -> None:
    wanted = config["geometry"]
    if found.kind == "pretraining":
        own = found.config
        names = ("dim", "heads", "units", "blocks")
        for encoder in (own.video, own.audio):
            assert {name: getattr(encoder, name) for name in names} == {name: wanted[name] for name in names}
        sizes = wanted["predictor"]
        assert (own.predictor_dim, own.predictor_heads, own.predictor_units) == tuple(
            sizes[name] for name in ("dim", "heads", "units")
        )
        assert own.video_predictor_blocks == own.audio_predictor_blocks == sizes["blocks"]
        assert own.probe_vocabulary == config["vocabulary"]
        return
    config_found = found.config.to_dict()
    flat = {**config_found.pop("encoder"), **config_found}
    assert {name: flat[name] for name in wanted} == wanted
    assert (flat["modality"], flat["vocabulary"]) == (config["modality"], config["vocabulary"])
    assert (found.config.blank, found.config.eos, found.config.eos) == (config["blank"], config["eos"], config["sos"])
