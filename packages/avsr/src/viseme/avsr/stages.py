"""How a run is laid out: stages of a curriculum, and how many batches make one step of the optimiser."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from viseme.core.errors import ConfigError

__all__ = ["STAGE_1", "budgeted", "stages"]

STAGE_1 = "stage1"
_log = logging.getLogger(__name__)


def stages(cfg: DictConfig, units: Path) -> Iterator[DictConfig]:
    """The configurations of a run's stages, in order: two with a curriculum (paper, section 3.2), else one.

    The published curriculum trains on clips of at most 100 frames at a fifth of the learning rate, and then from those
    weights on everything: video from scratch does not learn long sentences otherwise.

    Args:
        cfg: the run's.
        units: where the run keeps its units: those of the whole training text, in both stages.
    """
    if cfg.curriculum.max_clip_frames is None:
        yield cfg
        return
    run = Path(cfg.exp_dir) / cfg.exp_name
    first: DictConfig = cfg.copy()
    first.exp_dir, first.exp_name = str(run), STAGE_1
    first.data.max_clip_frames = cfg.curriculum.max_clip_frames
    first.data.units, first.data.units_model, first.data.units_file = str(units), None, None
    first.optim.lr, first.trainer.max_epochs = cfg.curriculum.lr, cfg.curriculum.max_epochs
    if cfg.ckpt_path not in ("auto", "never"):
        first.ckpt_path = "auto"
    if not (run / STAGE_1 / "model" / "checksums.json").is_file():
        yield first
    second: DictConfig = cfg.copy()
    second.pretrained_model_path, second.transfer_frontend, second.transfer_encoder = (
        str(run / STAGE_1 / "model"),
        None,
        None,
    )
    yield second


def budgeted(cfg: DictConfig) -> DictConfig:
    """The configuration with batches accumulated until they hold `optim.frame_budget` frames.

    The published recipes sum 32 GPUs' batches in one step; so does one GPU that accumulates 32. What rounding leaves
    over or short changes the learning rate by the square root, which is how the noise of Adam's steps scales with the
    batch (Malladi et al. 2022).

    Raises:
        ConfigError: a budget that is no positive number.
    """
    budget = cfg.optim.frame_budget
    if budget is None:
        return cfg
    if budget <= 0:
        raise ConfigError("optim.frame_budget", expected="a number of frames above 0, or null", got=budget)
    frames = cfg.data.max_frames * processes(cfg)
    accumulate = max(1, round(budget / frames))
    cfg = cfg.copy()
    cfg.trainer.accumulate_grad_batches = accumulate
    factor = math.sqrt(accumulate * frames / budget)
    if not math.isclose(factor, 1.0, rel_tol=0.02):
        cfg.optim.lr = cfg.optim.lr * factor
        _log.warning("a step has %d frames of %d: learning rate %.3g", accumulate * frames, budget, cfg.optim.lr)
    OmegaConf.resolve(cfg)
    return cfg


def processes(cfg: DictConfig) -> int:
    """Processes that a configuration trains with."""
    devices = cfg.trainer.devices
    if devices == -1:
        devices = torch.cuda.device_count() if cfg.trainer.accelerator != "cpu" else 1
    return max(1, devices) * cfg.trainer.num_nodes
