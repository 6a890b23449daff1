"""The recognisers, full size, against published answers: every stage, losses and gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import harness
import pytest
import torch
from torch import Tensor, nn

from viseme.avsr.model import AVSRModel, Encoded
from viseme.avsr.published import Published, convert
from viseme.core.losses import IGNORE, decoder_targets, label_smoothed_ce, linear_ctc_loss, token_accuracy

SYSTEM = "avsr"
pytestmark = pytest.mark.heavy


def inputs_of(entry: dict) -> dict[str, Tensor]:
    made = {name: harness.inputs.make_input(harness.folder(SYSTEM), entry, name) for name in entry["inputs"]}
    return {name: torch.as_tensor(value) for name, value in made.items()}


def published_model(entry: dict) -> AVSRModel:
    """The entry's weights through the converter, which must find the entry's geometry in them."""
    state = harness.inputs.make_weights(harness.folder(SYSTEM), entry, "model")
    geometry, config = entry["config"]["geometry"], entry["config"]
    found: Published = convert(
        {key: torch.from_numpy(value) for key, value in state.items()},
        attention=geometry["attention"],
        decoder_heads=geometry["decoder_heads"],
    )
    assert found.layout == config["layout"]
    inferred = dataclasses.asdict(found.config)
    expected = {**geometry, "modality": config["modality"], "vocabulary": config["vocabulary"]}
    assert {name: inferred[name] for name in expected} == expected
    assert (found.config.blank, found.config.eos, found.config.eos) == (config["blank"], config["eos"], config["sos"])
    with torch.device("meta"):
        model = AVSRModel(found.config)
    model.load_state_dict(found.state, strict=True, assign=True)
    return model.eval().requires_grad_(True)


@contextmanager
def watching(compare: harness.Comparison, watched: dict[str, tuple[nn.Module, Callable]]) -> Iterator[None]:
    """Compare what the modules give while they run: array name -> (module, what of its output)."""

    def hook(name: str, pick: Callable) -> Callable:
        return lambda module, args, output: compare.check(name, pick(output))

    handles = [module.register_forward_hook(hook(name, pick)) for name, (module, pick) in watched.items()]
    yield
    for handle in handles:
        handle.remove()


def stages(model: AVSRModel, batch: int) -> dict[str, tuple[nn.Module, Callable]]:
    """The modules whose outputs a unimodal entry stores."""

    def whole(output: Tensor) -> Tensor:
        return output

    def by_clip(output: Tensor) -> Tensor:
        return output.unflatten(0, (batch, -1)) if model.config.modality == "video" else output

    trunk, encoder, decoder = model.frontend.trunk, model.encoder, model.decoder
    stem = model.frontend.frontend3D if model.config.modality == "video" else trunk.relu
    first = encoder.encoders[0]
    return {
        "stem_slice": (stem, whole),
        **{f"trunk_layer{n}_slice": (getattr(trunk, f"layer{n}"), by_clip) for n in range(1, 5)},
        "frontend": (model.frontend, whole),
        "proj_encoder": (model.proj_encoder, whole),
        "embed_x": (encoder.positions, lambda output: output[0]),
        "pos_emb": (encoder.positions, lambda output: output[1]),
        "enc0_ff_macaron": (first.feed_forward_macaron, whole),
        "enc0_self_attn": (first.self_attn, whole),
        "enc0_conv": (first.conv_module, whole),
        **{f"encoder_layer{n}": (block, whole) for n, block in enumerate(encoder.encoders)},
        "dec_embed": (decoder.embed, whole),
        **{f"dec_layer{n}": (block, whole) for n, block in enumerate(decoder.decoders)},
    }


def check_heads(compare: harness.Comparison, model: AVSRModel, encoded: Encoded, targets: Tensor) -> Tensor:
    """CTC, decoder, losses; returns the joint loss."""
    config = compare.entry["config"]
    assert config["ignore"] == IGNORE
    labels = targets.flatten(1)
    compare.check("ctc_logp", logp := model.ctc(encoded.memory))
    compare.check("ctc_argmax", logp.argmax(-1))
    ys_in, ys_out = decoder_targets(labels, config["sos"], config["eos"])
    compare.check("ys_in", ys_in)
    compare.check("ys_out", ys_out)
    hidden = model.decoder.hidden(ys_in, encoded.memory, encoded.mask)
    compare.check("dec_after_norm", hidden)
    compare.check("dec_logits", logits := model.decoder.output_layer(hidden))
    ctc_lo = model.ctc.ctc_lo
    loss_ctc = linear_ctc_loss(
        encoded.memory, ctc_lo.weight, ctc_lo.bias, labels, encoded.lengths, (labels != IGNORE).sum(1), config["blank"]
    )
    loss_att = label_smoothed_ce(logits, ys_out, config["label_smoothing"])
    loss = config["ctc_weight"] * loss_ctc + (1 - config["ctc_weight"]) * loss_att
    for name, value in {"loss": loss, "loss_ctc": loss_ctc, "loss_att": loss_att}.items():
        compare.check(name, value)
    compare.check("acc", token_accuracy(logits, ys_out))
    return loss


def check_gradients(compare: harness.Comparison, model: AVSRModel, loss: Tensor) -> None:
    wanted = {name: spec["wrt"] for name, spec in compare.entry["arrays"].items() if "wrt" in spec}
    if wanted:
        leaves = dict(model.named_parameters())
        gradients = torch.autograd.grad(loss, [leaves[key] for key in wanted.values()])
        for name, gradient in zip(wanted, gradients, strict=True):
            compare.check(name, gradient)


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "recogniser"))
def test_unimodal(name: str, entry: dict) -> None:
    compare = harness.Comparison(SYSTEM, entry)
    model, given, config = published_model(entry), inputs_of(entry), entry["config"]
    modality = config["modality"]
    clips, lengths = given[modality], given["lengths"]
    with watching(compare, stages(model, len(clips))):
        encoded = model.encode(**{modality: clips, f"{modality}_lengths_B": lengths})
        compare.check("frames", encoded.lengths)
        compare.check("encoder_out", encoded.memory)
        loss = check_heads(compare, model, encoded, given["targets"])
    check_gradients(compare, model, loss)
    if "single" in config:
        one = config["single"]
        with torch.no_grad():
            alone = model.encode(**{modality: clips[one : one + 1, : int(lengths[one])]})
        assert alone.mask is None
        compare.check("encoder_out_single", alone.memory)
    compare.finish()


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "recogniser_av"))
def test_audio_visual(name: str, entry: dict) -> None:
    compare = harness.Comparison(SYSTEM, entry)
    model, given, config = published_model(entry), inputs_of(entry), entry["config"]
    video, audio, frames, samples = (given[key] for key in ("video", "audio", "video_lengths", "audio_lengths"))
    watched = {
        "video_encoder_out": (model.video.encoder, lambda output: output),
        "audio_encoder_out": (model.audio.encoder, lambda output: output),
        "fusion_fc1": (model.fusion.fc1, lambda output: output),
    }
    with watching(compare, watched):
        encoded = model.encode(video, audio, video_lengths_B=frames, audio_lengths_B=samples)
    compare.check("fusion_out", encoded.memory)
    loss = check_heads(compare, model, encoded, given["targets"])
    check_gradients(compare, model, loss)
    if "single" in config:
        one = config["single"]
        with torch.no_grad():
            alone = model.encode(video[one : one + 1, : int(frames[one])], audio[one : one + 1, : int(samples[one])])
        assert alone.mask is None
        compare.check("fusion_out_single", alone.memory)
    compare.finish()


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "recogniser_zoo"))
@torch.no_grad()
def test_model_zoo(name: str, entry: dict) -> None:
    compare = harness.Comparison(SYSTEM, entry)
    model, given, config = published_model(entry), inputs_of(entry), entry["config"]
    modality = config["modality"]
    for clip in range(config["clips"]):
        x = given[f"{modality}{clip}"]
        # The zoo's loader hands video over as (1, T, H, W), channel first.
        x = x.unsqueeze(2) if modality == "video" and x.dim() == 4 else x
        with watching(compare, {f"frontend{clip}": (model.frontend, lambda output: output[0])}):
            encoded = model.encode(**{modality: x})
        compare.check(f"encoder_out{clip}", encoded.memory[0])
        compare.check(f"ctc_logp{clip}", model.ctc(encoded.memory)[0])
        compare.check(f"dec_logits{clip}", model.decoder(given[f"ys{clip}"], encoded.memory)[0])
    compare.finish()
