"""A configuration in, a model directory out: what `avsr train` and the demo run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from viseme.avsr.data import (
    DataConfig,
    read_list,
    training_loader,
    validation_loader,
)
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.pipeline import AVSR, Search
from viseme.avsr.published import convert, transfer_encoder, transfer_frontend
from viseme.avsr.stages import budgeted, stages
from viseme.avsr.task import AVSRTask, ModalityDropout, OptimConfig, start_at_unit_scale
from viseme.core.checkpoint import average_states, last_epochs, load_model_dir, read_published
from viseme.core.cli.config import typed
from viseme.core.data import Manifest
from viseme.core.data.lists import check_disjoint
from viseme.core.errors import CheckpointError, DataError
from viseme.core.text import TOKENIZER_FILE, Tokenizer, load_tokenizer, units_of
from viseme.core.training import build_trainer, fit, seed_everything, whole_state
from viseme.core.training.card import training_card
from viseme.core.training.report import TrainReport

__all__ = ["train"]

UNITS_DIR = "units"


def train(cfg: DictConfig) -> TrainReport:
    """Train one recogniser as a configuration (`conf/`) says, in one stage or two, and write its model directory.

    Resumes where the run stopped (`ckpt_path: auto`). Over several processes, every one calls this.

    Raises:
        ConfigError, DataError, CheckpointError: what does not fit, before any training.
    """
    run = Path(cfg.exp_dir) / cfg.exp_name
    if cfg.curriculum.max_clip_frames is not None:
        _lists(typed(DataConfig, cfg.data), run, allow_overlap=cfg.allow_overlap)  # units of the whole training text
    reports = [_train_stage(budgeted(stage)) for stage in stages(cfg, run / UNITS_DIR)]
    return reports[-1]


def _train_stage(cfg: DictConfig) -> TrainReport:
    data: DataConfig = typed(DataConfig, cfg.data)
    optim: OptimConfig = typed(OptimConfig, cfg.optim)
    run = Path(cfg.exp_dir) / cfg.exp_name
    seed_everything(cfg.trainer.seed)

    tokenizer, clips, validation = _lists(data, run, allow_overlap=cfg.allow_overlap)
    model = AVSRModel(_geometry(cfg, data, tokenizer))
    if optim.unit_start:
        start_at_unit_scale(model)
    _initialise(model, cfg)
    model.set_speed(**cfg.speed)
    trainer = build_trainer(cfg.trainer, run)
    ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
    loader = training_loader(data, clips, tokenizer, seed=cfg.trainer.seed, **ranks)
    dropout = ModalityDropout(**data.modality_dropout)
    fit(
        trainer,
        AVSRTask(model, tokenizer, optim, dropout, batches_per_epoch=len(loader)),
        loader,
        validation_loader(data, validation, tokenizer, **ranks) if validation else None,
        resume=cfg.ckpt_path,
    )
    directory = run / "model"
    state = whole_state(model)
    if trainer.is_global_zero:
        if cfg.trainer.strategy == "fsdp":  # the trained one holds this process's share only
            model = AVSRModel(model.config)
            model.load_state_dict(state)
        if cfg.average > 1:
            model.load_state_dict(average_states(last_epochs(run, cfg.average)))
        recogniser = AVSR(
            model, tokenizer, data.inputs, search=typed(Search, cfg.search), device="cpu", domain=cfg.card.domain
        )
        recogniser.save(directory, card=_card(cfg, trainer, clips, model))
    trainer.strategy.barrier("model directory")
    return TrainReport(
        directory,
        run,
        trainer.current_epoch,
        trainer.global_step,
        len(clips),
        sum(p.numel() for p in model.parameters()),
    )


def _lists(data: DataConfig, run: Path, *, allow_overlap: bool) -> tuple[Tokenizer, Manifest, Manifest | None]:
    """Units, training clips and validation clips; the units that were made once are those of the run."""
    tokenizer: Tokenizer | None = None
    if (run / UNITS_DIR / TOKENIZER_FILE).is_file():
        tokenizer = load_tokenizer(run / UNITS_DIR)
    elif data.units_model or data.units_file or data.units not in ("words", "chars", "sentencepiece"):
        tokenizer = units_of(data, None)
    clips = read_list(data, data.train_file, split=data.train_split, tokenizer=tokenizer)
    if silent := sum(not row.text.strip() for row in clips):
        raise DataError(f"{silent} of {len(clips)} clips to train on have no text", path=data.train_file)
    if tokenizer is None:
        tokenizer = units_of(data, [row.text for row in clips])
    if data.max_clip_frames is not None:
        clips = _short(clips, data.max_clip_frames)
    if not (run / UNITS_DIR / TOKENIZER_FILE).is_file():
        tokenizer.save(run / UNITS_DIR)
    validation = None
    if data.val_file:
        validation = read_list(data, data.val_file, split=data.val_split, tokenizer=tokenizer)
        check_disjoint(clips, validation, "validation", allow=allow_overlap)
        if data.test_file:
            test = read_list(data, data.test_file, split=data.test_split, tokenizer=tokenizer)
            check_disjoint(validation, test, "test", allow=allow_overlap, used="validated")
    return tokenizer, clips, validation


def _short(clips: Manifest, frames: int) -> Manifest:
    """The clips up to a length (published: `limit_length`)."""
    short = Manifest([row for row, length in zip(clips, clips.lengths(), strict=True) if length <= frames], clips.root)
    if not len(short):
        raise DataError("no clip to train on is short enough", expected=f"at most {frames} frames")
    return short


def _geometry(cfg: DictConfig, data: DataConfig, tokenizer: Tokenizer) -> AVSRConfig:
    fields: Any = OmegaConf.to_container(cfg.model)
    preset = fields.pop("preset")
    changes = {name: value for name, value in fields.items() if value is not None}
    if ModalityDropout(**data.modality_dropout).active:
        changes.setdefault("optional_modalities", True)
    modality: Any = data.modality
    return AVSRConfig.preset(preset, modality, vocabulary=tokenizer.size, **changes)


def _initialise(model: AVSRModel, cfg: DictConfig) -> None:
    """Weights to start from, where the configuration names any."""
    if cfg.pretrained_model_path:
        path = Path(cfg.pretrained_model_path)
        state = load_model_dir(path).state if path.is_dir() else convert(_weights(path)).state
        missing = set(model.state_dict()) ^ set(state)
        shapes = {key for key, value in model.state_dict().items() if key in state and value.shape != state[key].shape}
        if odd := sorted(missing | shapes):
            raise CheckpointError(
                f"{len(odd)} weights do not fit the model to be trained",
                path=path,
                got=", ".join(odd[:5]),
                hint="Same model=, data.modality and units? transfer_encoder takes the encoder alone.",
            )
        model.load_state_dict(state)
    for name in _paths(cfg.transfer_frontend):
        path = Path(name)
        is_ours = path.is_dir()
        transfer_frontend(
            model, load_model_dir(path).state if is_ours else read_published(path, unwrap="model_state_dict")
        )
    for name in _paths(cfg.transfer_encoder):
        path = Path(name)
        transfer_encoder(model, load_model_dir(path).state if path.is_dir() else _weights(path))


def _paths(value: Any) -> list[str]:
    """One path, or a list of them (a branch each), or none."""
    if not value:
        return []
    return [str(value)] if isinstance(value, str) else [str(path) for path in value]


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """A bare state dict, or the one inside a training checkpoint."""
    return read_published(path, unwrap="state_dict" if path.suffix == ".ckpt" else ())


def _card(cfg: DictConfig, trainer: Trainer, clips: Manifest, model: AVSRModel) -> str:
    return training_card(
        cfg.exp_name,
        cfg.card.description or "A recogniser trained with viseme-avsr.",
        model,
        clips,
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        figures=trainer.callback_metrics,
        facts=(
            f"reads: {model.config.modality}{' (either or both)' if model.config.optional_modalities else ''}",
            f"weights of the last {cfg.average} epochs averaged",
        ),
        domain=cfg.card.domain,
    )
