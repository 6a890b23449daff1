"""The Lightning trainer, assembled from `TrainerConfig`: what every package's `train` runs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig, OmegaConf

from viseme.core.errors import CheckpointError, ConfigError, DependencyError
from viseme.core.files import only_run

from .allocator import kept_memory
from .callbacks import History, NonFiniteGuard, NotLearning, PlainProgress
from .config import TrainerConfig
from .resume import LoaderPlace, SafeCheckpointIO, StepCheckpoint, StepSeed, TimeLimit, find_resume

__all__ = ["build_trainer", "fit"]

STRATEGIES = ("ddp", "fsdp")
PRECISIONS = ("32", "32-true", "bf16-mixed", "16-mixed")


def build_trainer(
    cfg: TrainerConfig | DictConfig,
    run_dir: str | Path,
    *,
    callbacks: Sequence[Callback] = (),
    partial_backward: bool = False,
) -> Trainer:
    """A trainer that writes everything of a run into one directory.

    In `run_dir` (published: `exp_dir/exp_name`): `epoch=N.ckpt` of the last epochs, `last.ckpt`, `history.jsonl`, and
    TensorBoard's files.

    Args:
        cfg: the options.
        run_dir: where the run lives.
        callbacks: the package's own. A `NotLearning` among them replaces the standard one.
        partial_backward: some backward passes reach only some of the parameters (a discriminator's, say); processes
            that train together must expect that.

    Raises:
        ConfigError: options that make no sense here.
    """
    options = _typed(cfg)
    directory = Path(run_dir)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and notes say nothing about the run
    several = options.num_nodes > 1 or options.devices not in (0, 1)
    on_cpu = options.accelerator == "cpu" or (options.accelerator == "auto" and not torch.cuda.is_available())
    return Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=_strategy(options, partial_backward) if several else "auto",
        sync_batchnorm=options.sync_batchnorm and several and not on_cpu,
        use_distributed_sampler=False,  # our batch samplers split the batches over the ranks themselves
        precision=options.precision,  # type: ignore[arg-type]
        max_epochs=options.max_epochs,
        max_steps=options.max_steps,
        accumulate_grad_batches=options.accumulate_grad_batches,
        gradient_clip_val=options.gradient_clip_val or None,
        deterministic=options.deterministic or None,
        check_val_every_n_epoch=options.check_val_every_n_epoch,
        limit_val_batches=options.limit_val_batches,
        num_sanity_val_steps=options.num_sanity_val_steps,
        log_every_n_steps=options.log_every_n_steps,
        logger=_loggers(options, directory),
        plugins=[SafeCheckpointIO()],
        callbacks=_callbacks(options, directory, callbacks),
        enable_progress_bar=options.progress and sys.stderr.isatty(),
        enable_model_summary=False,
        profiler=options.profiler,
        default_root_dir=directory,
    )


def fit(
    trainer: Trainer,
    module: LightningModule,
    train: Iterable | None = None,
    val: Iterable | None = None,
    *,
    data: LightningDataModule | None = None,
    resume: str | Path | None = "auto",
) -> Path | None:
    """Train, from the start or exactly from where the run stopped. Only one run at a time trains into a directory.

    Args:
        trainer: from `build_trainer`.
        module: what to train.
        train: training batches, best a `viseme.core.data.ClipLoader` (others restart their epoch when resumed).
        val: validation batches, if any.
        data: instead of the loaders.
        resume: `auto` (the run's `last.ckpt` where there is one), `never`, or a checkpoint.

    Returns:
        The checkpoint the run was taken up from, or None.

    Raises:
        ConfigError: another run is training into this directory.
        CheckpointError: the checkpoint does not fit, or holds more than weights and counters (it is never unpickled).
        DataError: the run does not learn, or the loss is not finite.
    """
    if isinstance(trainer.strategy, ModelParallelStrategy) and not is_overridden("configure_model", module):
        raise ConfigError("trainer.strategy", expected="ddp: this model cannot be shared out", got="fsdp")
    directory = Path(trainer.default_root_dir)
    # The first process holds the lock for all of its run, which it may start itself.
    alone = only_run(directory / ".lock", "training") if trainer.is_global_zero else nullcontext()
    with alone:
        return _fit(trainer, module, train, val, data, find_resume(resume, directory))


def _fit(
    trainer: Trainer,
    module: LightningModule,
    train: Iterable | None,
    val: Iterable | None,
    data: LightningDataModule | None,
    path: Path | None,
) -> Path | None:
    loaders = {"datamodule": data} if data is not None else {"train_dataloaders": train, "val_dataloaders": val}
    # Second moments of tiny gradients are denormal, and those cost CPUs a hundredfold. Only while training: the
    # setting is the whole process's, and other code may count on denormal numbers.
    torch.set_flush_denormal(True)
    try:
        with kept_memory():
            trainer.fit(module, ckpt_path=path, weights_only=True, **loaders)
    except RuntimeError as error:
        if path is not None and "Error(s) in loading state_dict" in str(error):
            raise CheckpointError(f"cannot be resumed: {' '.join(str(error).split())[:300]}", path=path) from error
        raise
    finally:
        torch.set_flush_denormal(False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    return path


def _strategy(options: TrainerConfig, partial_backward: bool) -> str | Strategy:
    """How several processes train one model."""
    if options.strategy == "fsdp":
        if partial_backward:
            raise ConfigError(
                "trainer.strategy", expected="ddp, for a model whose parts are trained in turn", got="fsdp"
            )
        devices = options.devices if options.devices > 0 else max(1, torch.cuda.device_count())
        # One file for the whole model, which resumes under either strategy.
        return ModelParallelStrategy(
            data_parallel_size=devices * options.num_nodes, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    return "ddp_find_unused_parameters_true" if partial_backward else "ddp"


def _loggers(options: TrainerConfig, directory: Path) -> list[Logger]:
    """TensorBoard's, and Weights & Biases' where it is asked for."""
    made: list[Logger] = [TensorBoardLogger(save_dir=directory, name="", version="tensorboard")]
    if options.wandb:
        try:
            import wandb  # noqa: F401
        except ImportError as error:
            raise DependencyError("trainer.wandb needs wandb", hint="pip install 'viseme-core[wandb]'") from error
        from lightning.pytorch.loggers import WandbLogger

        made.append(
            WandbLogger(project=options.wandb, group=options.wandb_group, name=directory.name, save_dir=directory)
        )
    return made


def _callbacks(options: TrainerConfig, directory: Path, own: Sequence[Callback]) -> list[Callback]:
    made: list[Callback] = [
        StepSeed(options.seed),
        LoaderPlace(),
        NonFiniteGuard(),
        LearningRateMonitor(logging_interval="step"),
        History(directory / "history.jsonl", options.log_every_n_steps),
    ]
    if options.alarm and not any(isinstance(callback, NotLearning) for callback in own):
        made.append(NotLearning())
    if options.ema_decay:
        made.append(EMAWeightAveraging(decay=options.ema_decay))
    if options.max_minutes:
        made.append(TimeLimit(timedelta(minutes=options.max_minutes), verbose=False))
    if options.progress:
        made.append(RichProgressBar() if sys.stderr.isatty() else PlainProgress())
    if options.checkpoint_every_steps:
        made.append(StepCheckpoint(directory, options.checkpoint_every_steps))
    made.append(
        ModelCheckpoint(
            dirpath=directory,
            filename="{epoch}",
            monitor="step",  # the last ones, whatever their figures: averaging wants those
            mode="max",
            save_top_k=options.save_top_k,
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    )
    return [*made, *own]


def _typed(cfg: TrainerConfig | DictConfig) -> TrainerConfig:
    options: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TrainerConfig), cfg))
    assert isinstance(options, TrainerConfig)
    if options.precision not in PRECISIONS:
        raise ConfigError("trainer.precision", expected=" or ".join(PRECISIONS), got=options.precision)
    if options.strategy not in STRATEGIES:
        raise ConfigError("trainer.strategy", expected=" or ".join(STRATEGIES), got=options.strategy)
    if options.strategy == "fsdp" and options.ema_decay:
        raise ConfigError("trainer.ema_decay", expected="0 with trainer.strategy=fsdp", got=options.ema_decay)
    if options.accumulate_grad_batches < 1:
        raise ConfigError("trainer.accumulate_grad_batches", expected="at least 1", got=options.accumulate_grad_batches)
    if options.devices == 0 or options.devices < -1:
        raise ConfigError("trainer.devices", expected="a positive number, or -1 for all", got=options.devices)
    available = torch.cuda.device_count()
    if options.accelerator in ("gpu", "cuda") and options.devices > max(available, 0):
        raise ConfigError("trainer.devices", expected=f"at most {available} GPUs on this machine", got=options.devices)
    if options.num_nodes > 1 and not _under_a_launcher():
        raise ConfigError(
            "trainer.num_nodes",
            expected="1, or a launcher on every machine (srun, torchrun, mpirun, or NODE_RANK and MASTER_ADDR)",
            got=options.num_nodes,
            hint="on one machine: trainer.num_nodes=1 trainer.devices=1 (more accumulate_grad_batches keep the batch)",
        )
    return options


def _under_a_launcher() -> bool:
    """Whether somebody starts this on the other machines too: else the first process waits for them for ever."""
    from lightning.fabric.plugins.environments.lsf import LSFEnvironment
    from lightning.fabric.plugins.environments.mpi import MPIEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    kinds = (SLURMEnvironment, TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
    return {"NODE_RANK", "MASTER_ADDR"} <= os.environ.keys() or any(kind.detect() for kind in kinds)
