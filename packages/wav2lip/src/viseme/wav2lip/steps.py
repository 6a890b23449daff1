"""Whole optimisation steps of the recipes, as plain functions: the tasks call them, and parity is pinned on them.

B clips, T frames of a window, S pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from viseme.wav2lip.models.discriminator import QualityDiscriminator
from viseme.wav2lip.models.expert import SyncExpert
from viseme.wav2lip.models.generator import Wav2LipGenerator
from viseme.wav2lip.objective import (
    adversarial_loss,
    cosine_bce,
    discriminator_losses,
    generator_total,
    group_bce,
    reconstruction_loss,
    sync_loss,
)

__all__ = ["GANOutcome", "Optimizer", "expert_loss", "expert_step", "gan_step", "generator_losses"]


class Optimizer(Protocol):
    """A torch optimiser, or Lightning's wrapper of one."""

    def zero_grad(self) -> None: ...

    def step(self) -> object: ...


@dataclass(frozen=True)
class GANOutcome:
    """What a step of the generator recipes gave: named losses (before the step), and the generated windows."""

    losses: dict[str, Tensor]
    generated: Tensor


def _backward(loss: Tensor) -> None:
    loss.backward()


def expert_loss(expert: SyncExpert, batch: Mapping[str, Tensor]) -> Tensor:
    """Of pairs `x` (B,3T,S/2,S), `mel` (B,1,80,16) with targets `y` (B,1); or, without targets, of groups (C,G,...) of
    windows that belong to one clip each."""
    if "y" in batch:
        audio_BD, face_BD = expert(batch["mel"], batch["x"])
        return cosine_bce(audio_BD, face_BD, batch["y"])
    shape = batch["mel"].shape[:2]
    audio_BD, face_BD = expert(batch["mel"].flatten(0, 1), batch["x"].flatten(0, 1))
    return group_bce(audio_BD.unflatten(0, shape), face_BD.unflatten(0, shape))


def expert_step(
    expert: SyncExpert,
    optimizer: Optimizer,
    batch: Mapping[str, Tensor],
    backward: Callable[[Tensor], None] = _backward,
) -> Tensor:
    """One step of the expert; returns its loss. See `expert_loss` for the batch."""
    loss = expert_loss(expert, batch)
    optimizer.zero_grad()
    backward(loss)
    optimizer.step()
    return loss.detach()


def generator_losses(
    generator: Wav2LipGenerator,
    expert: SyncExpert,
    discriminator: QualityDiscriminator | None,
    batch: Mapping[str, Tensor],
    *,
    sync_weight: float,
    adversarial_weight: float,
    mouth_weight: float = 1.0,
    always_sync: bool = False,
) -> GANOutcome:
    """The generator's losses on a batch of `generator_sample`s; a loss of weight 0 is not computed.

    Args:
        mouth_weight: see `reconstruction_loss`.
        always_sync: compute the sync loss whatever its weight (validation).
    """
    generated = generator(batch["indiv_mels"], batch["x"])
    zero = generated.new_zeros(())
    sync = sync_loss(expert, batch["mel"], generated) if sync_weight > 0 or always_sync else zero
    adversarial = zero
    if discriminator is not None and adversarial_weight > 0:
        adversarial = adversarial_loss(discriminator, generated)
    l1 = reconstruction_loss(generated, batch["y"], mouth_weight)
    total = generator_total(l1, sync, adversarial, sync_weight, adversarial_weight if discriminator is not None else 0)
    losses = {"loss": total, "loss_l1": l1, "loss_sync": sync, "loss_adversarial": adversarial}
    return GANOutcome(losses, generated)


def gan_step(
    generator: Wav2LipGenerator,
    expert: SyncExpert,
    discriminator: QualityDiscriminator | None,
    generator_optimizer: Optimizer,
    discriminator_optimizer: Optimizer | None,
    batch: Mapping[str, Tensor],
    *,
    sync_weight: float,
    adversarial_weight: float,
    mouth_weight: float = 1.0,
    backward: Callable[[Tensor], None] = _backward,
) -> GANOutcome:
    """One step of the generator, then one of the discriminator (if any) on the frames generated before it.

    The expert is frozen by the caller; its mode is the caller's choice too.
    """
    outcome = generator_losses(
        generator, expert, discriminator, batch, sync_weight=sync_weight, adversarial_weight=adversarial_weight,
        mouth_weight=mouth_weight,
    )  # fmt: skip
    generator_optimizer.zero_grad()
    backward(outcome.losses["loss"])
    generator_optimizer.step()
    losses = dict(outcome.losses)
    if discriminator is not None and discriminator_optimizer is not None:
        discriminator_optimizer.zero_grad()  # of what the generator's step left there
        real, fake = discriminator_losses(discriminator, batch["y"], outcome.generated)
        backward(real)
        backward(fake)
        discriminator_optimizer.step()
        losses |= {"loss_real": real, "loss_fake": fake}
    with torch.no_grad():
        return GANOutcome({name: loss.detach() for name, loss in losses.items()}, outcome.generated.detach())
