"""Learning rates of the captioner by update: linear warm-up, then cosine decay to nothing, or constant."""

from __future__ import annotations

import math

from viseme.core.errors import ConfigError

__all__ = ["VARIANTS", "warmup_factor"]

VARIANTS = ("fixed", "published")


def warmup_factor(updates: int, *, warmup: int, total: int | None, variant: str = "fixed") -> float:
    """Share of the base rate that the next update uses.

    Args:
        updates: done before.
        warmup: of the linear rise.
        total: of the run, for the cosine; None stays constant after the rise.
        variant: `published` counts the updates done, so that the first one has rate 0; `fixed` counts from 1.

    Raises:
        ConfigError: no such variant, or a warm-up that is not shorter than the run.
    """
    if variant not in VARIANTS:
        raise ConfigError("no such schedule variant", expected=" | ".join(VARIANTS), got=variant)
    if warmup < 0 or (total is not None and warmup >= total):
        raise ConfigError("the warm-up must be shorter than the run", expected=f"below {total}", got=warmup)
    step = updates if variant == "published" else updates + 1
    if step <= warmup:
        return step / warmup if warmup else 1.0
    if total is None:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (min(step, total) - warmup) / (total - warmup)))
