"""Training of the unit vocoder: least-squares GAN, feature matching, log-mel distance, durations (Kong et al. 2020,
Polyak et al. 2021).

Logged: `loss` (the mel distance), `loss_duration`, and once adversarial `loss_generator`, `loss_discriminator`; at
validation `loss_val` and `loss_duration_val`.

B segments, T units (one a frame), S samples.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.layers.hifigan import HiFiGANConfig, UnitVocoder, UnitVocoderConfig
from viseme.core.layers.hifigan_discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator, judge
from viseme.core.losses.vocoder import (
    VocoderMel,
    adversarial_loss,
    discriminator_loss,
    duration_targets,
    feature_matching_loss,
)

__all__ = ["VocoderConfig", "VocoderTask"]


@dataclass
class VocoderConfig:
    """The Hydra group `vocoder`: geometry and training. Published values (speech-resynthesis) are the defaults.

    Attributes:
        embedding_dim: of a unit.
        upsample_rates, upsample_kernel_sizes, upsample_initial_channel: of the generator.
        resblock_kernel_sizes, resblock_dilations: of its residual blocks; every one has the same dilations.
        period_width, scale_width: channels of the discriminators' first layers.
        segment_units, batch_size: of a batch.
        lr, betas, weight_decay, lr_decay: AdamW; the rate is multiplied by `lr_decay` each epoch.
        mel_weight, feature_weight, duration_weight: of the losses.
        adversarial_after: steps of mel and duration losses alone before the discriminators join; -1: they never do.
    """

    embedding_dim: int = 128
    upsample_rates: list[int] = field(default_factory=lambda: [5, 4, 4, 2, 2])
    upsample_kernel_sizes: list[int] = field(default_factory=lambda: [11, 8, 8, 4, 4])
    upsample_initial_channel: int = 512
    resblock_kernel_sizes: list[int] = field(default_factory=lambda: [3, 7, 11])
    resblock_dilations: list[int] = field(default_factory=lambda: [1, 3, 5])
    period_width: int = 32
    scale_width: int = 128
    segment_units: int = 28
    batch_size: int = 16
    lr: float = 2e-4
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    lr_decay: float = 0.999
    mel_weight: float = 45.0
    feature_weight: float = 2.0
    duration_weight: float = 1.0
    adversarial_after: int = 0

    def geometry(self, units: int) -> UnitVocoderConfig:
        """Of a vocoder of so many units."""
        return UnitVocoderConfig(
            units,
            self.embedding_dim,
            HiFiGANConfig(
                self.embedding_dim,
                tuple(self.upsample_rates),
                tuple(self.upsample_kernel_sizes),
                self.upsample_initial_channel,
                tuple(self.resblock_kernel_sizes),
                tuple(tuple(self.resblock_dilations) for _ in self.resblock_kernel_sizes),
            ),
        )


class VocoderTask(lightning.LightningModule):
    """Trains a weight-normalised `UnitVocoder`; `max_steps` counts optimiser steps, two a batch once adversarial."""

    def __init__(self, model: UnitVocoder, options: VocoderConfig | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.options = model, options or VocoderConfig()
        self.mel = VocoderMel(model.config.rate)
        self.discriminators = nn.ModuleList()
        if self.options.adversarial_after >= 0:
            self.discriminators.append(MultiPeriodDiscriminator(width=self.options.period_width))
            self.discriminators.append(MultiScaleDiscriminator(width=self.options.scale_width))

    def _distances(self, units_BT: Tensor, real_B1S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fake signal (B, 1, S), mel distance, duration loss."""
        fake_B1S = self.model(units_BT)
        mel = F.l1_loss(self.mel(fake_B1S), self.mel(real_B1S))
        assert self.model.dur_predictor is not None
        targets = duration_targets(units_BT, self.model.dict(units_BT))
        return fake_B1S, mel, targets.loss(self.model.dur_predictor(targets.embedded))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> dict[str, Tensor]:
        units_BT, real_B1S = batch
        optimizers: Any = self.optimizers()
        ours, theirs = optimizers if isinstance(optimizers, list) else (optimizers, None)
        fake_B1S, mel, duration = self._distances(units_BT, real_B1S)
        options = self.options
        loss = options.mel_weight * mel + options.duration_weight * duration
        if theirs is not None and self.global_step >= options.adversarial_after:
            parts: Any = self.discriminators
            real, _ = judge(parts, real_B1S)
            fake, _ = judge(parts, fake_B1S.detach())
            judged = discriminator_loss(real, fake)
            theirs.zero_grad()
            self.manual_backward(judged)
            theirs.step()
            _, features = judge(parts, real_B1S)
            fake, fake_features = judge(parts, fake_B1S)
            fooled = adversarial_loss(fake) + options.feature_weight * feature_matching_loss(features, fake_features)
            loss = loss + fooled
            self.log_dict({"loss_generator": fooled.detach(), "loss_discriminator": judged.detach()})
        ours.zero_grad()
        self.manual_backward(loss)
        ours.step()
        self.log_dict({"loss": mel.detach(), "loss_duration": duration.detach()}, prog_bar=True)
        return {"loss": loss.detach()}

    def on_train_epoch_end(self) -> None:
        schedulers: Any = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        _, mel, duration = self._distances(*batch)
        named = {"loss_val": mel, "loss_duration_val": duration}
        self.log_dict(named, batch_size=len(batch[0]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        options = self.options
        groups = [self.model.parameters()]
        if len(self.discriminators):
            groups.append(itertools.chain(*(part.parameters() for part in self.discriminators)))
        optimizers = [
            torch.optim.AdamW(
                group, options.lr, betas=(options.betas[0], options.betas[1]), weight_decay=options.weight_decay
            )
            for group in groups
        ]
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(one, options.lr_decay) for one in optimizers]
