"""The LightningModules: the sync expert's, and the generator's with or without the quality discriminator.

Logged each step: `loss` and its parts; at validation the same with `_val`, and `auc_val` (expert) or `sync_weight`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from torch import Tensor

from viseme.core.errors import ConfigError
from viseme.wav2lip.metrics import roc_auc
from viseme.wav2lip.models import QualityDiscriminator, SyncExpert, Wav2LipGenerator
from viseme.wav2lip.objective import cosine_bce, cosine_score
from viseme.wav2lip.samples import WINDOW
from viseme.wav2lip.steps import expert_step, gan_step, generator_losses

__all__ = ["AdamConfig", "ExpertTask", "GeneratorTask", "OptimConfig"]


@dataclass
class AdamConfig:
    """One network's optimiser.

    Attributes:
        lr, betas: of Adam.
        batch_size: windows.
        group: for the expert: windows of a clip that are all paired with one another; 1 draws single pairs as
            published, which teaches far more slowly.
        decay: let the learning rate fall to nothing over the run (half a cosine, after 50 steps of warm-up), so that
            the batch norms' running statistics come to rest; needs a run with an end. Published: constant.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    batch_size: int = 16
    group: int = 1
    decay: bool = False


@dataclass
class OptimConfig:
    """The Hydra group `optim`.

    Attributes:
        expert, generator: optimisers; the discriminator has the generator's.
        sync_weight: of the sync loss once it counts: published 0.01 without, 0.03 with the discriminator.
        sync_threshold: validation sync loss below which it begins to count; null: from the start.
        adversarial_weight: of the discriminator in the generator's loss; 0 trains without one.
        mouth_weight: how much more the mouth's pixels count in the pictures' loss; published 1.
        generator_frames: of a generator's training window. One, drawn anywhere, shows a batch five times as many
            faces and sounds for the same work, but the sync loss needs five, as published.
        expert_mode: of the frozen expert: `eval`, or `train` as published, where it uses each batch's statistics.
    """

    expert: AdamConfig = field(default_factory=lambda: AdamConfig(batch_size=64))
    generator: AdamConfig = field(default_factory=AdamConfig)
    sync_weight: float = 0.01
    sync_threshold: float | None = 0.75
    adversarial_weight: float = 0.0
    mouth_weight: float = 1.0
    generator_frames: int = WINDOW
    expert_mode: str = "eval"

    def __post_init__(self) -> None:
        if self.expert_mode not in ("eval", "train"):
            raise ConfigError("optim.expert_mode", expected="eval or train", got=self.expert_mode)
        if self.mouth_weight <= 0:
            raise ConfigError("optim.mouth_weight", expected="more than 0", got=self.mouth_weight)
        if self.generator_frames != WINDOW and (self.generator_frames != 1 or self.sync_weight > 0):
            raise ConfigError(
                "optim.generator_frames",
                expected=f"{WINDOW}, or 1 with optim.sync_weight=0",
                got=f"{self.generator_frames} with sync_weight {self.sync_weight}",
            )
        if self.sync_weight < 0 or self.adversarial_weight < 0 or self.sync_weight + self.adversarial_weight >= 1:
            raise ConfigError(
                "loss weights must not be negative, and leave something for the pictures",
                got=f"sync {self.sync_weight}, adversarial {self.adversarial_weight}",
            )


def _adam(parameters: Any, options: AdamConfig) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, options.lr, betas=(options.betas[0], options.betas[1]))


def _rate(step: int, total: int, warmup: int = 50) -> float:
    """Share of the full learning rate at a step."""
    rise = min(1.0, (step + 1) / min(warmup, max(total // 10, 1)))
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(total, 1))))


class _ManualTask(lightning.LightningModule):
    """Steps by hand, so that the very functions whose parity is pinned do the work."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    @property
    def _back(self) -> Callable[[Tensor], None]:
        return self.manual_backward

    def _set_rate(self, options: AdamConfig) -> None:
        """The learning rate of the coming step: a function of the step alone, so that a resumed run has it too."""
        if not options.decay:
            return
        total = self.trainer.estimated_stepping_batches
        if not math.isfinite(total) or total < 1:
            raise ConfigError("decay needs a run with an end", expected="max_epochs or max_steps of the trainer")
        share = _rate(self.trainer.global_step, int(total))
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = options.lr * share

    def _log(self, losses: dict[str, Tensor], suffix: str, windows: int) -> None:
        for name, value in losses.items():
            self.log(f"{name}{suffix}", value, batch_size=windows, prog_bar=name == "loss", sync_dist=bool(suffix))


class ExpertTask(_ManualTask):
    """Trains a `SyncExpert` on batches of `expert_sample`s."""

    def __init__(self, model: SyncExpert, options: AdamConfig | None = None) -> None:
        super().__init__()
        self.model, self.options = model, options or AdamConfig(batch_size=64)
        self._scores: list[Tensor] = []
        self._targets: list[Tensor] = []

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> dict[str, Tensor]:
        self._set_rate(self.options)
        loss = expert_step(self.model, self.optimizers(), batch, self._back)  # type: ignore[arg-type]
        self._log({"loss": loss}, "", len(batch["mel"]))
        return {"loss": loss}

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        audio_BD, face_BD = self.model(batch["mel"], batch["x"])
        self._log({"loss": cosine_bce(audio_BD, face_BD, batch["y"])}, "_val", len(batch["y"]))
        self._scores.append(cosine_score(audio_BD, face_BD).cpu())
        self._targets.append(batch["y"][:, 0].cpu())

    def on_validation_epoch_end(self) -> None:
        scores, targets = torch.cat(self._scores).float().numpy(), torch.cat(self._targets).numpy()
        self._scores, self._targets = [], []
        self.log("auc_val", roc_auc(scores, targets > 0.5), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return _adam(self.model.parameters(), self.options)


class GeneratorTask(_ManualTask):
    """Trains a `Wav2LipGenerator` on batches of `generator_sample`s against a frozen expert.

    Args:
        expert: trained; its weights do not change.
        discriminator: for the GAN recipe; needs a positive `adversarial_weight`.
        pictures: folder for validation pictures, or None for none.
    """

    sync_weight: Tensor

    def __init__(
        self,
        model: Wav2LipGenerator,
        expert: SyncExpert,
        discriminator: QualityDiscriminator | None = None,
        options: OptimConfig | None = None,
        pictures: Path | None = None,
    ) -> None:
        super().__init__()
        self.options = options or OptimConfig()
        if (discriminator is not None) != (self.options.adversarial_weight > 0):
            raise ConfigError("a discriminator goes with a positive adversarial_weight, and only with one")
        self.model, self.expert, self.discriminator = model, expert.requires_grad_(False), discriminator
        self.pictures = pictures
        # A buffer, so that a resumed run goes on with the weight it had.
        start = self.options.sync_weight if self.options.sync_threshold is None else 0.0
        self.register_buffer("sync_weight", torch.tensor(start))
        self._validated: list[Tensor] = []

    def on_train_epoch_start(self) -> None:
        self.expert.train(self.options.expert_mode == "train")

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> dict[str, Tensor]:
        self._set_rate(self.options.generator)
        optimizers: Any = self.optimizers()
        pair = optimizers if isinstance(optimizers, list) else [optimizers, None]
        # The discriminator's optimiser is stepped past Lightning, which would count its steps as the run's.
        second = pair[1].optimizer if pair[1] is not None else None
        outcome = gan_step(
            self.model,
            self.expert,
            self.discriminator,
            pair[0],
            second,
            batch,
            sync_weight=float(self.sync_weight),
            adversarial_weight=self.options.adversarial_weight,
            mouth_weight=self.options.mouth_weight,
            backward=self._back,
        )
        self._log(outcome.losses, "", len(batch["y"]))
        return {"loss": outcome.losses["loss"]}

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        outcome = generator_losses(
            self.model,
            self.expert,
            self.discriminator,
            batch,
            sync_weight=float(self.sync_weight),
            adversarial_weight=self.options.adversarial_weight,
            mouth_weight=self.options.mouth_weight,
            always_sync=True,
        )
        self._log(outcome.losses, "_val", len(batch["y"]))
        self._validated.append(outcome.losses["loss_sync"])
        if batch_index == 0 and self.pictures is not None and self.trainer.is_global_zero:
            self._show(strip(batch["x"], outcome.generated, batch["y"]))

    def on_validation_epoch_end(self) -> None:
        gathered: Any = self.all_gather(torch.stack(self._validated).mean())
        mean = gathered.mean()
        self._validated = []
        threshold = self.options.sync_threshold
        if threshold is not None and float(mean) < threshold and not self.trainer.sanity_checking:
            self.sync_weight.fill_(self.options.sync_weight)
        self.log("sync_weight", self.sync_weight, sync_dist=False)

    def _show(self, picture: np.ndarray) -> None:
        step = self.trainer.global_step
        assert self.pictures is not None
        self.pictures.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(self.pictures / f"step{step:09d}.jpg"), picture)
        for logger in self.loggers:
            writer: Any = getattr(logger, "experiment", None)
            if hasattr(writer, "add_image"):
                rgb = picture[..., ::-1]
                writer.add_image("reference, input, output, target", rgb, step, dataformats="HWC")

    def configure_optimizers(self) -> Any:
        optimizers = [_adam(self.model.parameters(), self.options.generator)]
        if self.discriminator is not None:
            optimizers.append(_adam(self.discriminator.parameters(), self.options.generator))
        return optimizers


def strip(x_B6TSS: Tensor, generated_B3TSS: Tensor, target_B3TSS: Tensor, windows: int = 4) -> np.ndarray:
    """First frames of a few windows, one a row: reference, masked input, output, target; (H, W, 3) uint8 BGR."""
    pictures = (x_B6TSS[:, 3:], x_B6TSS[:, :3], generated_B3TSS, target_B3TSS)
    columns = [picture[:windows, :, 0] for picture in pictures]
    rows = torch.cat([column.float() for column in columns], dim=3).permute(0, 2, 3, 1).flatten(0, 1)
    return (rows.clamp(0, 1) * 255).byte().cpu().numpy()
