"""A configuration in, a model directory out: what `lip2speech train` runs."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from viseme.core.checkpoint import load_model_dir, read_object
from viseme.core.cli.config import typed
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.training import build_trainer, fit, seed_everything
from viseme.core.training.report import TrainReport
from viseme.lip2speech.data import Clips, DataConfig, ItemMaker, loader, make_tokenizer, read_clips
from viseme.lip2speech.models import (
    VCAGAN,
    ContentConfig,
    ContentRecogniser,
    ModelConfig,
    MultitaskConfig,
    MultitaskModel,
    SpectrumConfig,
    VCAConfig,
    VocoderConfig,
    build_model,
    build_recogniser,
)
from viseme.lip2speech.objective import MultitaskObjective, VCAObjective
from viseme.lip2speech.optim import OptimConfig
from viseme.lip2speech.pipeline import Lip2Speech
from viseme.lip2speech.published import convert_content_recogniser, convert_multitask, convert_vca, load_visual_front
from viseme.lip2speech.spectrum import SpectrumTask
from viseme.lip2speech.storage import save_recogniser
from viseme.lip2speech.task import ContentTask, MultitaskTask, VCATask
from viseme.lip2speech.vocoder import VocoderObjective, VocoderTask, vocoder_loader

__all__ = ["train"]

SYSTEMS: dict[str, Any] = {
    "vca": VCAConfig,
    "multitask": MultitaskConfig,
    "content": ContentConfig,
    "vocoder": VocoderConfig,
    "spectrum": SpectrumConfig,
}


def train(cfg: DictConfig) -> TrainReport:
    """Train one network as a configuration (`conf/`) says, and write its model directory.

    Resumes where the run stopped (`ckpt_path: auto`). Over several processes, every one calls this.

    Raises:
        ConfigError, DataError, CheckpointError: what does not fit, before any training.
    """
    data, optim = typed(DataConfig, cfg.data), typed(OptimConfig, cfg.optim)
    if cfg.system not in SYSTEMS:
        raise ConfigError("unknown system", expected=" | ".join(SYSTEMS), got=cfg.system)
    seed_everything(cfg.trainer.seed)
    if cfg.system in ("vocoder", "spectrum"):
        return _train_vocoder(cfg, data, optim)
    reads_text = cfg.system != "vca"
    clips = read_clips(data, "train", texts=reads_text)
    validation = read_clips(data, "val", texts=reads_text) if data.val_split else None
    tokenizer = make_tokenizer(data, clips.manifest) if reads_text else None
    model_config = _geometry(cfg, tokenizer.size if tokenizer else None)
    model = build_model(model_config)
    _initialise(model, cfg)
    run = Path(cfg.checkpoint_dir)
    trainer = build_trainer(cfg.trainer, run, partial_backward=isinstance(model, VCAGAN))
    task: Any
    if isinstance(model, VCAGAN):
        if data.window_size < 20:
            raise ConfigError("the critics need windows of at least 20 frames", got=f"window_size={data.window_size}")
        task = VCATask(model, typed(VCAObjective, _only(VCAObjective, cfg.objective)), optim)
    elif isinstance(model, MultitaskModel):
        objective = typed(MultitaskObjective, _only(MultitaskObjective, cfg.objective))
        recogniser = read_recogniser(cfg.asr_checkpoint) if cfg.asr_checkpoint else None
        if objective.output_content_loss and recogniser is None:
            raise ConfigError("content supervision needs a recogniser", expected="asr_checkpoint=DIR")
        task = MultitaskTask(model, objective, optim, recogniser, tokenizer.decode if tokenizer else None)
    else:
        task = ContentTask(model, optim, tokenizer.decode if tokenizer else None)
    encode = tokenizer.encode if tokenizer else None
    ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
    items: ModelConfig = (
        MultitaskConfig(mel=model_config.mel) if isinstance(model_config, ContentConfig) else model_config
    )
    fit(
        trainer,
        task,
        loader(items, data, clips, encode, training=True, **ranks),
        loader(items, data, validation, encode, training=False, **ranks) if validation else None,
        resume=cfg.ckpt_path,
    )
    directory = run / "model"
    if trainer.is_global_zero:
        card = _card(cfg, trainer, clips, model)
        if isinstance(model, ContentRecogniser):
            assert isinstance(model_config, ContentConfig)
            save_recogniser(model, model_config, tokenizer, directory, card=card)
        else:
            prompt = _prompt(items, data, clips) if isinstance(model, MultitaskModel) else None
            Lip2Speech(
                model, data.input, tokenizer=tokenizer, prompt=prompt, device="cpu", domain=cfg.card.domain
            ).save(directory, card=card)
    trainer.strategy.barrier("model directory")
    parameters = sum(weight.numel() for weight in model.parameters())
    return TrainReport(directory, run, trainer.current_epoch, trainer.global_step, len(clips.manifest), parameters)


def _train_vocoder(cfg: DictConfig, data: DataConfig, optim: OptimConfig) -> TrainReport:
    config = _geometry(cfg, None)
    objective = typed(VocoderObjective, _only(VocoderObjective, cfg.objective))
    run = Path(cfg.checkpoint_dir)
    trainer = build_trainer(cfg.trainer, run, partial_backward=isinstance(config, VocoderConfig))
    task: VocoderTask | SpectrumTask
    network: torch.nn.Module
    if isinstance(config, VocoderConfig):
        task = VocoderTask(config, objective, lr=optim.lr, decay=optim.weight_decay)
        network = task.generator
    else:
        assert isinstance(config, SpectrumConfig)
        task = SpectrumTask(config, lr=optim.lr, decay=optim.weight_decay)
        network = task.network
    clips = read_clips(data, "train")
    common: dict[str, Any] = {
        "columns": objective.segment_columns,
        "batch_size": data.batch_size,
        "workers": data.workers,
        "cache_bytes": int(data.cache_gb * 2**30),
        "seed": data.seed,
        "rank": trainer.global_rank,
        "world_size": trainer.world_size,
    }
    validation = None
    if data.val_split:
        validation = vocoder_loader(config, read_clips(data, "val").manifest, training=False, **common)
    train_loader = vocoder_loader(config, clips.manifest, training=True, **common)
    fit(trainer, task, train_loader, validation, resume=cfg.ckpt_path)
    directory = run / "model"
    if trainer.is_global_zero:
        task.finished().save(directory, card=_card(cfg, trainer, clips, network))
    trainer.strategy.barrier("model directory")
    parameters = sum(weight.numel() for weight in network.parameters())
    return TrainReport(directory, run, trainer.current_epoch, trainer.global_step, len(clips.manifest), parameters)


def _only(kind: Any, group: DictConfig) -> dict[str, Any]:
    """The keys of a group that a dataclass has (the group holds those of both systems)."""
    assert is_dataclass(kind)
    names = {field.name for field in fields(kind)}
    return {str(key): value for key, value in group.items() if key in names and value is not None}


def _geometry(cfg: DictConfig, vocabulary: int | None) -> ModelConfig:
    group: Any = OmegaConf.to_container(cfg.model)
    preset = group.pop("preset")
    changes = {name: value for name, value in group.items() if value is not None}
    if vocabulary is not None:
        changes["vocabulary"] = vocabulary
    made: ModelConfig = SYSTEMS[cfg.system].preset(preset, **changes)
    return made


def _initialise(model: Any, cfg: DictConfig) -> None:
    """Weights to start from, where the configuration names any."""
    if cfg.checkpoint:
        path = Path(cfg.checkpoint)
        if path.is_dir():
            state = load_model_dir(path).state
            state.pop("prompt", None)  # the voice that it was saved with is no weight
        elif isinstance(model, ContentRecogniser):
            state = convert_content_recogniser(read_object(path)["asr_model_state_dict"]).state_dict()
        else:
            convert: Any = convert_vca if isinstance(model, VCAGAN) else convert_multitask
            state = convert(read_object(path)).model().state_dict()
        expected = model.state_dict()
        if odd := sorted(key for key in expected.keys() | state.keys() if _differs(expected, state, key)):
            raise CheckpointError(
                f"{len(odd)} weights do not fit the model to be trained", path=path, got=", ".join(odd[:5])
            )
        model.load_state_dict(state)
    if cfg.visual_front_checkpoint:
        if isinstance(model, ContentRecogniser):
            raise ConfigError("visual_front_checkpoint is for what sees lips", got=cfg.system)
        path = Path(cfg.visual_front_checkpoint)
        load_visual_front(model, load_model_dir(path).state if path.is_dir() else read_object(path))


def _differs(expected: dict, state: dict, key: str) -> bool:
    return key not in expected or key not in state or expected[key].shape != state[key].shape


def read_recogniser(path: str | Path) -> ContentRecogniser:
    """A recogniser for content supervision: a model directory of ours, or a published checkpoint.

    Raises:
        CheckpointError: neither.
    """
    if Path(path).is_dir():
        folder = load_model_dir(path)
        if folder.config.get("model", {}).get("system") != "content":
            raise CheckpointError("not a recogniser for content supervision", path=path)
        model = build_recogniser(ContentConfig.from_dict(folder.config["model"]))
        model.load_state_dict(folder.state)
        return model
    found = read_object(path)
    if not isinstance(found, dict) or "asr_model_state_dict" not in found:
        raise CheckpointError("not a recogniser for content supervision", path=path, expected="asr_model_state_dict")
    return convert_content_recogniser(found["asr_model_state_dict"])


def _prompt(model: ModelConfig, data: DataConfig, clips: Clips) -> torch.Tensor:
    """The voice of a model that is not told another: the beginning of the first training clip that can be read."""
    batches = loader(model, data, Clips(clips.manifest[:4], clips.centres), lambda text: [], training=False)
    dataset: Any = batches.dataset
    assert isinstance(dataset.transform, ItemMaker)
    return dataset[0].value.prompt


def _card(cfg: DictConfig, trainer: Trainer, clips: Clips, model: torch.nn.Module) -> str:
    rows = clips.manifest.rows
    corpora = ", ".join(sorted({row.dataset for row in rows if row.dataset})) or "an unnamed corpus"
    figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    lines = [
        f"# {Path(cfg.checkpoint_dir).name}",
        "",
        cfg.card.description or "A model trained with viseme-lip2speech.",
        "",
        f"- system: {cfg.system}, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters",
        f"- trained on: {len(rows)} clips of {corpora} (manifest sha256 {clips.manifest.sha256()[:16]})",
        f"- epochs: {trainer.current_epoch}, steps: {trainer.global_step}",
        *(f"- {name}: {value:.4f}" for name, value in sorted(figures.items())),
    ]
    if cfg.card.domain:
        lines += ["", f"**{cfg.card.domain}**"]
    return "\n".join(lines) + "\n"
