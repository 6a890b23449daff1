"""Resuming so exactly that the weights are, bit for bit, those of a run that never stopped.

Nothing random depends on what happened before it: every training step starts from generators seeded by (seed, rank,
epoch, batch), as `viseme.core.data` draws every item by (seed, epoch, clip). So a run can be taken up from any
checkpoint, after any kind of death, with any number of data workers, and there are no generator states to save, some of
which would have died with a worker. What remains to remember is the place in the epoch, which `ClipLoader` keeps and
Lightning saves.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from viseme.core.checkpoint import read_object
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.files import atomic_path

__all__ = ["LoaderPlace", "StepCheckpoint", "StepSeed", "TimeLimit", "derive_seed", "find_resume", "seed_everything"]

LAST = "last.ckpt"


def derive_seed(*parts: int) -> int:
    """A seed below 2**63 that depends on every part and is unlike that of any neighbour."""
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch in this process and those it starts (before a model draws its first weights)."""
    lightning.seed_everything(seed, workers=True, verbose=False)


def _seed_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints that appear whole or not at all, and are read without running anything in them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint: dict[str, Any] = read_object(path)
        return checkpoint


class StepSeed(Callback):
    """Seeds all generators at the start of every training step by (seed, rank, epoch, batch)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        _seed_generators(derive_seed(self.seed, trainer.global_rank, trainer.current_epoch, batch_idx))


class LoaderPlace(Callback):
    """Hands the checkpoint's place in the epoch to the loader where Lightning has not done so.

    Lightning does it while it sets up the loaders, which happens before the checkpoint is read wherever a module asks
    for `estimated_stepping_batches` in `configure_optimizers`: the epoch would silently start from its beginning.

    Nor may an epoch count as over that was only stopped in its middle (by `max_minutes`, or a signal): Lightning counts
    it, and would go on with the next epoch's batches, or not at all where that was the last one.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        loop = checkpoint["loops"]["fit_loop"]
        for place in loop["state_dict"].get("combined_loader", []):
            if place.get("position"):
                for counts in loop["epoch_progress"].values():  # in all, and of this run
                    counts["processed"] = counts["completed"] = counts["started"] - 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.fit_loop._load_combined_loader_states()  # nothing where it was done, or nothing was resumed


class StepCheckpoint(Callback):
    """Refreshes `last.ckpt` every so many optimiser steps. (The end of an epoch has a checkpoint of its own.)"""

    def __init__(self, directory: Path, every_steps: int) -> None:
        if every_steps < 1:
            raise ConfigError("checkpoint_every_steps must be positive", got=every_steps)
        self.path, self.every_steps = directory / LAST, every_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole = _between_steps(trainer, batch_idx) and not trainer.is_last_batch
        if whole and trainer.global_step % self.every_steps == 0:
            trainer.save_checkpoint(self.path)


class TimeLimit(Timer):
    """Ends training after a time, the runs before it included, once the optimiser step is whole."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if _between_steps(trainer, batch_idx):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


def _between_steps(trainer: Trainer, batch_idx: int) -> bool:
    """No gradient is accumulated: none would be lost, for no checkpoint keeps it."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


def find_resume(resume: str | Path | None, directory: Path) -> Path | None:
    """The checkpoint to go on from.

    Args:
        resume: `auto` (the run's `last.ckpt` where there is one), `never` or None, or a path.
        directory: the run's.

    Raises:
        CheckpointError: the path does not exist.
    """
    if resume is None or str(resume) in ("never", "none"):
        return None
    if str(resume) == "auto":
        last = directory / LAST
        return last if last.is_file() else None
    if not Path(resume).is_file():
        raise CheckpointError("no such checkpoint to resume from", path=str(resume))
    return Path(resume)
