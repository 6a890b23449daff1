"""Wav2Lip's training samples, losses, and whole optimisation steps."""

from __future__ import annotations

import harness
import numpy as np
import pytest
import torch
from topic import Check, inputs, state

from viseme.core.signal import WAV2LIP_MEL
from viseme.wav2lip.models import QualityDiscriminator, SyncExpert, Wav2LipGenerator
from viseme.wav2lip.objective import (
    adversarial_loss,
    cosine_bce,
    cosine_score,
    discriminator_losses,
    generator_total,
    reconstruction_loss,
    sync_loss,
)
from viseme.wav2lip.published import convert_state
from viseme.wav2lip.samples import expert_sample, generator_sample, usable_expert, usable_generator
from viseme.wav2lip.steps import expert_step, gan_step
from viseme.wav2lip.windows import mel_start

SYSTEM = "wav2lip"


def network(entry: dict, keys: str, mode: str) -> torch.nn.Module:
    model = convert_state(state(SYSTEM, entry, keys)).build()
    return model.train() if mode == "train" else model.eval()


def tensors(entry: dict) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(value) for name, value in inputs(SYSTEM, entry).items()}


def mel_of(given: dict) -> np.ndarray:
    return WAV2LIP_MEL(torch.from_numpy(given["wave"].astype(np.float32) / 32768)).numpy()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "dataset/generator"))
def test_generator_sample(name: str, entry: dict) -> None:
    check, config, given = Check(SYSTEM, entry), entry["config"], inputs(SYSTEM, entry)
    sample = generator_sample(
        given["frames"], given["wrong_frames"], mel_of(given), given["start_id"],
        size=config["image_size"], fps=config["fps"], frame_shift=-1,
    )  # fmt: skip
    for array in ("x", "indiv_mels", "mel", "y"):
        check.check(array, sample[array])
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "dataset/expert"))
def test_expert_sample(name: str, entry: dict) -> None:
    check, config, given = Check(SYSTEM, entry), entry["config"], inputs(SYSTEM, entry)
    frames = given["frames"] if given["positive"] else given["wrong_frames"]
    sample = expert_sample(
        frames,
        mel_of(given),
        given["start_id"],
        positive=given["positive"],
        size=config["image_size"],
        fps=config["fps"],
    )
    for array in ("x", "mel", "y"):
        check.check(array, sample[array])
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "dataset/usable"))
def test_usable_starts(name: str, entry: dict) -> None:
    check, given, fps = Check(SYSTEM, entry), inputs(SYSTEM, entry), entry["config"]["fps"]
    ids, columns = given["frame_ids"], int(given["spectrogram_frames"])
    check.check("generator", [usable_generator(frame, set(ids), columns, fps=fps, frame_shift=-1) for frame in ids])
    check.check("expert", [usable_expert(frame, set(ids), columns, fps=fps) for frame in ids])
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "dataset/mel_starts"))
def test_mel_starts(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    ids = inputs(SYSTEM, entry)["frame_ids"]
    check.check("starts", [mel_start(frame, entry["config"]["fps"]) for frame in ids])
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "losses/cosine", "losses/cosine_edge"))
def test_cosine_loss(name: str, entry: dict) -> None:
    check, given = Check(SYSTEM, entry), tensors(entry)
    a, v = given["a"].requires_grad_(), given["v"].requires_grad_()
    loss = cosine_bce(a, v, given["y"])
    check.check("loss", loss)
    check.check("cosine", cosine_score(a, v))
    if "grad_a" in entry["arrays"]:
        gradients = torch.autograd.grad(loss, (a, v))
        check.check("grad_a", gradients[0])
        check.check("grad_v", gradients[1])
    check.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "losses/sync"))
def test_sync_loss(name: str, entry: dict) -> None:
    check, given = Check(SYSTEM, entry), tensors(entry)
    expert = network(entry, "syncnet_color", entry["config"]["mode"])
    assert isinstance(expert, SyncExpert)
    generated = given["generated"].requires_grad_()
    loss = sync_loss(expert, given["mel"], generated)
    check.check("loss", loss)
    (gradient,) = torch.autograd.grad(loss, generated)
    for array in ("grad", "grad_rms", "grad_upper_absmax"):
        check.check(array, gradient)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "losses/reconstruction"))
def test_reconstruction_loss(name: str, entry: dict) -> None:
    check, given = Check(SYSTEM, entry), tensors(entry)
    generated = given["generated"].requires_grad_()
    loss = reconstruction_loss(generated, given["target"])
    check.check("loss", loss)
    check.check("grad", torch.autograd.grad(loss, generated)[0])
    check.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "losses/discriminator", "losses/total"))
def test_adversarial_losses_and_totals(name: str, entry: dict) -> None:
    check, given, config = Check(SYSTEM, entry), tensors(entry), entry["config"]
    with torch.no_grad():
        discriminator = network(entry, "disc_qual", config["mode"]) if "disc_qual" in entry["keys"] else None
        if discriminator is not None:
            assert isinstance(discriminator, QualityDiscriminator)
            check.check("perceptual", adversarial_loss(discriminator, given["generated"]))
            real, fake = discriminator_losses(discriminator, given["target"], given["generated"])
            check.check("real", real)
            check.check("fake", fake)
        if "total" in entry["arrays"]:
            expert = network(entry, "syncnet_color", config["mode"])
            assert isinstance(expert, SyncExpert)
            total = generator_total(
                reconstruction_loss(given["generated"], given["target"]),
                sync_loss(expert, given["mel"], given["generated"]),
                adversarial_loss(discriminator, given["generated"]) if discriminator is not None else 0.0,
                config["sync_weight"],
                config["discriminator_weight"],
            )
            check.check("total", total)
    check.finish()


def adam(model: torch.nn.Module, config: dict) -> torch.optim.Optimizer:
    return getattr(torch.optim, config["optimizer"])(model.parameters(), lr=config["lr"], betas=tuple(config["betas"]))


def check_parameters(check: Check, model: torch.nn.Module, prefix: str, gradients: dict[str, torch.Tensor]) -> None:
    for key, value in model.state_dict().items():
        check.check(f"{prefix}.after.{key}", value)
    for key, gradient in gradients.items():
        check.check(f"{prefix}.grad.{key}", gradient)


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "train_step/gan"))
def test_gan_step(name: str, entry: dict) -> None:
    check, given, config = Check(SYSTEM, entry), tensors(entry), entry["config"]
    generator = network(entry, "wav2lip", config["mode"])
    discriminator = network(entry, "disc_qual", config["mode"])
    expert = network(entry, "syncnet_color", config["expert_mode"]).requires_grad_(False)
    assert isinstance(generator, Wav2LipGenerator) and isinstance(expert, SyncExpert)
    assert isinstance(discriminator, QualityDiscriminator)
    outcome = gan_step(
        generator, expert, discriminator, adam(generator, config), adam(discriminator, config),
        {"x": given["x"], "indiv_mels": given["indiv_mels"], "mel": given["mel"], "y": given["target"]},
        sync_weight=config["sync_weight"], adversarial_weight=config["discriminator_weight"],
    )  # fmt: skip
    check.check("generated", outcome.generated)
    for array, value in {
        "sync": outcome.losses["loss_sync"],
        "perceptual": outcome.losses["loss_adversarial"],
        "l1": outcome.losses["loss_l1"],
        "total": outcome.losses["loss"],
        "disc_real": outcome.losses["loss_real"],
        "disc_fake": outcome.losses["loss_fake"],
    }.items():
        check.check(array, value)
    gradients = {key: p.grad for key, p in generator.named_parameters() if p.grad is not None}
    check.check("generator.grad_norm", torch.stack([g.norm() for g in gradients.values()]).norm())
    check_parameters(check, generator, "generator", gradients)
    own = {key: p.grad for key, p in discriminator.named_parameters() if p.grad is not None}
    check_parameters(check, discriminator, "discriminator", own)
    norm = generator.audio_encoder[0].conv_block[1]
    for array in ("running_mean", "running_var", "num_batches_tracked"):
        check.check(f"generator.{array}", getattr(norm, array))
    check.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "train_step/expert"))
def test_expert_step(name: str, entry: dict) -> None:
    check, given, config = Check(SYSTEM, entry), tensors(entry), entry["config"]
    expert = network(entry, "syncnet_color", config["mode"])
    assert isinstance(expert, SyncExpert)
    loss = expert_step(expert, adam(expert, config), {"x": given["face"], "mel": given["mel"], "y": given["y"]})
    check.check("loss", loss)
    check_parameters(check, expert, "expert", {k: p.grad for k, p in expert.named_parameters() if p.grad is not None})
    check.finish()
