"""Learning rate and teacher momentum by step, as pure functions."""

from __future__ import annotations

import math

from viseme.core.errors import ConfigError

__all__ = ["learning_rate", "teacher_momentum"]


def learning_rate(step: float, *, base: float, min_lr: float, warmup_steps: float, total_steps: float) -> float:
    """Linear rise from 0 to `base`, then a cosine down to `min_lr`; past the end it stays there.

    Published training asked for the rate one step late (0, 0, base / W, ...); ours asks for `step + 1`.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ConfigError(
            "the warm-up must be shorter than the run", expected=f"below {total_steps:g} steps", got=warmup_steps
        )
    if step < warmup_steps:
        return base * step / warmup_steps
    share = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
    return min_lr + (base - min_lr) * 0.5 * (1 + math.cos(math.pi * share))


def teacher_momentum(
    step: float, *, base: float, total_steps: float, warmup_steps: float = 0.0, cosine: bool = True
) -> float:
    """Momentum of the moving average at batch `step` of `total_steps`: `base` rising to 1 along a cosine.

    Args:
        step: BATCHES done, not optimiser steps.
        base: where it starts (published: 0.999).
        warmup_steps: falls from 1 to `base` linearly first.
        cosine: rise to 1; otherwise `base` throughout.
    """
    if step < warmup_steps:
        return 1.0 - (1.0 - base) * step / warmup_steps
    if not cosine:
        return base
    share = (step - warmup_steps) / (total_steps - warmup_steps)
    return 1.0 - (1.0 - base) * 0.5 * (1 + math.cos(math.pi * share))
