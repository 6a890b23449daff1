"""A configuration in, model directories out: what `raven pretrain` and `raven train` run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from viseme.core.checkpoint import average_states, check_keys, last_epochs, load_model_dir, read_published
from viseme.core.cli.config import typed
from viseme.core.data import Manifest
from viseme.core.data.lists import check_disjoint
from viseme.core.errors import CheckpointError, ConfigError, DataError
from viseme.core.text import TOKENIZER_FILE, Tokenizer, load_tokenizer, units_of
from viseme.core.training import NotLearning, build_trainer, fit, seed_everything, whole_state
from viseme.core.training.card import training_card
from viseme.raven.collapse import CollapseAlarm
from viseme.raven.data import DataConfig, limited, read_list, training_loader, validation_loader
from viseme.raven.finetune import FinetuneOptim, FinetuneTask
from viseme.raven.models.encoder import Encoder
from viseme.raven.models.pretraining import PretrainConfig, Pretrainer
from viseme.raven.models.recogniser import Recogniser, RecogniserConfig
from viseme.raven.pipeline import RAVEn, Search
from viseme.raven.published import convert, convert_encoder, kind_of
from viseme.raven.task import Masking, PretrainOptim, PretrainTask

__all__ = ["TrainReport", "initialise_encoder", "pretrain", "train"]

UNITS_DIR = "units"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainReport:
    """What a run left behind.

    Attributes:
        models: its model directories: `video` and `audio` of a pre-training, `model` of a fine-tuning.
        run: the run's folder: checkpoints, history, logs.
        epochs, steps: done in all.
        clips: trained on.
        parameters: of the network, teachers not counted.
    """

    models: dict[str, Path]
    run: Path
    epochs: int
    steps: int
    clips: int
    parameters: int


def pretrain(cfg: DictConfig) -> TrainReport:
    """Pre-train one pair as a configuration (`conf/pretrain.yaml`) says, and write both students' encoders.

    Resumes where the run stopped (`ckpt_path: auto`). Over several processes, every one calls this.

    Raises:
        ConfigError, DataError, CheckpointError: what does not fit, before any training.
    """
    check_stage(cfg, "pretrain")
    data: DataConfig = typed(DataConfig, cfg.data)
    if data.modality != "audiovisual":
        raise ConfigError("pre-training needs both streams", expected="data.modality=audiovisual", got=data.modality)
    run = Path(cfg.exp_dir) / cfg.exp_name
    seed_everything(cfg.trainer.seed)
    tokenizer, clips, validation = _pretraining_lists(cfg, data, run)
    config = pretrain_config(cfg, 0 if tokenizer is None else tokenizer.size)
    model = Pretrainer(config)
    masking = Masking(data.mask_prob_video, data.mask_prob_audio, data.mask_length, data.mask_equal_counts)
    optim = typed(PretrainOptim, cfg.optim)
    if optim.unit_start:
        model.start_at_unit_scale()
    task = PretrainTask(model, optim, masking)
    # A cosine near 0 at the start says nothing of the start's level: what counts is that targets keep their spread.
    callbacks = [
        CollapseAlarm(**{str(name): value for name, value in cfg.collapse.items()}),
        NotLearning("loss", at_most=-0.05, stop=False, advice="Masks, learning rate, or clips without speech?"),
    ]
    trainer = build_trainer(cfg.trainer, run, callbacks=callbacks if cfg.trainer.alarm else ())
    ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
    fit(
        trainer,
        task,
        training_loader(data, clips, tokenizer, seed=cfg.trainer.seed, pretraining=True, **ranks),
        validation_loader(data, validation, tokenizer, **ranks) if validation else None,
        resume=cfg.ckpt_path,
    )
    directories = {name: run / name for name in ("video", "audio")}
    state = whole_state(model)
    if trainer.is_global_zero:
        if cfg.trainer.strategy == "fsdp":  # the trained one holds this process's share only
            model = Pretrainer(config)
            model.load_state_dict(state)
        for name, directory in directories.items():
            student = getattr(model, f"model_{name}").backbone.encoder
            card = _card(cfg, trainer, clips, student, f"A {name} encoder pre-trained without labels.")
            RAVEn(student, inputs=data.inputs, device="cpu").save(directory, card=card)
    trainer.strategy.barrier("model directories")
    return _report(directories, run, trainer, clips, model)


def _pretraining_lists(
    cfg: DictConfig, data: DataConfig, run: Path
) -> tuple[Tokenizer | None, Manifest, Manifest | None]:
    """Units (with a probe only), clips, validation clips."""
    tokenizer = _units(data, run) if cfg.probe.active else None
    clips = read_list(data, data.train_file, split=data.train_split, tokenizer=tokenizer)
    clips = limited(clips, data.train_limit, data.limit_seed)
    if cfg.probe.active and tokenizer is None:
        tokenizer = units_of(data, [row.text for row in clips if row.text.strip()])
    if tokenizer is not None:
        _keep_units(tokenizer, run)
    validation = None
    if data.val_file:
        validation = read_list(data, data.val_file, split=data.val_split, tokenizer=tokenizer)
    return tokenizer, clips, validation


def pretrain_config(cfg: DictConfig, probe_vocabulary: int) -> PretrainConfig:
    pair = {name: value for name, value in _plain(cfg.pair).items() if value is not None}
    made = PretrainConfig.preset(
        cfg.model.preset, **pair, probe_vocabulary=probe_vocabulary, probe_decoder=cfg.probe.decoder
    )
    changes = {name: value for name, value in _plain(cfg.model).items() if value is not None}
    changes = {name: value for name, value in changes.items() if name != "preset" and not name.startswith("decoder")}
    return replace(made, video=replace(made.video, **changes), audio=replace(made.audio, **changes))


def check_stage(cfg: DictConfig, stage: str) -> None:
    """Refuse a recipe that is for the other verb."""
    if cfg.stage != stage:
        verbs = {"pretrain": "raven pretrain", "finetune": "raven train"}
        raise ConfigError(
            f"this configuration is for `{verbs.get(cfg.stage, cfg.stage)}`",
            expected=f"stage={stage}",
            got=cfg.stage,
            hint="Choose a recipe of this verb: base_lrs3, small_pretrain, ... pre-train; vsr_*, asr_*, small_vsr, ... "
            "fine-tune.",
        )


def train(cfg: DictConfig) -> TrainReport:
    """Fine-tune (or train from scratch) one recogniser as a configuration (`conf/config.yaml`) says.

    Resumes where the run stopped (`ckpt_path: auto`). Over several processes, every one calls this.

    Raises:
        ConfigError, DataError, CheckpointError: what does not fit, before any training.
    """
    check_stage(cfg, "finetune")
    data: DataConfig = typed(DataConfig, cfg.data)
    if data.modality not in ("video", "audio"):
        raise ConfigError("a recogniser reads one modality", expected="data.modality=video | audio", got=data.modality)
    run = Path(cfg.exp_dir) / cfg.exp_name
    seed_everything(cfg.trainer.seed)
    tokenizer, clips, validation = _labelled_lists(data, run, allow_overlap=cfg.allow_overlap)
    model = Recogniser(recogniser_config(cfg, data, tokenizer))
    optim = typed(FinetuneOptim, cfg.optim)
    if optim.unit_start:
        model.start_at_unit_scale()
    if cfg.pretrained_model_path:
        initialise_encoder(model, cfg.pretrained_model_path, reinit_blocks=cfg.reinit_blocks)
    task = FinetuneTask(model, tokenizer, optim)
    trainer = build_trainer(cfg.trainer, run)
    ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
    fit(
        trainer,
        task,
        training_loader(data, clips, tokenizer, seed=cfg.trainer.seed, **ranks),
        validation_loader(data, validation, tokenizer, **ranks) if validation else None,
        resume=cfg.ckpt_path,
    )
    directory = run / "model"
    state = whole_state(model)
    if trainer.is_global_zero:
        if cfg.trainer.strategy == "fsdp":
            model = Recogniser(model.config)
            model.load_state_dict(state)
        if cfg.avg_ckpts > 1:
            model.load_state_dict(average_states(last_epochs(run, cfg.avg_ckpts)))
        start = "scratch" if not cfg.pretrained_model_path else "a pre-trained encoder"
        card = _card(cfg, trainer, clips, model, cfg.card.description or f"A recogniser trained from {start}.")
        search = Search(**{name: value for name, value in _plain(cfg.decode).items() if value is not None})
        RAVEn(model, tokenizer, data.inputs, search=search, device="cpu", domain=cfg.card.domain).save(
            directory, card=card
        )
    trainer.strategy.barrier("model directory")
    return _report({"model": directory}, run, trainer, clips, model)


def _labelled_lists(data: DataConfig, run: Path, *, allow_overlap: bool) -> tuple[Tokenizer, Manifest, Manifest | None]:
    """Units, training clips and validation clips; units that were made once are those of the run."""
    tokenizer = _units(data, run)
    every = read_list(data, data.train_file, split=data.train_split, tokenizer=tokenizer)
    if tokenizer is None:  # units come from the whole list, so that label budgets can be compared
        tokenizer = units_of(data, [row.text for row in every])
    _keep_units(tokenizer, run)
    clips = limited(every, data.train_limit, data.limit_seed)
    if silent := sum(not (row.text.strip() or row.extra.get("tokens")) for row in clips):
        raise DataError(f"{silent} of {len(clips)} clips to train on have no text", path=data.train_file)
    validation = None
    if data.val_file:
        validation = read_list(data, data.val_file, split=data.val_split, tokenizer=tokenizer)
        check_disjoint(clips, validation, "validation", allow=allow_overlap)
        if data.test_file:
            test = read_list(data, data.test_file, split=data.test_split, tokenizer=tokenizer)
            check_disjoint(validation, test, "test", allow=allow_overlap, used="validated")
    return tokenizer, clips, validation


def _units(data: DataConfig, run: Path) -> Tokenizer | None:
    """The run's own units, or those that are given; None where they have to be made from text."""
    if (run / UNITS_DIR / TOKENIZER_FILE).is_file():
        return load_tokenizer(run / UNITS_DIR)
    if data.units_file or data.units not in ("words", "chars", "sentencepiece"):
        return units_of(data, None)
    return None


def _keep_units(tokenizer: Tokenizer, run: Path) -> None:
    if not (run / UNITS_DIR / TOKENIZER_FILE).is_file():
        tokenizer.save(run / UNITS_DIR)


def recogniser_config(cfg: DictConfig, data: DataConfig, tokenizer: Tokenizer) -> RecogniserConfig:
    fields = _plain(cfg.model)
    preset, decoder = fields.pop("preset"), fields.pop("decoder")
    changes = {name: value for name, value in fields.items() if value is not None}
    modality: Any = data.modality
    return RecogniserConfig.preset(preset, modality, decoder, vocabulary=tokenizer.size, **changes)


def initialise_encoder(model: Recogniser, source: str | Path, *, reinit_blocks: int = 0) -> list[str]:
    """Start a recogniser's encoder from other weights, and say which of its entries did not get any.

    Args:
        model: CTC head and decoder stay as they are.
        source: a model directory, an encoder file, a recogniser's or a pre-training checkpoint.
        reinit_blocks: leave the last so many blocks and the final norm fresh (published: 0, the final norm alone);
            -1 takes everything.

    Returns:
        Names of the encoder's entries that keep their fresh values.

    Raises:
        CheckpointError: another modality or geometry.
        ConfigError: more blocks than there are.
    """
    config = model.config.encoder
    if not -1 <= reinit_blocks <= config.blocks:
        raise ConfigError("reinit_blocks", expected=f"-1 to {config.blocks}", got=reinit_blocks)
    state = encoder_weights(source, config.modality)
    check_keys(state, Encoder(config), f"an encoder for {config.modality}", path=source)
    fresh = ()
    if reinit_blocks >= 0:
        first = config.blocks - reinit_blocks
        fresh = ("after_norm.", *(f"encoders.{number}." for number in range(first, config.blocks)))
    kept = {key: value for key, value in state.items() if not key.startswith(fresh)} if fresh else state
    skipped = sorted(set(state) - set(kept))
    model.encoder.load_state_dict(kept, strict=not skipped)
    _log.info("%d encoder entries from %s, %d fresh: %s", len(kept), source, len(skipped), ", ".join(skipped))
    return skipped


def encoder_weights(source: str | Path, modality: str) -> dict[str, Tensor]:
    """A bare encoder's state out of whatever holds one."""
    path = Path(source)
    if path.is_dir():
        folder = load_model_dir(path)
        state = folder.state
        if folder.config.get("kind") == "encoder":
            return state
        return convert_encoder(state).state
    state = read_published(path, unwrap="state_dict" if path.suffix == ".ckpt" else ())
    if kind_of(state) == "pretraining":
        found = convert(state).state
        prefix = f"model_{modality}.backbone.encoder."
        return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    made = convert_encoder(state)
    if made.config.modality != modality:
        raise CheckpointError("weights of another modality", path=path, expected=modality, got=made.config.modality)
    return made.state


def _plain(cfg: Any) -> dict[str, Any]:
    made = OmegaConf.to_container(cfg)
    assert isinstance(made, dict)
    return {str(name): value for name, value in made.items()}


def _report(
    models: dict[str, Path], run: Path, trainer: Trainer, clips: Manifest, model: torch.nn.Module
) -> TrainReport:
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return TrainReport(models, run, trainer.current_epoch, trainer.global_step, len(clips), count)


def _card(cfg: DictConfig, trainer: Trainer, clips: Manifest, model: torch.nn.Module, description: str) -> str:
    return training_card(
        cfg.exp_name,
        description,
        model,
        clips,
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        figures=trainer.callback_metrics,
        domain=cfg.card.domain,
    )
