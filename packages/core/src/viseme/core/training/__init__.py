"""Training: the Lightning trainer assembled from a typed config, learning-rate schedules, resuming so exactly that
nobody can tell, the alarm for a run that does not learn, and what a run writes down about itself."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .config import TrainerConfig

if TYPE_CHECKING:
    from .callbacks import History, NonFiniteGuard, NotLearning, PlainProgress, Throughput
    from .resume import StepCheckpoint, StepSeed, find_resume, seed_everything
    from .schedules import SCHEDULE_VARIANTS, warmup_cosine, warmup_cosine_scheduler
    from .sharding import shard, whole_state
    from .trainer import build_trainer, fit

__all__ = [
    "SCHEDULE_VARIANTS",
    "History",
    "NonFiniteGuard",
    "NotLearning",
    "PlainProgress",
    "StepCheckpoint",
    "StepSeed",
    "Throughput",
    "TrainerConfig",
    "build_trainer",
    "find_resume",
    "fit",
    "seed_everything",
    "shard",
    "warmup_cosine",
    "warmup_cosine_scheduler",
    "whole_state",
]

# Lightning takes seconds to import, and composing a configuration needs only TrainerConfig: the rest comes when asked.
_HOME = {
    "callbacks": ("History", "NonFiniteGuard", "NotLearning", "PlainProgress", "Throughput"),
    "resume": ("StepCheckpoint", "StepSeed", "find_resume", "seed_everything"),
    "schedules": ("SCHEDULE_VARIANTS", "warmup_cosine", "warmup_cosine_scheduler"),
    "sharding": ("shard", "whole_state"),
    "trainer": ("build_trainer", "fit"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
