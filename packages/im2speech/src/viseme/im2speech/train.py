"""A configuration in, a model directory out, for each part of the chain: units, vocoder, captioner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from viseme.core.checkpoint import average_states, last_epochs, load_model_dir, read_published, save_model_dir
from viseme.core.cli import track
from viseme.core.cli.config import typed
from viseme.core.data import Manifest
from viseme.core.errors import CheckpointError, ConfigError, DataError, VisemeError
from viseme.core.layers.hifigan import UnitVocoder, UnitVocoderConfig, plain_weights
from viseme.core.media import read_audio
from viseme.core.training import build_trainer, fit, seed_everything
from viseme.core.training.report import TrainReport
from viseme.im2speech.augment import TokenAugment
from viseme.im2speech.codes import read_codes
from viseme.im2speech.data import (
    RATE,
    CaptionDataset,
    DataConfig,
    SegmentDataset,
    below,
    collate,
    fixed_batches,
    pixels_for,
    read_list,
    recordings,
    units_of,
)
from viseme.im2speech.decoding import GenerationConfig
from viseme.im2speech.hub import weights_file
from viseme.im2speech.initial import initialise
from viseme.im2speech.model import Captioner, CaptionerConfig
from viseme.im2speech.pipeline import Im2Speech, plain
from viseme.im2speech.published import convert_hubert
from viseme.im2speech.samples import SpokenSamples
from viseme.im2speech.task import CaptionTask, OptimConfig
from viseme.im2speech.units import (
    CepstralFeatures,
    FrameFeatures,
    HubertFeatures,
    UnitExtractor,
    check_part,
    fit_clusters,
)
from viseme.im2speech.vocoder import VocoderConfig, VocoderTask

__all__ = ["UnitsConfig", "check_disjoint", "load_vocoder", "train"]


@dataclass
class UnitsConfig:
    """The Hydra group `units`: k-means over frames of speech.

    Attributes:
        features: `hubert` or `cepstra`.
        hubert_path: fairseq's checkpoint, or transformers' `HubertModel`: a file, a folder, or a model of the hub.
        layer: of HuBERT.
        clusters: units.
        share, iterations, batch, starts, seed: see `fit_clusters`.
    """

    features: str = "hubert"
    hubert_path: str | None = None
    layer: int = 6
    clusters: int = 200
    share: float = 0.1
    iterations: int = 150
    batch: int = 10_000
    starts: int = 20
    seed: int = 1369


def train(cfg: DictConfig) -> TrainReport:
    """Train the part that a configuration (`conf/`) names, and write its model directory.

    Resumes where the run stopped (`ckpt_path: auto`). Over several processes, every one calls this.

    Raises:
        ConfigError, DataError, CheckpointError: what does not fit, before any training.
    """
    parts = {"captioner": train_captioner, "vocoder": train_vocoder, "units": train_units}
    if cfg.part not in parts:
        raise ConfigError("no such part of the chain", expected=" | ".join(parts), got=cfg.part)
    return parts[cfg.part](cfg)


# -------------------------------------------------------------------------------------------------------- captioner


def train_captioner(cfg: DictConfig) -> TrainReport:
    """Train a captioner; with `vocoder_path`, its model directory has a voice."""
    data, optim = typed(DataConfig, cfg.data), typed(OptimConfig, cfg.optim)
    config = _geometry(cfg.model)
    run = Path(cfg.exp_dir) / cfg.exp_name
    vocoder = load_vocoder(cfg.vocoder_path) if cfg.vocoder_path else None
    seed_everything(cfg.trainer.seed)
    captions = read_list(data, "train")
    validation = read_list(data, "val") if data.val_file else None
    if validation is not None:
        check_disjoint(captions, validation, "validation")
    model = Captioner(config)
    initialise(model, cfg)
    prepare = pixels_for(config.image, config.image_size)

    codes = None
    if data.codes_file:
        if config.image != "codes":
            raise ConfigError("data.codes_file is for captioners of image codes", got=config.image)
        codes = read_codes(below(data.root_dir, data.codes_file), config.codes)

    def dataset(manifest: Manifest) -> CaptionDataset:
        return CaptionDataset(
            manifest,
            units_of(manifest, data),
            prepare,
            config.tokens,
            max_tokens=config.max_tokens,
            cache=data.cache_images,
            codes=codes,
        )

    items = dataset(captions)
    task = CaptionTask(model, optim, typed(TokenAugment, cfg.augment))
    trainer = build_trainer(cfg.trainer, run, callbacks=[SpokenSamples(vocoder)])
    options = {"workers": data.num_workers, "rank": trainer.global_rank, "world_size": trainer.world_size}
    fit(
        trainer,
        task,
        fixed_batches(items, collate, data.batch_size, shuffle=True, seed=cfg.trainer.seed, **options),
        fixed_batches(dataset(validation), collate, data.batch_size, shuffle=False, **options) if validation else None,
        resume=cfg.ckpt_path,
    )
    directory = run / "model"
    if trainer.is_global_zero:
        if cfg.average > 1:
            model.load_state_dict(average_states(last_epochs(run, cfg.average)))
        search = typed(GenerationConfig, cfg.search)
        whole = Im2Speech(model, vocoder, search=search, device="cpu", domain=cfg.card.domain)
        whole.save(directory, card=_card(cfg, trainer, items.manifest, model))
    trainer.strategy.barrier("model directory")
    return _report(directory, run, trainer, len(items), model)


def _geometry(cfg: DictConfig) -> CaptionerConfig:
    fields: Any = OmegaConf.to_container(cfg)
    try:
        return CaptionerConfig(**fields)
    except TypeError as error:
        raise ConfigError("model", got=str(error)) from error


def check_disjoint(first: Manifest, second: Manifest, what: str, *, allow: bool = False) -> None:
    """Refuse a list (`second`, the `what` list) that shares pictures with the training list.

    Raises:
        DataError: they overlap, and `allow` is not set.
    """
    known = {str(first.file(row).absolute()) for row in first}
    shared = [row.id for row in second if str(second.file(row).absolute()) in known]
    if shared and not allow:
        raise DataError(
            f"{len(shared)} of {len(second)} captions of the {what} list are of pictures that are trained on",
            got=", ".join(shared[:3]),
            hint="A result on them would mean nothing.",
        )


# ---------------------------------------------------------------------------------------------------------- vocoder


def train_vocoder(cfg: DictConfig) -> TrainReport:
    """Train a unit vocoder on the sound of the training list."""
    data, options = typed(DataConfig, cfg.data), typed(VocoderConfig, cfg.vocoder)
    run = Path(cfg.exp_dir) / cfg.exp_name
    seed_everything(cfg.trainer.seed)

    def segments(part: str, seed: int) -> SegmentDataset:
        manifest = read_list(data, part)
        units = units_of(manifest, data)
        return SegmentDataset(manifest, units, segment_units=options.segment_units, seed=seed)

    items = segments("train", cfg.trainer.seed)
    units = 1 + max(int(sequence.max()) for sequence, _ in items.clips)
    model = UnitVocoder(options.geometry(max(units, cfg.units.clusters)), normalised=True)
    trainer = build_trainer(cfg.trainer, run, partial_backward=True)
    ranks = {"workers": data.num_workers, "rank": trainer.global_rank, "world_size": trainer.world_size}
    batches = fixed_batches(items, items.collate, options.batch_size, shuffle=True, seed=cfg.trainer.seed, **ranks)
    validation = None
    if data.val_file:
        validation = fixed_batches(segments("val", 0), items.collate, options.batch_size, shuffle=False, **ranks)
    fit(trainer, VocoderTask(model, options), batches, validation, resume=cfg.ckpt_path)
    directory = run / "model"
    if trainer.is_global_zero:
        card = _card(cfg, trainer, read_list(data, "train"), model)
        save_vocoder(directory, model.config, plain_weights(model), card=card)
    trainer.strategy.barrier("model directory")
    return _report(directory, run, trainer, len(items), model)


def save_vocoder(
    directory: str | Path, config: UnitVocoderConfig, state: dict[str, torch.Tensor], *, card: str = ""
) -> Path:
    """Write a vocoder's model directory; weights are plain ones."""
    import dataclasses

    described = {"package": "im2speech", "part": "vocoder", "vocoder": plain(dataclasses.asdict(config))}
    return save_model_dir(directory, described, state, card=card)


def load_vocoder(directory: str | Path) -> UnitVocoder:
    """A vocoder from its model directory.

    Raises:
        CheckpointError: not one.
    """
    folder = load_model_dir(directory)
    check_part(folder, "vocoder")
    model = UnitVocoder(UnitVocoderConfig.from_dict(folder.config["vocoder"]))
    try:
        model.load_state_dict(folder.state)
    except RuntimeError as error:
        raise CheckpointError("weights of another vocoder", path=directory, got=str(error)[:300]) from error
    return model.eval()


# ------------------------------------------------------------------------------------------------------------ units


def train_units(cfg: DictConfig) -> TrainReport:
    """Cluster frames of the training list's sound."""
    data, options = typed(DataConfig, cfg.data), typed(UnitsConfig, cfg.units)
    run = Path(cfg.exp_dir) / cfg.exp_name
    features = make_features(options)
    manifest = read_list(data, "train")
    heard = recordings(manifest)
    unreadable: dict[str, str] = {}

    def frames() -> Iterable[np.ndarray]:
        for row in track(heard, "features"):
            try:
                samples = torch.from_numpy(read_audio(manifest.audio_file(row), rate=RATE).samples)
            except VisemeError as error:
                unreadable[row.id] = str(error)
                continue
            if len(samples) >= features.min_samples:
                yield features(samples).cpu().numpy()

    centres = fit_clusters(
        frames(),
        options.clusters,
        share=options.share,
        iterations=options.iterations,
        batch=options.batch,
        starts=options.starts,
        seed=options.seed,
    )
    card = f"# {cfg.exp_name}\n\n{len(centres)} units of {options.features}, from {len(heard)} recordings "
    card += f"({len(unreadable)} unreadable).\n"
    extractor = UnitExtractor(features, torch.from_numpy(centres))
    directory = extractor.save(run / "model", card=card)
    return TrainReport(directory, run, 1, 0, len(heard) - len(unreadable), centres.size)


def make_features(options: UnitsConfig) -> FrameFeatures:
    """The front-end that a configuration names.

    Raises:
        ConfigError: no such front-end, or HuBERT without weights.
        CheckpointError: weights of something else.
    """
    if options.features == "cepstra":
        return CepstralFeatures()
    if options.features != "hubert":
        raise ConfigError("no such features", expected="hubert | cepstra", got=options.features)
    if not options.hubert_path:
        raise ConfigError(
            "HuBERT needs its weights", expected="units.hubert_path", hint="units=cepstra does without any."
        )
    return load_hubert(weights_file(options.hubert_path), options.layer)


def load_hubert(path: Path, layer: int = 6) -> HubertFeatures:
    """HuBERT from fairseq's checkpoint or transformers' weights.

    Raises:
        CheckpointError: neither, or fewer layers.
    """
    from viseme.core.checkpoint import read_object

    found = read_object(path, inert=("argparse.Namespace", "fairseq.data.dictionary.Dictionary"))
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        state = convert_hubert(found["model"])
    else:
        state = {key.removeprefix("hubert."): value for key, value in read_published(path).items()}
        state = {_parametrised(key): value for key, value in state.items() if not key.startswith(_HEADS)}
    if "feature_projection.projection.weight" not in state:
        raise CheckpointError("not a HuBERT", path=path, got=", ".join(list(state)[:3]))
    size = state["feature_projection.projection.weight"].shape[0]
    kept = {}
    for key, value in state.items():
        number = key.removeprefix("encoder.layers.").partition(".")[0]
        if not key.startswith("encoder.layers.") or int(number) < layer:
            kept[key] = value
    wide = f"encoder.layers.{layer - 1}.feed_forward.intermediate_dense.weight"
    if wide not in kept:
        raise CheckpointError("HuBERT has fewer layers", path=path, expected=f"at least {layer}")
    sizes = {"hidden_size": size, "num_attention_heads": size // 64, "intermediate_size": kept[wide].shape[0]}
    features = HubertFeatures.empty(layer, **sizes)
    kept.setdefault("masked_spec_embed", torch.zeros(size))
    expected = set(features.model.state_dict())
    if odd := sorted(expected ^ set(kept)):
        raise CheckpointError(f"{len(odd)} weights are missing or unknown", path=path, got=", ".join(odd[:4]))
    features.model.load_state_dict(kept)
    return features


_HEADS = ("lm_head", "projector", "classifier")


def _parametrised(key: str) -> str:
    """Older weights of transformers spell weight normalisation as `weight_g`, `weight_v`."""
    new = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    stem, _, last = key.rpartition(".")
    return f"{stem}.{new[last]}" if last in new else key


# ----------------------------------------------------------------------------------------------------------- shared


def _report(directory: Path, run: Path, trainer: Trainer, clips: int, model: torch.nn.Module) -> TrainReport:
    parameters = sum(p.numel() for p in model.parameters())
    return TrainReport(directory, run, trainer.current_epoch, trainer.global_step, clips, parameters)


def _card(cfg: DictConfig, trainer: Trainer, manifest: Manifest, model: torch.nn.Module) -> str:
    corpora = ", ".join(sorted({row.dataset for row in manifest if row.dataset})) or "an unnamed corpus"
    figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.endswith("_val")}
    lines = [
        f"# {cfg.exp_name}",
        "",
        cfg.card.description or f"A {cfg.part} trained with viseme-im2speech.",
        "",
        f"- parameters: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M",
        f"- trained on: {len(manifest)} captions of {corpora} (manifest sha256 {manifest.sha256()[:16]})",
        f"- epochs: {trainer.current_epoch}, optimiser steps: {trainer.global_step}",
        *(f"- {name}: {value:.4f}" for name, value in sorted(figures.items())),
    ]
    if any(row.extra.get("synthetic") for row in manifest):
        lines.append("- SYNTHETIC: trained on rendered pictures and synthetic voices")
    if cfg.card.domain:
        lines += ["", f"**{cfg.card.domain}**"]
    return "\n".join(lines) + "\n"
