"""Wav2Lip's networks against published answers: every stage, both modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import harness
import pytest
import torch
from topic import Check, inputs, state
from torch import Tensor, nn

from viseme.core.layers.syncnet import SyncNetV2
from viseme.wav2lip.models import QualityDiscriminator, SyncExpert, Wav2LipGenerator
from viseme.wav2lip.objective import adversarial_loss, cosine_score
from viseme.wav2lip.published import convert_state

SYSTEM = "wav2lip"
pytestmark = pytest.mark.heavy


def model_of(entry: dict, keys: str) -> nn.Module:
    """The entry's weights through the converter, which must tell the network and its geometry from them."""
    model = convert_state(state(SYSTEM, entry, keys)).build()
    return model.train() if entry["config"]["mode"] == "train" else model.eval()


def tensors(entry: dict) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in inputs(SYSTEM, entry).items()}


@contextmanager
def taps(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What these modules give while the block runs."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        return lambda module, args, out: seen.__setitem__(name, out)

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]  # type: ignore[arg-type]
    yield seen
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "syncnet_color/eval", "syncnet_color/train"))
def test_expert(name: str, entry: dict) -> None:
    check, model = Check(SYSTEM, entry), model_of(entry, "syncnet_color")
    assert isinstance(model, SyncExpert)
    layers = {
        f"{side}_{i}": layer
        for side in ("audio_encoder", "face_encoder")
        for i, layer in enumerate(getattr(model, side))
    }
    with taps(layers) as seen, torch.no_grad():
        audio, face = model(**dict(zip(("mel_B1MT", "face_BCHW"), (tensors(entry)[k] for k in ("mel", "face")))))
    check.check("audio_embedding", audio)
    check.check("face_embedding", face)
    check.check("cosine", cosine_score(audio, face))
    check.check("audio_raw", seen[f"audio_encoder_{len(model.audio_encoder) - 1}"].flatten(1))
    check.check("face_raw", seen[f"face_encoder_{len(model.face_encoder) - 1}"].flatten(1))
    for place, out in seen.items():
        check.check(place, out)
    norm = model.face_encoder[0].conv_block[1]
    check.check("running_mean", norm.running_mean)
    check.check("running_var", norm.running_var)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "wav2lip/frames", "wav2lip/windows"))
def test_generator(name: str, entry: dict) -> None:
    check, model, given = Check(SYSTEM, entry), model_of(entry, "wav2lip"), tensors(entry)
    assert isinstance(model, Wav2LipGenerator)
    blocks = {f"enc_{i}": block for i, block in enumerate(model.face_encoder_blocks)}
    blocks |= {f"dec_{i}": block for i, block in enumerate(model.face_decoder_blocks)}
    with taps({**blocks, "audio_embedding": model.audio_encoder}) as seen, torch.no_grad():
        check.check("out", model(given["mel"], given["face"]))
    for place, out in seen.items():
        check.check(place, out)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "disc_qual"))
def test_discriminator(name: str, entry: dict) -> None:
    check, model = Check(SYSTEM, entry), model_of(entry, "disc_qual")
    assert isinstance(model, QualityDiscriminator)
    face = tensors(entry)["face"].requires_grad_()
    with taps({f"block_{i}": block for i, block in enumerate(model.face_encoder_blocks)}) as seen:
        check.check("pred", model(face))
    for place, out in seen.items():
        check.check(place, out)
    check.check("logit", model.logits(face))
    loss = adversarial_loss(model, face)
    check.check("perceptual_loss", loss)
    (gradient,) = torch.autograd.grad(loss, face)
    for place in ("grad_rms", "grad_lower", "grad_upper_absmax"):
        check.check(place, gradient)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "syncnet_v2"))
def test_syncnet_v2(name: str, entry: dict) -> None:
    check, model, given = Check(SYSTEM, entry), model_of(entry, "syncnet_v2"), tensors(entry)
    assert isinstance(model, SyncNetV2)
    sides = {"netcnnlip": model.netcnnlip, "netcnnaud": model.netcnnaud}
    layers = {f"{side}_{i}": layer for side, net in sides.items() for i, layer in enumerate(net)}
    for layer in layers.values():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    with taps(layers) as seen, torch.no_grad():
        check.check("lip", model.embed_lips(given["lip"]))
        check.check("lipfeat", model.lip_features(given["lip"]))
        check.check("aud", model.embed_audio(given["aud"]))
    for place, out in seen.items():
        check.check(place, out)
    check.finish()
