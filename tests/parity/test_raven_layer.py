"""RAVEn's block in both forms, its positions and its mask embedding; losses; masked cosine."""

from __future__ import annotations

import harness
import pytest
import torch
from raven_answers import SYSTEM, given, weights

from viseme.core.layers.masks import padding_mask
from viseme.core.layers.positions import AbsolutePositions, RelativePositions
from viseme.core.layers.relative_attention import relative_shift
from viseme.core.losses import label_smoothed_ce, linear_ctc_loss, token_accuracy
from viseme.raven.models.block import EncoderBlock
from viseme.raven.models.predictor import MaskEmbedding
from viseme.raven.objective import masked_cosine


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "layer"))
def test_layer(name: str, entry: dict) -> None:
    compare, config = harness.Comparison(SYSTEM, entry), entry["config"]
    dim, heads, units, dropout = (config[key] for key in ("dim", "heads", "units", "dropout"))
    assert int(given(entry, "heads")) == heads
    x, lengths = given(entry, "x"), given(entry, "lengths")
    mask = padding_mask(lengths, x.shape[1])
    scaled, table = RelativePositions(dim, dropout)(x)
    compare.check("x_scaled", scaled)
    compare.check("pos_emb", table)
    compare.check("rel_shift_out", relative_shift(given(entry, "rel_shift_in")))
    compare.check("sinusoid_add", AbsolutePositions(dim, dropout)(x))

    block = EncoderBlock(dim, heads, units, dropout, dropout, config["drop_path"])
    assert block.norm_ff.momentum == config["batch_norm_momentum"]
    block.load_state_dict(weights(entry, "layer"))
    block.eval()
    compare.check("attention_out_eval", block.self_attn(block.norm_mha(scaled), table, mask))
    compare.check("out_eval", block(scaled, table, mask))
    block.train()
    leaf = scaled.clone().requires_grad_()
    out = block(leaf, table, mask)
    compare.check("out_train", out)
    (out.square() * mask.transpose(1, 2)).sum().backward()
    compare.check("grad_x_train", leaf.grad)
    compare.check("norm_ff_running_mean_after", block.norm_ff.running_mean)
    compare.check("norm_ff_running_var_after", block.norm_ff.running_var)

    plain = EncoderBlock(dim, heads, units, dropout, dropout, layer_scale=None, ff_norm="layer")
    plain.load_state_dict(weights(entry, "layer_ln"))
    compare.check("out_eval_layernorm_noscale", plain.eval()(scaled, table, mask))

    embedding = MaskEmbedding(dim, dim)
    embedding.load_state_dict(weights(entry, "maskembed"))
    embedded = embedding(x, given(entry, "maskembed_mask"))
    compare.check("maskembed_out", RelativePositions(embedded.shape[-1], dropout)(embedded)[0])
    compare.finish()


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "losses"))
def test_losses(name: str, entry: dict) -> None:
    compare, config = harness.Comparison(SYSTEM, entry), entry["config"]
    logits, targets = given(entry, "ls_logits").requires_grad_(), given(entry, "ls_targets")
    smoothing, ignore = config["label_smoothing"], config["ignore"]
    loss = label_smoothed_ce(logits, targets, smoothing, ignore, "batch")
    compare.check("ls_loss", loss)
    compare.check("ls_grad", torch.autograd.grad(loss, logits)[0])
    compare.check("ls_loss_length_normalised", label_smoothed_ce(logits, targets, smoothing, ignore, "length"))
    compare.check("th_accuracy", token_accuracy(logits, targets, ignore))

    ctc = weights(entry, "ctc")
    matrix, bias = (given(entry, key) for key in ("ctc_weight", "ctc_bias"))
    assert any(torch.equal(matrix, value) for value in ctc.values())
    hidden, labels = given(entry, "ctc_hs").requires_grad_(), given(entry, "ctc_targets")
    lengths = (labels != ignore).sum(1)
    loss = linear_ctc_loss(hidden, matrix, bias, labels, given(entry, "ctc_hlens"), lengths, config["blank"])
    compare.check("ctc_loss", loss)
    compare.check("ctc_grad_hs", torch.autograd.grad(loss, hidden)[0])
    if config["impossible_clip"] is not None:
        assert not torch.autograd.grad(
            linear_ctc_loss(hidden, matrix, bias, labels, given(entry, "ctc_hlens"), lengths, config["blank"]), hidden
        )[0][config["impossible_clip"]].any()
    compare.finish()


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "masked_cosine"))
def test_masked_cosine(name: str, entry: dict) -> None:
    compare = harness.Comparison(SYSTEM, entry)
    prediction = given(entry, "x1").requires_grad_()
    loss = masked_cosine(prediction, given(entry, "x2"), given(entry, "mask"))
    compare.check("loss", loss)
    compare.check("grad_x1", torch.autograd.grad(loss, prediction)[0])
    compare.finish()
