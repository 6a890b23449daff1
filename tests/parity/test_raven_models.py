"""RAVEn's recognisers and language model, full size, against published answers; key lists of those without answers."""

from __future__ import annotations

import harness
import pytest
import torch
from raven_answers import SYSTEM, check_geometry, converted, given, weights
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from viseme.core.losses import IGNORE, decoder_targets
from viseme.core.losses.hybrid import hybrid_losses
from viseme.raven.published import convert, kind_of


def watch(compare: harness.Comparison, name: str, module: nn.Module, first: bool = False) -> RemovableHandle:
    def hook(module: nn.Module, args: tuple, output: Tensor | tuple) -> None:
        compare.check(name, output[0] if first else output)

    return module.register_forward_hook(hook)


@pytest.mark.heavy
@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "recogniser"))
@torch.no_grad()
def test_recogniser(name: str, entry: dict) -> None:
    compare, config = harness.Comparison(SYSTEM, entry), entry["config"]
    model = converted(entry).build()
    x, lengths, labels = given(entry, config["modality"]), given(entry, "lengths"), given(entry, "labels")
    handles = [
        watch(compare, "frontend", model.encoder.frontend),
        watch(compare, "embed", model.encoder.embed, first=True),
        watch(compare, "layer0", model.encoder.encoders[0]),
    ]
    tokens, wanted = decoder_targets(labels, config["sos"], config["eos"], config["ignore"])
    compare.check("ys_in", tokens)
    compare.check("ys_out", wanted)
    encoded, hidden = model(tokens, x, lengths)
    compare.check("encoder_out", encoded.memory)
    compare.check("ctc_logprobs", model.ctc(encoded.memory))
    compare.check("decoder_logits", model.decoder.output_layer(hidden))
    assert config["ignore"] == IGNORE
    losses = hybrid_losses(
        encoded.memory,
        encoded.lengths,
        hidden,
        wanted,
        labels,
        (labels != IGNORE).sum(1),
        model.ctc,
        model.decoder.output_layer,
        ctc_weight=config["ctc_weight"],
        label_smoothing=config["label_smoothing"],
    )
    for key, value in {
        "loss": losses.loss,
        "loss_ctc": losses.ctc,
        "loss_att": losses.att,
        "acc": losses.accuracy,
    }.items():
        compare.check(key, value)
    for handle in handles:
        handle.remove()
    if "single" in config:
        one = config["single"]
        frames = int(lengths[one]) * (1 if config["modality"] == "video" else 640)
        alone = model.encode(x[one : one + 1, :frames])
        assert alone.mask is None
        compare.check("encoder_out_item1_alone", alone.memory)
    compare.finish()


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "keys_only"))
def test_key_lists(name: str, entry: dict) -> None:
    """The converter takes every key, at its shape, and finds the geometry (all else it refuses)."""
    keys = harness.inputs.json.loads((harness.folder(SYSTEM) / f"{entry['keys'][0]}.keys.json").read_text())
    prefix = entry["weights"]["model"].get("prefix", "")
    state = {
        key.removeprefix(prefix): torch.empty(spec["shape"], dtype=getattr(torch, spec["dtype"]), device="meta")
        for key, spec in keys.items()
        if key.startswith(prefix)
    }
    found = convert(state, decoder_heads=entry["config"]["geometry"]["decoder_heads"])
    check_geometry(found, entry["config"])
    assert found.state.keys() == state.keys()


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "language_model"))
@torch.no_grad()
def test_language_model(name: str, entry: dict) -> None:
    compare, size = harness.Comparison(SYSTEM, entry), entry["config"]["geometry"]
    state = weights(entry)
    assert kind_of(state) == "language_model"
    found = convert(state, decoder_heads=size["heads"])
    assert {key: found.config[key] for key in ("embed", "dim", "heads", "units", "blocks")} == {
        key: size[key] for key in ("embed", "dim", "heads", "units", "blocks")
    }
    assert size["positions"] == "none"
    model, prefixes = found.build(), given(entry, "prefixes")
    compare.check("hidden", model.hidden(prefixes))
    compare.check("next_logprobs", model(prefixes)[:, -1].log_softmax(-1))
    loss = model.loss(given(entry, "loss_x"), given(entry, "loss_t"))
    compare.check("loss", loss.mean)
    compare.check("nll", loss.total)
    compare.check("count", loss.count)
    # Token by token, as the search asks.
    lm_state = model.init_state(torch.zeros(len(prefixes), 1, 1))
    for column in prefixes.T:
        last = model.step(column[:, None], lm_state)
    compare.check("next_logprobs", last[:, 0])
    compare.finish()
