"""Attention, positions and the conformer block against published answers."""

from __future__ import annotations

import harness
import pytest
import torch

from viseme.core.layers.attention import MultiHeadAttention
from viseme.core.layers.conformer import ConformerBlock, ConvolutionModule
from viseme.core.layers.masks import padding_mask
from viseme.core.layers.positions import AbsolutePositions, RelativePositions, ReversedPositions
from viseme.core.layers.relative_attention import (
    LegacyRelativeAttention,
    RelativeAttention,
    legacy_relative_shift,
    relative_shift,
)

SYSTEM = "avsr"


def loaded(module: torch.nn.Module, entry: dict, name: str) -> torch.nn.Module:
    state = harness.inputs.make_weights(harness.folder(SYSTEM), entry, name)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    return module.eval()


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "attention"))
def test_attention(name: str, entry: dict) -> None:
    compare = harness.Comparison(SYSTEM, entry)
    config = entry["config"]
    dim, heads, units, kernel = (config[key] for key in ("dim", "heads", "units", "kernel"))

    def given(key: str) -> torch.Tensor:
        return torch.as_tensor(harness.inputs.make_input(harness.folder(SYSTEM), entry, key))

    x, lengths = given("x"), given("lengths")
    mask = padding_mask(lengths, x.shape[1])
    compare.check("mask", mask)

    scaled, table = RelativePositions(dim).eval()(x)
    compare.check("rel_x_scaled", scaled)
    compare.check("rel_pos_emb", table)
    _, legacy_table = ReversedPositions(dim).eval()(x)
    compare.check("legacy_pos_emb", legacy_table)
    compare.check("abs_out", AbsolutePositions(dim).eval()(x))

    compare.check("rel_shift_out", relative_shift(given("shift")))
    compare.check("legacy_rel_shift_out", legacy_relative_shift(given("shift_legacy")))

    relative = loaded(RelativeAttention(dim, heads), entry, "rel")
    leaf = x.clone().requires_grad_()
    out = relative(leaf, table, mask)
    (out * given("grad")).sum().backward()
    compare.check("rel_out", out)
    compare.check("rel_grad_x", leaf.grad)
    with torch.no_grad():
        compare.check("rel_attn", relative.weights(x, table, mask))
        compare.check("rel_out_nomask", relative(x, table, None))
        legacy = loaded(LegacyRelativeAttention(dim, heads), entry, "rel")
        compare.check("legacy_out", legacy(x, legacy_table, mask))
        compare.check("legacy_attn", legacy.weights(x, legacy_table, mask))

        plain = loaded(MultiHeadAttention(dim, heads), entry, "mha")
        compare.check("mha_out", plain(given("q"), x, x, mask))
        without = mask.clone()
        without[config["fully_masked_clip"]] = False
        compare.check("mha_out_fully_masked", plain(given("q"), x, x, without))

        block = loaded(ConformerBlock(dim, heads, units, kernel), entry, "layer")
        compare.check("conformer_layer_out", block(x, table, mask))
        module = loaded(ConvolutionModule(dim, kernel), entry, "conv")
        compare.check("conv_module_out", module(x))
    compare.finish()
