"""The multi-task system's networks, losses and a whole training step against published answers."""

from __future__ import annotations

import json

import harness
import numpy as np
import pytest
import torch
from lip2speech_vectors import FOLDER, SYSTEM, Comparison, entries, fills, lengths, state
from torch import Tensor, nn

from viseme.core.losses import linear_ctc_loss
from viseme.core.metrics import count_errors
from viseme.core.signal import LogRange
from viseme.lip2speech.batches import MultitaskBatch
from viseme.lip2speech.models import Conformer, ContentRecogniser, MultitaskModel, for_inference
from viseme.lip2speech.models.conformer import sinusoid
from viseme.lip2speech.objective import MultitaskObjective, MultitaskStep, content_loss, reconstruction
from viseme.lip2speech.optim import multitask_optimizer
from viseme.lip2speech.prefix_beam import prefix_beam_search
from viseme.lip2speech.published import convert_content_recogniser, convert_multitask
from viseme.lip2speech.text import PieceTokenizer

PARTS = {
    "mt_visual_front": "v_front_state_dict",
    "mt_ctc_layer": "ctc_layer_state_dict",
    "mt_mel_layer": "mel_layer_state_dict",
    "mt_speaker_layer": "sp_layer_state_dict",
}


def published_model(entry: dict, **options: float) -> MultitaskModel:
    parts = {PARTS[keys]: state(keys) for keys in entry["keys"] if keys in PARTS}
    return convert_multitask(parts, **options).model().eval()


def published_recogniser(entry: dict) -> ContentRecogniser:
    (keys,) = [keys for keys in entry["keys"] if keys not in PARTS]
    return convert_content_recogniser(state(keys))


def outputs(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """A dictionary that fills with what the modules give while they run."""
    seen: dict[str, Tensor] = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda m, args, out, name=name: seen.__setitem__(name, out))
    return seen


@pytest.mark.parametrize(("name", "entry"), entries("mt_conformer_small"))
def test_conformer(name: str, entry: dict) -> None:
    compare, config, given = Comparison(name, entry), entry["config"], fills(entry)
    encoder = Conformer(
        config["encoder_dim"],
        config["heads"],
        config["layers"],
        config["kernel"],
        config["ff_expansion"],
        published_padding=True,
    ).eval()
    encoder.load_state_dict(state(entry["keys"][0]))
    block = encoder.layers[0]
    seen = outputs(
        {
            "block": block,
            "ff1": block.feed_forward1,
            "mha": block.MHA.module,
            "conv": block.Conv.module,
        }
    )
    with torch.no_grad():
        compare.check("encoder_no_mask", encoder(given["features"]))
        compare.check("encoder", encoder(given["features"], lengths(given["lengths"])))
    x = given["features"] + 0.5 * seen["ff1"]
    compare.check("block0_ff1", x)
    compare.check("block0_mha", x + seen["mha"])
    compare.check("block0_conv", x + seen["mha"] + seen["conv"])
    compare.check("block0", seen["block"])
    rows = [int(row) for row in entry["note"].partition("= rows ")[2].split(" of ")[0].split(",")]
    compare.check("positional_encoding_rows", sinusoid(torch.tensor(rows), config["encoder_dim"]), atol=1e-3)
    compare.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), entries("mt_visual_front"))
def test_visual_front(name: str, entry: dict) -> None:
    compare, given, model = Comparison(name, entry), fills(entry), published_model(entry)
    assert (model.config.layers, model.config.heads) == (entry["config"]["conformer_layers"], entry["config"]["heads"])
    front = model.visual_front
    trunk, blocks = front.resnet.resnet, front.conformer.encoder.layers
    seen = outputs(
        {
            "stem": front.frontend,
            "cbam": trunk.layer1[0].cbam,
            "one": trunk.layer1,
            "four": trunk.layer4,
            "resnet": front.resnet,
            **{f"block{number}": block for number, block in enumerate(blocks, start=1)},
        }
    )
    with torch.no_grad():
        features = front(given["video"], lengths(given["lengths"]))
    compare.check("stem_slice", seen["stem"][:, ::8, :, ::4, ::4])
    compare.check("cbam_slice", seen["cbam"][:, ::8, ::4, ::4])
    compare.check("layer1_slice", seen["one"][:, ::8, ::4, ::4])
    compare.check("layer4_slice", seen["four"][:, ::4])
    compare.check("resnet", seen["resnet"].view(features.shape))
    for number in range(1, len(blocks) + 1):
        compare.check(f"block{number}", seen[f"block{number}"])
    compare.check("encoder", features)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("mt_heads"))
def test_heads(name: str, entry: dict) -> None:
    compare, given, model = Comparison(name, entry), fills(entry), published_model(entry)
    with torch.no_grad():
        logits = model.ctc(given["features"])
        compare.check("ctc_logits_slice", logits[:, :, ::16])
        compare.check("ctc_log_softmax_first64", logits.log_softmax(-1)[:, :, :64])
        long, short = given["speaker_mel_100"], given["speaker_mel_50"]
        compare.check("speaker_100", model.speaker(long))
        speaker = model.speaker(short)
        compare.check("speaker_50", speaker)
        padded = torch.zeros_like(long)
        padded[..., : short.shape[-1]] = short
        compare.check("speaker_50_zero_padded_to_100", model.speaker(padded))
        compare.check("mel", model.mel_head(given["features"], speaker))
    compare.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), entries("mt_asr"))
def test_content_recogniser(name: str, entry: dict) -> None:
    compare, given, config = Comparison(name, entry), fills(entry), entry["config"]
    recogniser = published_recogniser(entry)
    blocks = recogniser.encoder.layers
    assert (len(blocks), blocks[0].MHA.module.attention.heads) == (config["layers"], config["heads"])
    seen = outputs({"front": recogniser.audio_front, "embed": recogniser.embed, "block1": blocks[0]})
    with torch.no_grad():
        logits, features = recogniser(given["mel"], lengths(given["lengths"]))
    assert logits.shape[-1] == config["classes"]
    compare.check("front_slice", seen["front"][:, ::16])
    compare.check("embed", seen["embed"])
    compare.check("block1", seen["block1"])
    compare.check("features", features)
    compare.check("logits_slice", logits[:, :, ::16])
    compare.check("log_softmax_first64", logits.log_softmax(-1)[:, :, :64])
    compare.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), entries("mt_full"))
def test_whole_inference(name: str, entry: dict) -> None:
    compare, given, model = Comparison(name, entry), fills(entry), published_model(entry)
    seen = outputs({"speaker": model.speaker, "features": model.visual_front})
    compare.check("mel", model.speak(given["video"], given["prompt_mel"], lengths(given["lengths"])))
    compare.check("speaker", seen["speaker"])
    compare.check("features", seen["features"])
    with torch.no_grad():
        logits = model.ctc(seen["features"])
    compare.check("ctc_argmax", logits.argmax(-1), atol=0)
    compare.check("ctc_logits_slice", logits[:, :, ::16])
    ready = for_inference(model.eval())
    compare.check("mel", ready.speak(given["video"], given["prompt_mel"], lengths(given["lengths"])))
    compare.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), entries("mt_losses"))
def test_losses(name: str, entry: dict) -> None:
    compare, given = Comparison(name, entry), fills(entry)
    inputs = ("ctc_targets", "ctc_target_lengths", "ctc_input_lengths", "mel_lengths")
    compare.given(*inputs)
    targets, target_lengths, input_lengths, mel_lengths = (torch.from_numpy(compare.stored[key]) for key in inputs)
    logits = given["ctc_logits"].requires_grad_()
    ctc = linear_ctc_loss(logits, torch.eye(logits.shape[-1]), None, targets, input_lengths, target_lengths)
    compare.check("ctc_loss", ctc)
    compare.check("ctc_grad", torch.autograd.grad(ctc, logits)[0], rtol=1e-3)
    mel, scale = given["gen_mel"].requires_grad_(), LogRange()
    own = (torch.arange(mel.shape[-1]) < mel_lengths[:, None])[:, None, None]
    real = given["real_mel"] * own
    recon = reconstruction(scale.unscale(mel * own), scale.unscale(real))
    compare.check("recon_loss", recon)
    compare.check("recon_grad_slice", torch.autograd.grad(recon, mel)[0][:, :, ::8], rtol=1e-3)
    frames = [int(n) for n in entry["note"].partition("recogniser lengths [")[2].split("]")[0].split(",")]
    content = content_loss(published_recogniser(entry), mel * own, real, lengths(frames))
    compare.check("content_loss", content)
    compare.check("content_grad_slice", torch.autograd.grad(content, mel)[0][:, :, ::8], rtol=1e-3)
    weights = MultitaskObjective()
    total = weights.reconstruction_weight * recon + weights.ctc_weight * ctc + weights.content_weight * content
    compare.check("total", total)
    compare.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), entries("mt_train_step"))
def test_train_step(name: str, entry: dict) -> None:
    compare, given, config = Comparison(name, entry), fills(entry), entry["config"]
    dropout = float(config["dropout"])
    model = published_model(entry, dropout=dropout, conformer_dropout=dropout).train()
    recogniser = published_recogniser(entry)
    batch = zeroed_batch(given)
    settings = config["optimizer"].split()
    parts = [model.visual_front, model.mel_head, model.speaker, model.ctc]
    optimizer = multitask_optimizer(
        parts,
        lr=float(settings[settings.index("lr") + 1]),
        weight_decay=float(settings[settings.index("weight_decay") + 1]),
        amsgrad="amsgrad" in settings,
    )
    step = MultitaskStep.run(model, MultitaskObjective(mask_padding=False), batch, recogniser)
    step.losses["total"].backward()
    for key, value in step.losses.items():
        compare.check(key, value)
    compare.check("gen_mel", step.mel)
    compare.check("features", step.features)
    compare.check("grad_norms", torch.stack([grad_norm(part) for part in parts]), rtol=1e-3)
    block = model.visual_front.conformer.encoder.layers[0]
    compare.check("grad_stem_slice", model.visual_front.frontend[0].weight.grad[::8], rtol=2e-2)
    compare.check("grad_block1_u_bias", block.MHA.module.attention.u_bias.grad, rtol=2e-2)
    compare.check("grad_mel_fusion_bias", model.mel_head.fusion[0].bias.grad, rtol=2e-2)
    compare.check("grad_speaker_linear_bias", model.speaker.linear.bias.grad, rtol=2e-2)
    compare.check("grad_ctc_bias_slice", model.ctc.classifier.bias.grad[::16], rtol=2e-2)
    optimizer.step()
    moved = {"atol": 1e-6, "fraction": 0.99, "atol_rest": 2.1e-4}
    compare.check("mel_fusion_bias_after_step", model.mel_head.fusion[0].bias, **moved)
    compare.check("stem_weight_after_step_slice", model.visual_front.frontend[0].weight[::8], **moved)
    compare.check("stem_bn_running_mean", model.visual_front.frontend[1].running_mean)
    compare.check("speaker_bn_running_var", model.speaker.classifier[1].running_var)
    compare.finish()


def zeroed_batch(given: dict) -> MultitaskBatch:
    """The entry's batch, zeroed where the data pipeline would zero it."""
    video, mel, prompt = (given[key].clone() for key in ("video", "mel", "speaker_mel"))
    for row, (length, columns) in enumerate(zip(given["lengths"], given["mel_lengths"])):
        video[row, :, length:] = 0
        mel[row, :, :, columns:] = 0
        if span := given["time_mask_start_and_length"][row]:
            video[row, :, span[0] : span[0] + span[1]] = 0
    prompt[..., 50:] = 0
    numbers = ("lengths", "mel_lengths", "targets", "target_lengths", "start_frames", "window_sizes")
    frames, columns, targets, target_lengths, starts, sizes = (torch.tensor(given[key]) for key in numbers)
    return MultitaskBatch(video, mel, prompt, frames, columns, targets, target_lengths, starts, sizes, [], [], [])


def grad_norm(module: nn.Module) -> Tensor:
    return torch.stack([weight.grad.norm() for weight in module.parameters() if weight.grad is not None]).norm()


# ------------------------------------------------------------------------------------------------------ text, beam


def json_file(name: str) -> dict:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"this folder has no {name}")
    return json.loads(path.read_text(encoding="utf-8"))


def test_text() -> None:
    cases = json_file("mt_text.json")
    tokenizer = PieceTokenizer(harness.data_file(SYSTEM, "lrs2lrs3_lower.model"))
    special = cases["special_ids"]
    assert tokenizer.size == cases["size"]
    assert (tokenizer.blank, tokenizer.sos, tokenizer.eos, tokenizer.unknown) == (
        special["blank/pad"],
        special["sos"],
        special["eos"],
        special["unk"],
    )
    for case in cases["tokenizer"]:
        assert tokenizer.encode(case["text"], lower=False) == case["ids"]
        assert tokenizer.pieces(case["text"]) == case["pieces"]
        assert tokenizer.decode(case["ids"]) == case["decoded"]
        padded = [*case["ids"], tokenizer.blank, tokenizer.blank]
        assert tokenizer.decode(padded) == case["decoded_with_two_pads"]


def test_word_error_rates() -> None:
    for case in json_file("mt_text.json")["wer"]:
        found = count_errors(case["reference"].split(), case["prediction"].split())
        assert found.errors / found.length == pytest.approx(case["wer"])


def test_prefix_beam_search() -> None:
    case = json_file("mt_ctc_beam.json")
    spec = case["inputs"]["logits"]
    logits = harness.fill.fill_input(spec["fill"], tuple(spec["shape"]), spec["low"], spec["high"])
    logp = torch.from_numpy(logits).log_softmax(-1)
    assert logp.argmax(-1).tolist() == case["greedy"]
    for run in case["runs"]:
        found = prefix_beam_search(
            logp, beam_width=run["beam_width"], cutoff_top_n=run["cutoff_top_n"], blank=case["blank"]
        )
        for mine, theirs in zip(found, run["hypotheses"], strict=False):
            assert mine.tokens == theirs["tokens"]
            assert mine.log_prob == pytest.approx(theirs["log_prob"], abs=1e-4)
        assert len(found) >= len(run["hypotheses"])
        assert np.all(np.diff([hypothesis.log_prob for hypothesis in found]) <= 0)
