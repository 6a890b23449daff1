"""What a user may say about a training run: the Hydra group `trainer`, typed, the same in every package."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrainerConfig"]


@dataclass
class TrainerConfig:
    """Options of a training run. `conf/trainer/*.yaml` of a package builds on it with `defaults: [base]`.

    Attributes:
        max_epochs: passes over the training set.
        max_steps: optimiser steps after which to stop, -1 for no limit.
        max_minutes: time after which to stop, at the end of the step, null for no limit; a run that is resumed has used
            what it took before.
        devices: how many devices of a machine to use, -1 for all.
        num_nodes: machines (SLURM and torchrun set the rest themselves).
        strategy: `ddp`, where every process holds the whole model, or `fsdp`, where weights, gradients and optimiser
            states are shared out over the processes.
        accelerator: `auto`, `cpu`, `gpu` or `mps`.
        precision: `32`, `bf16-mixed` or `16-mixed`.
        accumulate_grad_batches: batches summed into one optimiser step.
        gradient_clip_val: largest norm of the gradient; null or 0 for no clipping.
        sync_batchnorm: batch statistics over all devices (where there are several; PyTorch has it for GPUs only).
        deterministic: refuse operations that differ from run to run.
        seed: seeds Python, NumPy, torch and the data workers.
        ema_decay: keep an exponential moving average of the weights with this decay per step; 0 for none.
        checkpoint_every_steps: also refresh `last.ckpt` every so many steps; 0 for only at the end of an epoch.
        save_top_k: how many of the last epochs' checkpoints to keep, -1 for all.
        check_val_every_n_epoch: validate every so many epochs.
        limit_val_batches: share (float) of the validation batches to run; 1.0 for all.
        num_sanity_val_steps: validation batches tried before training.
        log_every_n_steps: how often scalars are written.
        progress: show progress (a bar on a terminal, a line now and then elsewhere).
        alarm: stop a run that plainly does not learn, saying so (`NotLearning`).
        profiler: `simple`, `advanced` or `pytorch`; null for none.
        wandb: project at Weights & Biases to report to as well; null for none.
        wandb_group: group of runs there.
    """

    max_epochs: int = 75
    max_steps: int = -1
    max_minutes: float | None = None
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "ddp"
    accelerator: str = "auto"
    precision: str = "32"
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = 10.0
    sync_batchnorm: bool = True
    deterministic: bool = False
    seed: int = 42
    ema_decay: float = 0.0
    checkpoint_every_steps: int = 0
    save_top_k: int = 10
    check_val_every_n_epoch: int = 1
    limit_val_batches: float = 1.0
    num_sanity_val_steps: int = 0
    log_every_n_steps: int = 10
    progress: bool = True
    alarm: bool = True
    profiler: str | None = None
    wandb: str | None = None
    wandb_group: str | None = None
