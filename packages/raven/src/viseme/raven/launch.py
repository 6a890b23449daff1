"""From a recipe to a cluster: job scripts for SLURM, and what a step will cost before anybody pays for it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from viseme.core.cli.config import compose, config_options, typed
from viseme.core.errors import ConfigError
from viseme.core.files import write_text_atomic
from viseme.core.layers.frontends import SAMPLES_PER_FRAME
from viseme.raven.data import DataConfig
from viseme.raven.models.encoder import Encoder
from viseme.raven.models.pretraining import Pretrainer
from viseme.raven.models.recogniser import Recogniser
from viseme.raven.train import pretrain_config, recogniser_config

__all__ = ["PEAK_TFLOPS", "Cost", "estimate", "launch", "script"]

PACKAGE = "viseme.raven"

PEAK_TFLOPS = {
    "v100": {"32": 15.7, "16-mixed": 125.0},
    "a100": {"32": 19.5, "tf32": 156.0, "16-mixed": 312.0, "bf16-mixed": 312.0},
    "h100": {"32": 67.0, "tf32": 494.0, "16-mixed": 989.0, "bf16-mixed": 989.0},
    "h200": {"32": 67.0, "tf32": 494.0, "16-mixed": 989.0, "bf16-mixed": 989.0},
}
"""Dense peaks that NVIDIA states, TFLOP/s."""

SAMPLE_FRAMES = 100
"""Length of the clip whose arithmetic is counted: 4 s, about LRS3's mean."""

ENVIRONMENT = {"NCCL_NSOCKS_PERTHREAD": "4", "NCCL_SOCKET_NTHREADS": "2", "HYDRA_FULL_ERROR": "1"}


@dataclass(frozen=True)
class Cost:
    """What training asks for, per device.

    Attributes:
        parameters: that have a gradient, and `frozen` ones (teachers).
        flops_per_frame: of a training step, forward and backward.
        state_gb: weights, gradients, optimiser; with `trainer.strategy=fsdp` this device's share of them.
        activations_gb: kept for the backward pass, for a full batch.
        frames_per_step: over all devices.
        hours_per_epoch: None where the data's size or the device is not known.
        basis: where the throughput comes from.
    """

    parameters: int
    frozen: int
    flops_per_frame: float
    state_gb: float
    activations_gb: float
    frames_per_step: int
    hours_per_epoch: float | None
    basis: str

    def __str__(self) -> str:
        lines = [
            f"parameters          {self.parameters / 1e6:.1f} M trained, {self.frozen / 1e6:.1f} M in teachers",
            f"arithmetic          {self.flops_per_frame / 1e9:.2f} GFLOP a frame, "
            f"{self.flops_per_frame * self.frames_per_step / 1e12:.0f} TFLOP a step of {self.frames_per_step} frames",
            f"memory a device     {self.state_gb:.1f} GB state + {self.activations_gb:.1f} GB activations, full batch",
        ]
        if self.hours_per_epoch is not None:
            lines.append(f"an epoch            {self.hours_per_epoch:.2f} h ({self.basis})")
        else:
            lines.append(f"an epoch            not known: {self.basis}")
        return "\n".join(lines)


def launch(cfg: DictConfig) -> str:
    """What `raven launch` does: prints the cost, and writes the job script unless `launch.dry_run`.

    Raises:
        ConfigError: a GPU or precision that nothing is known of.
    """
    cost = estimate(cfg)
    if cfg.launch.dry_run:
        return str(cost)
    path = Path(cfg.launch.out) / f"{cfg.exp_name}.sbatch"
    write_text_atomic(path, script(cfg))
    return f"{cost}\n{path}: written; start it with: sbatch {path}"


# ---------------------------------------------------------------------------------------------------------- script


def script(cfg: DictConfig) -> str:
    """An sbatch file: one task a GPU, `srun` of the verb that the recipe is for."""
    options = cfg.launch
    devices, nodes = cfg.trainer.devices, cfg.trainer.num_nodes
    if devices < 1:
        raise ConfigError("a job script needs a number of GPUs", expected="trainer.devices above 0", got=devices)
    verb = {"pretrain": "pretrain", "finetune": "train"}[cfg.stage]
    head = {
        "job-name": cfg.exp_name,
        "nodes": nodes,
        "ntasks-per-node": devices,
        "gres": f"gpu:{devices}",
        "cpus-per-task": options.cpus_per_task,
        "time": options.time,
        "output": f"{cfg.exp_name}-%j.out",
        "partition": options.partition,
        "account": options.account,
    }
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH --{name}={value}" for name, value in head.items() if value is not None]
    lines += ["#SBATCH --signal=SIGUSR1@120", "#SBATCH --requeue", "set -euo pipefail"]
    lines += [f"export {name}={shlex.quote(str(value))}" for name, value in {**ENVIRONMENT, **options.env}.items()]
    command = ["srun", "raven", verb, *overrides(cfg)]
    lines.append(shlex.join(command))
    return "\n".join(lines) + "\n"


def overrides(cfg: DictConfig) -> list[str]:
    """The command line that composes `cfg` again: its recipe, and every key that the recipe has otherwise.

    Raises:
        ConfigError: the recipe is not known: `exp_name` was changed and `launch.recipe` not given.
    """
    recipe = cfg.launch.recipe or cfg.exp_name
    if recipe not in config_options(PACKAGE)["recipe"]:
        raise ConfigError("which recipe is this?", got=recipe, hint="Say it again: launch.recipe=NAME.")
    plain = _leaves(compose(PACKAGE, [f"recipe={recipe}"], missing_ok=True))
    changed = {key: value for key, value in _leaves(cfg).items() if plain.get(key, MISSING) != value}
    changed = {key: value for key, value in changed.items() if not key.startswith("launch.")}
    always = {"data.root_dir": cfg.data.root_dir, "exp_dir": cfg.exp_dir}
    found = {**always, **changed}
    return [f"recipe={recipe}", *(f"{key}={_spelt(value)}" for key, value in sorted(found.items()))]


MISSING = object()


def _leaves(cfg: DictConfig) -> dict[str, Any]:
    """Values by dotted key; lists whole."""
    found: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict) and node and path != "launch.env":
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else str(key))
        else:
            found[path] = node

    walk(OmegaConf.to_container(cfg, resolve=False), "")
    return found


def _spelt(value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_spelt(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_spelt(item)}" for key, item in value.items()) + "}"
    return str(value)


# ------------------------------------------------------------------------------------------------------------ cost


def estimate(cfg: DictConfig) -> Cost:
    """Count a step's arithmetic and memory without running it (on the meta device)."""
    data: DataConfig = typed(DataConfig, cfg.data)
    with torch.device("meta"):
        if cfg.stage == "pretrain":
            pair = Pretrainer(pretrain_config(cfg, 0))
            encoders: list[Encoder] = [pair.model_video.backbone.encoder, pair.model_audio.backbone.encoder]
            model: nn.Module = pair
        else:
            recogniser = Recogniser(recogniser_config(cfg, data, _Size(cfg.launch.vocabulary)))  # type: ignore[arg-type]
            encoders, model = [recogniser.encoder], recogniser
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters()) - trained
    forward = sum(_forward_flops(encoder, data.crop_size) for encoder in encoders)
    # Backward costs twice the forward pass; a teacher's forward pass comes on top.
    flops = forward * (4 if cfg.stage == "pretrain" else 3) / SAMPLE_FRAMES
    saved = sum(_saved_bytes(encoder, data.crop_size) for encoder in encoders) / SAMPLE_FRAMES
    low = cfg.trainer.precision != "32"
    devices = max(1, cfg.trainer.devices) * cfg.trainer.num_nodes
    frames = data.frames_per_gpu * cfg.trainer.accumulate_grad_batches * devices
    holders = devices if cfg.trainer.strategy == "fsdp" else 1
    hours, basis = _hours(cfg, flops, devices)
    return Cost(
        trained,
        frozen,
        flops,
        (trained * 16 + frozen * 4) / holders / 1e9,
        saved * data.frames_per_gpu * (0.5 if low else 1.0) / 1e9,
        frames,
        hours,
        basis,
    )


class _Size:
    """Stands in for units of a size."""

    def __init__(self, size: int) -> None:
        self.size = size


def _clip(encoder: Encoder, crop: int) -> Tensor:
    if encoder.config.modality == "video":
        return torch.empty(1, SAMPLE_FRAMES, 1, crop, crop, device="meta")
    return torch.empty(1, SAMPLE_FRAMES * SAMPLES_PER_FRAME, 1, device="meta")


def _forward_flops(encoder: Encoder, crop: int) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.eval()(_clip(encoder, crop))
    return float(counter.get_total_flops())


def _saved_bytes(encoder: Encoder, crop: int) -> float:
    """Bytes that autograd keeps for one clip, each tensor once, parameters left out."""
    seen: dict[Any, int] = {}
    own = {id(p) for p in encoder.parameters()}

    def pack(x: Tensor) -> Tensor:
        if id(x) not in own and (x._base is None or id(x._base) not in own):
            base = x if x._base is None else x._base
            seen[id(base)] = base.numel() * base.element_size()
            alive.append(base)
        return x

    alive: list[Tensor] = []  # an id is unique among the living only
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        encoder.train()(_clip(encoder, crop))
    return float(sum(seen.values()))


def _hours(cfg: DictConfig, flops_per_frame: float, devices: int) -> tuple[float | None, str]:
    options = cfg.launch
    if not options.data_hours:
        return None, "set launch.data_hours"
    frames = options.data_hours * 3600 * 25
    if options.frames_per_s:
        return frames / options.frames_per_s / 3600, f"measured {options.frames_per_s:g} frames/s over all devices"
    if options.gpu not in PEAK_TFLOPS:
        raise ConfigError("no such GPU", expected=" | ".join(PEAK_TFLOPS), got=options.gpu)
    peaks = PEAK_TFLOPS[options.gpu]
    if cfg.trainer.precision not in peaks:
        raise ConfigError(f"precision on {options.gpu}", expected=" | ".join(peaks), got=cfg.trainer.precision)
    peak = peaks[cfg.trainer.precision]
    per_s = devices * peak * 1e12 * options.utilisation / flops_per_frame
    basis = f"{devices} x {options.gpu} at {options.utilisation:.0%} of {peak:g} TFLOP/s: assumed, not measured"
    return frames / per_s / 3600, basis
