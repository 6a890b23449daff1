"""Whether representations still say anything: the signs of collapse, measured each step, and the alarm.

A teacher whose output no longer depends on its input makes the loss perfect and the student worthless. On the sphere
that the cosine loss looks at, that shows as targets that all point one way.

B clips, T frames, D channels.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional

from viseme.core.errors import DataError

__all__ = ["CollapseAlarm", "spread"]


def spread(x_BTD: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How far a batch's vectors are spread out over the sphere.

    Args:
        x_BTD: features.
        mask: (B, 1, T) True on the frames that count.

    Returns:
        `std`: mean over channels of the standard deviation of the normalised vectors, times sqrt(D): 1 where they point
        everywhere, 0 where all are one. `cosine`: mean cosine to their common mean: 0 to 1, 1 where all are one.
    """
    x_ND = functional.normalize(x_BTD[mask[:, 0]].float(), dim=-1)
    mean_D = x_ND.mean(0)
    std = (x_ND - mean_D).square().mean(0).sqrt().mean() * x_ND.shape[-1] ** 0.5
    cosine = functional.cosine_similarity(x_ND, mean_D[None], dim=-1).mean()
    return std, cosine


class CollapseAlarm(Callback):
    """Stops a pre-training whose targets have collapsed.

    Args:
        after_steps: optimiser steps before it listens: fresh networks answer alike to everything.
        window: consecutive steps that must all look collapsed.
        cosine: above this mean cosine to the mean target, targets count as collapsed.
        std: or below this spread.
        stop: raise; otherwise only warn.
    """

    def __init__(
        self, after_steps: int = 500, window: int = 100, cosine: float = 0.995, std: float = 0.05, stop: bool = True
    ) -> None:
        self.after_steps, self.window, self.cosine, self.std, self.stop = after_steps, window, cosine, std, stop
        self._recent: dict[str, deque[bool]] = {}
        self._told: set[str] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step < self.after_steps:
            return
        for name in ("video", "audio"):
            cosine = trainer.callback_metrics.get(f"target_cosine_{name}")
            std = trainer.callback_metrics.get(f"target_std_{name}")
            if cosine is None or std is None or name in self._told:
                continue
            recent = self._recent.setdefault(name, deque(maxlen=self.window))
            recent.append(bool(cosine > self.cosine) or bool(std < self.std))
            if len(recent) == self.window and all(recent):
                self._told.add(name)
                self._alarm(trainer.global_step, name, float(cosine), float(std))

    def _alarm(self, step: int, name: str, cosine: float, std: float) -> None:
        text = (
            f"after {step} steps the {name} teacher has collapsed: its targets all point one way "
            f"(mean cosine {cosine:.4f}, spread {std:.4f})"
        )
        hint = (
            "Lower optim.base_lr_video, lengthen the warm-up, raise optim.base_momentum, or use target_norm=instance; "
            "batch norm before the feed-forwards (ff_norm=batch) guards against it too."
        )
        if self.stop:
            raise DataError(text, hint=hint)
        print(f"warning: {text}. {hint}", file=sys.stderr)


@torch.no_grad()
def similarity_picture(prediction_TD: Tensor, target_TD: Tensor) -> Tensor:
    """(1, T, 3T) in [0, 1]: cosines of target to target, prediction to target, prediction to prediction, by frame."""
    p, t = (functional.normalize(x.float(), dim=-1) for x in (prediction_TD, target_TD))
    return torch.cat((t @ t.T, p @ t.T, p @ p.T), dim=1).add(1).div(2).clamp(0, 1)[None]
