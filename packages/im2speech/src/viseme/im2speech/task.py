"""The LightningModule of the captioner: objective, optimiser, schedule, what is logged.

Logged each step: `loss`, `accuracy` (of the next unit); at validation both with `_val`, and `uer_val`, the unit error
rate of greedy captions against the spoken ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from viseme.core.errors import ConfigError
from viseme.im2speech.augment import TokenAugment
from viseme.im2speech.data import CaptionBatch
from viseme.im2speech.decoding import GenerationConfig, generate
from viseme.im2speech.model import Captioner
from viseme.im2speech.objective import CaptionLosses, score
from viseme.im2speech.schedule import warmup_factor
from viseme.im2speech.tokens import unit_error_rate

__all__ = ["CaptionTask", "OptimConfig"]


@dataclass
class OptimConfig:
    """The Hydra group `optim`: AdamW, warm-up and decay by update, and the loss.

    Attributes:
        lr, betas, eps, weight_decay: of AdamW; the decay is on all parameters, as published.
        warmup_steps: updates of the linear rise.
        decay: `cosine` to nothing at the end of the run, or `constant`.
        schedule: `fixed`, or `published` (whose first update has rate 0).
        label_smoothing: published: none.
        freeze_image: train all but the image encoder and its projection (published `--vit_fix`).
    """

    lr: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-5
    warmup_steps: int = 10_000
    decay: str = "cosine"
    schedule: str = "fixed"
    label_smoothing: float = 0.0
    freeze_image: bool = False


class CaptionTask(lightning.LightningModule):
    """Trains a `Captioner`.

    Args:
        model: the network.
        optim: optimiser, schedule and loss.
        augment: of image-token maps.

    Raises:
        ConfigError: no such decay, or augmentations of what the captioner does not see.
    """

    def __init__(
        self,
        model: Captioner,
        optim: OptimConfig | None = None,
        augment: TokenAugment | None = None,
    ) -> None:
        super().__init__()
        self.model, self.optim = model, optim or OptimConfig()
        self.augment = augment or TokenAugment()
        if self.augment.active and model.config.image != "codes":
            raise ConfigError("token augmentations are for captioners of image codes", got=model.config.image)
        if self.optim.decay not in ("cosine", "constant"):
            raise ConfigError("no such decay", expected="cosine | constant", got=self.optim.decay)
        if self.optim.freeze_image:
            model.model.git.image_encoder.requires_grad_(False)
            model.model.git.visual_projection.requires_grad_(False)

    def _run(self, batch: CaptionBatch) -> CaptionLosses:
        tokens_BL, lengths_B = batch["tokens"], batch["lengths"]
        logits_BLV = self.model(batch["images"], tokens_BL, lengths_B)
        return score(logits_BLV, tokens_BL, lengths_B, self.optim.label_smoothing)

    def training_step(self, batch: CaptionBatch, batch_index: int) -> Tensor:
        if self.augment.active:
            images = batch["images"]
            codes = self.model.image_codes(images) if images.is_floating_point() else images.long()
            size, draws = self.model.config.code_crop, torch.default_generator  # seeded at each step
            batch = {**batch, "images": self.augment(codes, self.model.codebook, size, draws)}
        losses = self._run(batch)
        self._log(losses, "", len(batch["names"]))
        return losses.loss

    def validation_step(self, batch: CaptionBatch, batch_index: int) -> None:
        clips, tokens = len(batch["names"]), self.model.config.tokens
        self._log(self._run(batch), "_val", clips)
        longest = min(batch["tokens"].shape[1] + 16, self.model.config.max_tokens)
        found = generate(self.model.model, self.model.encode(batch["images"]), GenerationConfig(1, longest))
        spoken = [
            tokens.parse(row[:length]) for row, length in zip(batch["tokens"].tolist(), batch["lengths"].tolist())
        ]
        rates = [unit_error_rate(tokens.parse(one.tokens), truth) for one, truth in zip(found, spoken)]
        self.log("uer_val", sum(rates) / clips, batch_size=clips, prog_bar=True, sync_dist=True)

    def _log(self, losses: CaptionLosses, suffix: str, clips: int) -> None:
        named = {"loss": losses.loss.detach(), "accuracy": losses.accuracy.float()}
        for name, value in named.items():
            self.log(f"{name}{suffix}", value, batch_size=clips, prog_bar=name == "loss", sync_dist=bool(suffix))

    def configure_optimizers(self) -> dict[str, Any]:
        options = self.optim
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            trained,
            options.lr,
            betas=(options.betas[0], options.betas[1]),
            eps=options.eps,
            weight_decay=options.weight_decay,
        )
        total = int(self.trainer.estimated_stepping_batches) if options.decay == "cosine" else None

        def factor(updates: int) -> float:
            return warmup_factor(updates, warmup=options.warmup_steps, total=total, variant=options.schedule)

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}
