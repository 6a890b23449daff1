"""A configuration in, a model directory out: what `wav2lip train-sync` and `wav2lip train` run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf
from torch import nn

from viseme.core.cli.config import typed
from viseme.core.errors import CheckpointError, ConfigError, DataError
from viseme.core.training import NotLearning, build_trainer, fit, seed_everything
from viseme.wav2lip.data import CropClip, DataConfig, Sample, make_loader, read_clips, same_clips
from viseme.wav2lip.models import SyncExpert
from viseme.wav2lip.objective import CHANCE_LOSS
from viseme.wav2lip.published import build_model
from viseme.wav2lip.samples import WINDOW
from viseme.wav2lip.task import ExpertTask, GeneratorTask, OptimConfig
from viseme.wav2lip.weights import load_network, save_network

ALARM_STEPS = {"groups": 800, "pairs": 200_000}
"""Steps after which an expert must be better than chance; single pairs, as published, need a very long time."""

__all__ = ["TrainReport", "expert_directory", "generator_directory", "train_expert", "train_generator"]


@dataclass(frozen=True)
class TrainReport:
    """What a run left behind.

    Attributes:
        model: the model directory.
        run: the run's folder: checkpoints, history, logs.
        epochs, steps: done in all.
        clips: trained on; `left_out` says why others were not.
        metrics: last logged.
    """

    model: Path
    run: Path
    epochs: int
    steps: int
    clips: int
    left_out: dict[str, str]
    metrics: dict[str, float]


def expert_directory(cfg: DictConfig) -> Path:
    """Where the experiment's expert is."""
    return Path(cfg.exp_dir) / cfg.exp_name / "expert" / "model"


def generator_directory(cfg: DictConfig) -> Path:
    """Where the experiment's generator is."""
    return Path(cfg.exp_dir) / cfg.exp_name / "generator" / "model"


def train_expert(cfg: DictConfig) -> TrainReport:
    """Train a sync expert as a configuration says; resumes where the run stopped.

    Raises:
        ConfigError, DataError, CheckpointError: what does not fit, before any training; or a run that does not learn.
    """
    data: DataConfig = typed(DataConfig, cfg.data)
    optim: OptimConfig = typed(OptimConfig, cfg.optim)
    _begin(cfg.sync_trainer)
    model = _network(cfg, "expert")
    task = ExpertTask(model, optim.expert)  # type: ignore[arg-type]
    alarm = NotLearning(
        "loss",
        after_steps=ALARM_STEPS["groups" if optim.expert.group > 1 else "pairs"],
        at_most=CHANCE_LOSS - 0.01,
        advice="At ln 2 = 0.69 the expert only guesses. Are picture and sound in sync (wav2lip check)? "
        "optim.expert.group=8 teaches faster; a smaller optim.expert.lr or more clips may help.",
    )
    return _run(cfg, "expert", cfg.sync_trainer, task, data, optim.expert.batch_size, alarm, group=optim.expert.group)


def train_generator(cfg: DictConfig) -> TrainReport:
    """Train a generator, with the discriminator where its loss has a weight; resumes where the run stopped.

    Raises:
        ConfigError, DataError, CheckpointError: as `train_expert`; also where there is no expert yet.
    """
    data: DataConfig = typed(DataConfig, cfg.data)
    optim: OptimConfig = typed(OptimConfig, cfg.optim)
    _begin(cfg.trainer)
    path = Path(cfg.expert) if cfg.expert else expert_directory(cfg)
    if not path.exists():
        raise CheckpointError(
            "no such expert",
            path=path,
            hint="`wav2lip train-sync` with the same configuration makes it; or expert=DIR.",
        )
    expert = load_network(path, "expert").model
    assert isinstance(expert, SyncExpert)
    generator = _network(cfg, "generator")
    size = generator.config.image_size
    if expert.config.image_size != size:
        raise ConfigError("expert and generator have different picture sizes", got=(expert.config.image_size, size))
    if optim.adversarial_weight > 0 and cfg.trainer.precision == "16-mixed":
        # Two optimisers would share one loss scale, which each step of either would move for both.
        raise ConfigError(
            "16-bit floats do not go with the discriminator",
            expected="trainer.precision=bf16-mixed or 32, or optim.adversarial_weight=0",
            got=cfg.trainer.precision,
        )
    discriminator = _network(cfg, "discriminator") if optim.adversarial_weight > 0 else None
    if discriminator is not None and discriminator.config.image_size != size:
        raise ConfigError("discriminator and generator have different picture sizes", expected=size)
    pictures = Path(cfg.exp_dir) / cfg.exp_name / "generator" / "pictures"
    task = GeneratorTask(generator, expert, discriminator, optim, pictures)  # type: ignore[arg-type]
    alarm = NotLearning("loss_l1", after_steps=2000, share_of_start=0.8)
    return _run(
        cfg, "generator", cfg.trainer, task, data, optim.generator.batch_size, alarm, frames=optim.generator_frames
    )


def _begin(trainer: DictConfig) -> None:
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1:
        raise ConfigError("clipping and accumulation of gradients are not part of Wav2Lip's steps", got=dict(trainer))
    seed_everything(trainer.seed)


def _network(cfg: DictConfig, kind: str) -> Any:
    """A network as configured, from other weights where `init` names them."""
    options: Any = OmegaConf.to_container(cfg.model[kind])
    model = build_model(kind, options)
    if cfg.init[kind]:
        loaded = load_network(cfg.init[kind], kind).model
        if loaded.config != model.config:  # type: ignore[union-attr]
            raise ConfigError(
                f"the {kind} to start from has another geometry", path=cfg.init[kind], expected=model.config,
                got=loaded.config,
            )  # fmt: skip
        model = loaded
    return model.train()


def _lists(cfg: DictConfig, data: DataConfig, sample: Sample) -> tuple[list[CropClip], list[CropClip], dict[str, str]]:
    clips, left_out = read_clips(data, data.train_list, sample)
    validation: list[CropClip] = []
    if data.val_list:
        validation, problems = read_clips(data, data.val_list, sample)
        left_out |= problems
        if (shared := same_clips(clips, validation)) and not cfg.allow_overlap:
            raise DataError(
                f"{len(shared)} clips of {data.val_list} are also trained on", got=", ".join(shared[:3]),
                hint="Remove them, or allow_overlap=true.",
            )  # fmt: skip
    return clips, validation, left_out


def _run(
    cfg: DictConfig,
    kind: Sample,
    trainer_cfg: DictConfig,
    task: LightningModule,
    data: DataConfig,
    batch_size: int,
    alarm: NotLearning,
    *,
    group: int = 1,
    frames: int = WINDOW,
) -> TrainReport:
    run = Path(cfg.exp_dir) / cfg.exp_name / kind
    clips, validation, left_out = _lists(cfg, data, kind)
    partial = getattr(task, "discriminator", None) is not None
    callbacks = [alarm] if trainer_cfg.alarm else []
    trainer = build_trainer(trainer_cfg, run, callbacks=callbacks, partial_backward=partial)
    model: Any = task.model
    size: int = model.config.image_size
    common: dict[str, Any] = {"size": size, "seed": trainer_cfg.seed}
    common |= {"rank": trainer.global_rank, "world_size": trainer.world_size}
    loader = make_loader(data, clips, kind, batch_size=batch_size, train=True, group=group, frames=frames, **common)
    checks = make_loader(data, validation, kind, batch_size=batch_size, train=False, **common) if validation else None
    fit(trainer, task, loader, checks, resume=cfg.ckpt_path)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if math.isfinite(float(value))}
    directory = run / "model"
    if trainer.is_global_zero:
        settings = {"synthetic": bool(cfg.card.synthetic), "fps": data.fps}
        if kind == "generator":
            settings["audio_offset_frames"] = data.frame_shift  # used as it was trained
            settings["reference"] = "rest" if data.reference_distance > WINDOW else "same"
        save_network(directory, kind, model, settings=settings, card=_card(cfg, kind, trainer, clips, metrics, model))
    trainer.strategy.barrier("model directory")
    return TrainReport(directory, run, trainer.current_epoch, trainer.global_step, len(clips), left_out, metrics)


def _card(
    cfg: DictConfig, kind: str, trainer: Trainer, clips: list[CropClip], metrics: dict[str, float], model: nn.Module
) -> str:
    hours = sum(len(clip.frames) for clip in clips) / cfg.data.fps / 3600
    lines = [
        f"# {cfg.exp_name}: {kind}",
        "",
        cfg.card.description or f"A Wav2Lip {kind} trained with viseme-wav2lip.",
        "",
        f"- parameters: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M",
        f"- trained on: {len(clips)} clips, {hours:.2f} h" + (", SYNTHETIC" if cfg.card.synthetic else ""),
        f"- epochs: {trainer.current_epoch}, steps: {trainer.global_step}",
        *(f"- {name}: {value:.4f}" for name, value in sorted(metrics.items()) if name.endswith("_val")),
    ]
    return "\n".join(lines) + "\n"
