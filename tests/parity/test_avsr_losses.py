"""Losses, their gradients, and the targets they are made from, against the published ones."""

from __future__ import annotations

import harness
import pytest
import torch

from viseme.core.layers.masks import causal_mask
from viseme.core.losses import decoder_targets, label_smoothed_ce, linear_ctc_loss, token_accuracy


@pytest.mark.parametrize(("name", "entry"), harness.entries("avsr", "losses"))
def test_losses(name: str, entry: dict) -> None:
    config, comparison = entry["config"], harness.Comparison("avsr", entry)
    given = {
        key: torch.from_numpy(harness.inputs.make_input(harness.folder("avsr"), entry, key)) for key in entry["inputs"]
    }
    targets, ignore = given["targets"], config["ignore"]

    ys_in, ys_out = decoder_targets(targets, config["sos"], config["eos"], ignore)
    comparison.check("ys_in", ys_in)
    comparison.check("ys_out", ys_out)
    comparison.check("target_mask", causal_mask(ys_in.shape[1]).expand(len(ys_in), -1, -1))
    comparison.check("acc", token_accuracy(given["logits"], ys_out, ignore))

    for normalize, suffix in (("batch", ""), ("length", "_length_normalized")):
        logits = given["logits"].clone().requires_grad_()
        loss = label_smoothed_ce(logits, ys_out, config["label_smoothing"], ignore, normalize)
        (gradient,) = torch.autograd.grad(loss, logits)
        comparison.check(f"lsm_loss{suffix}", loss)
        comparison.check(f"lsm_grad{suffix}", gradient)

    ctc = harness.inputs.make_weights(harness.folder("avsr"), entry, "ctc")
    weight, bias = (torch.from_numpy(ctc[f"ctc_lo.{key}"]) for key in ("weight", "bias"))
    hidden, lengths = given["hs"].clone().requires_grad_(), (targets != ignore).sum(1)
    loss = linear_ctc_loss(hidden, weight, bias, targets, given["hlens"], lengths, config["blank"])
    (gradient,) = torch.autograd.grad(loss, hidden)
    comparison.check("ctc_loss", loss)
    comparison.check("ctc_grad_hs", gradient)
    each = linear_ctc_loss(
        hidden, weight, bias, targets, given["hlens"], lengths, config["blank"], reduction="none"
    ).detach()
    comparison.check("ctc_loss_each", each)
    if config["impossible_clip"] is not None:
        assert each[config["impossible_clip"]] == 0
        assert not gradient[config["impossible_clip"]].any()
    comparison.finish()
