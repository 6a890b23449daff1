"""Optimisers and schedules as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from viseme.lip2speech.models import VCAGAN

__all__ = ["OptimConfig", "multitask_optimizer", "schedule", "vca_optimizers"]


@dataclass
class OptimConfig:
    """Attributes:
    lr, weight_decay, amsgrad: of Adam (the GAN) or AdamW (multi-task); betas are the library's.
    milestones: epochs at which the learning rate falls to a tenth.
    warmup_steps: steps over which it rises linearly from nothing (published: 0).
    """

    lr: float = 1e-4
    weight_decay: float = 1e-5
    amsgrad: bool = False
    milestones: list[int] = field(default_factory=list)
    warmup_steps: int = 0


def vca_optimizers(
    model: VCAGAN, lr: float = 1e-4, weight_decay: float = 1e-5, *, amsgrad: bool = False
) -> tuple[Optimizer, Optimizer]:
    """Adam for what speaks (visual front, generator, postnet), and Adam for what judges (all discriminators)."""
    speaking, judging = (
        torch.optim.Adam(_weights(parts), lr=lr, weight_decay=weight_decay, amsgrad=amsgrad, fused=True)
        for parts in (model.speaking(), model.judging())
    )
    return speaking, judging


def multitask_optimizer(
    modules: Sequence[nn.Module], lr: float = 1e-4, weight_decay: float = 1e-5, *, amsgrad: bool = True
) -> Optimizer:
    """AdamW over all of them."""
    return torch.optim.AdamW(_weights(modules), lr=lr, weight_decay=weight_decay, amsgrad=amsgrad, fused=True)


def schedule(optimizer: Optimizer, config: OptimConfig) -> LRScheduler:
    """The learning rate by epochs; stepped once an epoch."""
    return MultiStepLR(optimizer, milestones=list(config.milestones), gamma=0.1)


def _weights(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    return [weight for module in modules for weight in module.parameters()]
