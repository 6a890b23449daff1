"""VCA-GAN's networks, losses and whole training steps against published answers."""

from __future__ import annotations

import pytest
import torch
from lip2speech_vectors import Comparison, entries, fills, lengths, state
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.lip2speech.models import VCAGAN, for_inference
from viseme.lip2speech.objective import (
    VCAObjective,
    VCAStep,
    adversarial_loss,
    gradient_penalty,
    mel_targets,
)
from viseme.lip2speech.optim import vca_optimizers
from viseme.lip2speech.published import convert_vca

pytestmark = pytest.mark.heavy

PARTS = {
    "vca_visual_front": "v_front_state_dict",
    "vca_generator": "gen_state_dict",
    "vca_postnet": "post_state_dict",
    "vca_discriminator1": "dis1_state_dict",
    "vca_discriminator2": "dis2_state_dict",
    "vca_discriminator3": "dis3_state_dict",
    "vca_sync_discriminator": "s_dis_state_dict",
}


def published_model(entry: dict, **options: float) -> VCAGAN:
    """A model with the entry's sub-dictionaries, through the converter; the other parts keep fresh weights."""
    return convert_vca({PARTS[keys]: state(keys) for keys in entry["keys"]}, **options).model().eval()


def outputs(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """A dictionary that fills with what the modules give while they run."""
    seen: dict[str, Tensor] = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda m, args, out, name=name: seen.__setitem__(name, out))
    return seen


@pytest.mark.parametrize(("name", "entry"), entries("vca_visual_front"))
def test_visual_front(name: str, entry: dict) -> None:
    compare, front = Comparison(name, entry), published_model(entry).visual_front
    seen = outputs(
        {"stem": front.frontend, "one": front.resnet.layer1, "four": front.resnet.layer4, "gru": front.sentence_encoder}
    )
    with torch.no_grad():
        local, context = front(fills(entry)["video"])
    compare.check("frontend_slice", seen["stem"][:, ::8, :, ::4, ::4])
    compare.check("layer1_slice", seen["one"][:, ::8, ::4, ::4])
    compare.check("layer4", seen["four"][:, ::4])
    compare.check("gru", seen["gru"][0])
    compare.check("local", local)
    compare.check("global", context)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("vca_generator"))
def test_generator(name: str, entry: dict) -> None:
    compare, generator, given = Comparison(name, entry), published_model(entry).generator, fills(entry)
    seen = outputs({part: getattr(generator, part) for part in ("decode", "g1", "g2", "g3", "att1", "att2")})
    with torch.no_grad():
        mels = generator(given["local"], given["global"], lengths(given["lengths"]), given["noise"])
    compare.check("bottleneck_slice", seen["decode"][:, ::16])
    for number, stride in ((1, 8), (2, 8), (3, 8)):
        compare.check(f"scale{number}_slice", seen[f"g{number}"][:, ::stride])
        compare.check(f"mel{number}", mels[number - 1])
    for number in (1, 2):
        compare.check(f"context{number}_slice", seen[f"att{number}"][0][:, ::4])
        compare.check(f"attention{number}", seen[f"att{number}"][1])
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("vca_postnet"))
def test_postnet(name: str, entry: dict) -> None:
    compare = Comparison(name, entry)
    with torch.no_grad():
        compare.check("spec", published_model(entry).postnet(fills(entry)["mel"]))
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("vca_discriminators"))
def test_discriminators(name: str, entry: dict) -> None:
    compare, model, given = Comparison(name, entry), published_model(entry), fills(entry)
    for number, critic in enumerate(model.discriminators, start=1):
        mel = given[f"mel{number}"].requires_grad_()
        seen = outputs({"main": critic.main})
        alone, conditioned = critic(mel, given["global"])
        compare.check(f"uncond{number}", alone)
        compare.check(f"cond{number}", conditioned)
        compare.check(f"main{number}_slice", seen["main"][:, ::8])
        penalty = gradient_penalty(alone, mel)
        compare.check(f"r1_per_sample{number}", penalty)
        compare.check(
            f"grad_uncond_sum{number}", torch.autograd.grad(alone.sum(), mel, retain_graph=True)[0], rtol=1e-3
        )
        twice = torch.autograd.grad(penalty.mean(), critic.main[0].weight)[0]
        compare.check(f"grad_of_r1_wrt_first_conv{number}", twice, rtol=1e-3)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("vca_sync_discriminator"))
def test_sync_discriminator(name: str, entry: dict) -> None:
    compare, given = Comparison(name, entry), fills(entry)
    sync = published_model(entry).sync_discriminator
    local, mel = (given[key].requires_grad_() for key in ("local", "mel"))
    compare.check("audio_feature", sync(mel))

    def loss(prefix: str, value: Tensor) -> None:
        compare.check(prefix, value)
        by_local, by_mel = torch.autograd.grad(value.mean(), (local, mel))
        compare.check(f"{prefix}_grad_local_slice", by_local[:, :, ::8], rtol=1e-3)
        compare.check(f"{prefix}_grad_mel_slice", by_mel[:, :, ::4], rtol=1e-3)

    loss("contrastive", sync.contrastive(local, mel))
    loss("generator", sync.generator_loss(local, mel))
    for key in [key for key in compare.stored if key.startswith("contrastive_temp") and "grad" not in key]:
        sync.temperature = float(key.removeprefix("contrastive_temp").replace("p", "."))
        loss(key, sync.contrastive(local, mel))
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("vca_full"))
def test_whole_inference(name: str, entry: dict) -> None:
    compare, given, model = Comparison(name, entry), fills(entry), published_model(entry)
    for network in (model, for_inference(model.eval())):
        spoken = network.speak(
            given["video"], lengths(given["lengths"]), noise=given["noise1"], flipped_noise=given["noise2"]
        )
        compare.check("mel_direct", spoken.direct)
        compare.check("mel_flipped", spoken.flipped)
        compare.check("mel", spoken.mel)
        compare.check("spec", spoken.spectrogram)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("vca_losses"))
def test_losses(name: str, entry: dict) -> None:
    compare, given = Comparison(name, entry), fills(entry)
    for real, key in ((True, "gan_real"), (False, "gan_fake")):
        logits = given["logits"].clone().requires_grad_()
        value = adversarial_loss(logits, real=real)
        compare.check(key, value)
        compare.check(f"{key}_grad", torch.autograd.grad(value, logits)[0], rtol=1e-3)
    targets = mel_targets(given["mel"])
    compare.check("mel_quarter", targets.coarse)
    compare.check("mel_half", targets.middle)
    for log_mels, key in ((False, "recon_lrs"), (True, "recon_grid")):
        coarse = given["g1"].clone().requires_grad_()
        mels = type(targets)(coarse, given["g2"], given["g3"])
        value = VCAObjective(log_mels=log_mels).reconstruct(mels, targets, given["gs"], given["spec"])
        compare.check(key, value)
        compare.check(f"{key}_grad_g1", torch.autograd.grad(value, coarse)[0], rtol=1e-3)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("vca_train_step"))
def test_train_step(name: str, entry: dict) -> None:
    compare, given, config = Comparison(name, entry), fills(entry), entry["config"]
    grid = config["recipe"] == "grid"
    model = published_model(entry, dropout=float(config["dropout"])).train()
    model.visual_front.sentence_encoder.dropout = float(config["dropout"])
    objective = VCAObjective(sync_weight=1.0 if grid else 0.5, log_mels=grid, mask_padding=False)
    settings = config["optimizer"].split()
    first, second = vca_optimizers(
        model,
        lr=float(settings[settings.index("lr") + 1]),
        weight_decay=float(settings[settings.index("weight_decay") + 1]),
        amsgrad=settings[settings.index("amsgrad") + 1] == "True",
    )
    step = VCAStep(
        model, objective, given["video"], given["mel"], given["spec"], lengths(given["lengths"]), noise=given["noise"]
    )
    losses = step.discriminators()
    losses["d_loss"].backward()
    for key, value in losses.items():
        compare.check(key, value)
    front = list(model.visual_front.parameters())
    through = torch.autograd.grad(step.features[0], front, step.local.grad, retain_graph=True, allow_unused=True)
    compare.check("visual_front_grad_norm_after_d_backward", norm(through), rtol=1e-3)
    compare.check("discriminator_grad_norms", torch.stack([grad_norm(part) for part in model.judging()]), rtol=1e-3)
    second.step()
    losses = step.generator()
    losses["g_loss"].backward()
    step.visual().backward()
    for key, value in losses.items():
        compare.check(key, value)
    compare.check("generator_grad_norms", torch.stack([grad_norm(part) for part in model.speaking()]), rtol=1e-3)
    compare.check("grad_visual_stem_slice", model.visual_front.frontend[0].weight.grad[::8], rtol=2e-2)
    compare.check("grad_visual_fc_bias", model.visual_front.fc.bias.grad, rtol=2e-2)
    compare.check("grad_att1_q_bias", model.generator.att1.q.bias.grad, rtol=2e-2)
    compare.check("grad_to_mel3_conv", model.generator.to_mel3[2].weight.grad.flatten(), rtol=2e-2)
    first.step()
    moved = {"atol": 1e-6, "fraction": 0.99, "atol_rest": 2.1e-4}
    compare.check("stem_weight_after_step_slice", model.visual_front.frontend[0].weight[::8], **moved)
    compare.check("to_mel3_after_step", model.generator.to_mel3[2].weight.flatten(), **moved)
    compare.check("dis1_first_conv_after_step", model.discriminators[0].main[0].weight, **moved)
    compare.check("generator_bn_running_mean", model.generator.decode[0].norm1.running_mean)
    compare.finish()


def norm(gradients: list[Tensor | None] | tuple[Tensor | None, ...]) -> Tensor:
    """Over all together."""
    return torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm()


def grad_norm(module: nn.Module) -> Tensor:
    return norm([weight.grad for weight in module.parameters()])


def test_bilinear_targets_are_not_smoothed() -> None:
    mel = torch.rand(1, 1, 80, 40)
    assert torch.equal(mel_targets(mel).middle, F.interpolate(mel, scale_factor=0.5, mode="bilinear"))
