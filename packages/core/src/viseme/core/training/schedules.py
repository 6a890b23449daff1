"""Learning rates by step: linear warm-up and cosine decay, as pure functions of the step and as a torch scheduler.

With W = warm-up steps, N = all steps, and s computed from the optimiser step k (from 0):
lr * s / W while s < W, else lr * (1 + cos(pi (s - W) / (N - W))) / 2.

| variant   | s             | past N               | where                                                            |
|-----------|---------------|----------------------|-----------------------------------------------------------------|
| `fixed`   | min(k + 1, N) | stays at 0           | the default for new training                                     |
| `current` | k + 1         | the cosine rises     | Auto-AVSR since 2025                                             |
| `v1`      | max(k - 1, 0) | the cosine rises     | Auto-AVSR until 2024: its first two steps have learning rate 0   |
"""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from viseme.core.errors import ConfigError

__all__ = ["SCHEDULE_VARIANTS", "warmup_cosine", "warmup_cosine_scheduler"]

SCHEDULE_VARIANTS = ("fixed", "current", "v1")


def warmup_cosine(
    step: int,
    *,
    lr: float,
    warmup_epochs: float,
    total_epochs: float,
    steps_per_epoch: float,
    variant: str = "fixed",
) -> float:
    """The learning rate that optimiser step `step` (from 0) uses.

    Args:
        step: optimiser steps done before.
        lr: the peak.
        warmup_epochs: length of the linear rise.
        total_epochs: length of the whole run, warm-up included.
        steps_per_epoch: optimiser steps an epoch (`current` divides by devices and may be fractional).
        variant: `fixed`, `current` or `v1`; see the module's table.

    Raises:
        ConfigError: no such variant, or a warm-up that is not shorter than the run.
    """
    if variant not in SCHEDULE_VARIANTS:
        raise ConfigError("no such schedule variant", expected=" | ".join(SCHEDULE_VARIANTS), got=variant)
    warmup, total = warmup_epochs * steps_per_epoch, total_epochs * steps_per_epoch
    if not 0 <= warmup < total:
        raise ConfigError(
            "the warm-up must be shorter than the run",
            expected=f"0 <= warmup_epochs < {total_epochs}",
            got=warmup_epochs,
        )
    s = {"fixed": min(step + 1, total), "current": step + 1, "v1": max(step - 1, 0)}[variant]
    if s < warmup:
        return lr * s / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * (s - warmup) / (total - warmup)))


def warmup_cosine_scheduler(
    optimizer: Optimizer,
    *,
    warmup_epochs: float,
    total_epochs: float,
    steps_per_epoch: float,
    variant: str = "fixed",
) -> LambdaLR:
    """`warmup_cosine` as a scheduler to step after each optimiser step; the peak is each group's own `lr`."""

    def factor(step: int) -> float:
        return warmup_cosine(
            step,
            lr=1.0,
            warmup_epochs=warmup_epochs,
            total_epochs=total_epochs,
            steps_per_epoch=steps_per_epoch,
            variant=variant,
        )

    return LambdaLR(optimizer, factor)
