"""What watches a run, and how the trainer is put together."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, ValidationError
from torch import Tensor, nn
from torch.utils.data import DataLoader

from viseme.core.errors import ConfigError, DataError
from viseme.core.training import (
    History,
    NonFiniteGuard,
    NotLearning,
    PlainProgress,
    Throughput,
    TrainerConfig,
    build_trainer,
    fit,
)


class Scripted(LightningModule):
    """A module whose losses are given."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.losses = losses

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.weight.sum() * 0 + self.losses[batch_idx]
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss_val", torch.tensor(0.25))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def run(folder: Path, losses: list[float], *callbacks: Callback, **options: Any) -> None:
    cfg = TrainerConfig(max_epochs=1, accelerator="cpu", **{"progress": False, "log_every_n_steps": 2, **options})
    data = DataLoader(torch.zeros(len(losses), 3), batch_size=1)
    fit(build_trainer(cfg, folder, callbacks=callbacks), Scripted(losses), data, DataLoader(torch.zeros(2, 1)))


def test_a_run_that_does_not_learn_is_stopped(tmp_path: Path) -> None:
    alarm = NotLearning(after_steps=20, window=5)
    with pytest.raises(DataError, match=r"after 20 steps the model does not learn: loss is 9\.9.*began at 10"):
        run(tmp_path, [10.0] * 15 + [9.9] * 15, alarm)


def test_a_run_that_learns_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, [10.0] * 10 + [8.0] * 20, NotLearning(after_steps=20, window=5))
    run(tmp_path / "later", [10.0 - n / 3 for n in range(21)] + [50.0] * 9, NotLearning(after_steps=20, window=5))


def test_the_alarm_may_only_warn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, [10.0] * 30, NotLearning(after_steps=20, window=5, stop=False))
    assert "does not learn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limits", "wrong"), [({"at_most": 2.0}, True), ({"at_most": 4.0}, False), ({"at_least": 4.0}, True)]
)
def test_absolute_thresholds(limits: dict, wrong: bool) -> None:
    alarm = NotLearning(window=3, **limits)
    alarm.load_state_dict({"first": [9.0] * 3, "recent": [3.0] * 3, "looked": False})
    assert (alarm.judge() is not None) == wrong


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match="not finite at step 4"):
        run(tmp_path, [1.0, 1.0, 1.0, value, 1.0])
    assert not (tmp_path / "last.ckpt").exists()


def test_history(tmp_path: Path) -> None:
    run(tmp_path, [5.0, 4.0, 3.0, 2.0])
    lines = History.read(tmp_path / "history.jsonl")
    assert [(line["stage"], line["step"]) for line in lines] == [("train", 2), ("train", 4), ("validation", 4)]
    assert [line["loss"] for line in lines[:2]] == [4.0, 2.0]
    assert lines[0]["lr"] == 0.1
    assert lines[2]["loss_val"] == 0.25
    with (tmp_path / "history.jsonl").open("a") as stream:
        stream.write('{"stage": "tra')  # a crash while writing
    assert History.read(tmp_path / "history.jsonl") == lines


def test_plain_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, [5.0, 4.0], PlainProgress(every_s=0))
    text = capsys.readouterr().err
    assert "batch 2/2, loss 4" in text
    assert "loss_val 0.25" in text
    assert "\x1b" not in text


def test_throughput(tmp_path: Path) -> None:
    run(tmp_path, [1.0] * 8, Throughput(lambda batch: 100, every_steps=4))
    rates = [json.loads(line).get("frames_per_s") for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert rates[-1] is not None
    assert rates[-1] > 0


def test_callbacks_follow_the_options(tmp_path: Path) -> None:
    def kinds(**options: Any) -> set[str]:
        return {type(callback).__name__ for callback in build_trainer(TrainerConfig(**options), tmp_path).callbacks}

    assert {"NotLearning", "NonFiniteGuard", "History", "StepSeed", "PlainProgress", "ModelCheckpoint"} <= kinds()
    assert "NotLearning" not in kinds(alarm=False)
    assert not {"PlainProgress", RichProgressBar.__name__} & kinds(progress=False)
    assert "EMAWeightAveraging" in kinds(ema_decay=0.99)
    assert "StepCheckpoint" in kinds(checkpoint_every_steps=5)
    own = NotLearning("accuracy", at_least=0.1)
    callbacks = build_trainer(TrainerConfig(), tmp_path, callbacks=[own, NonFiniteGuard()]).callbacks
    assert [callback for callback in callbacks if isinstance(callback, NotLearning)] == [own]


def test_one_device_has_no_ddp(tmp_path: Path) -> None:
    one = build_trainer(TrainerConfig(accelerator="cpu"), tmp_path)
    two = build_trainer(TrainerConfig(accelerator="cpu", devices=2), tmp_path)
    assert not isinstance(one.strategy, DDPStrategy)
    assert isinstance(two.strategy, DDPStrategy)


def test_sharing_a_model_out_is_asked_for(tmp_path: Path) -> None:
    several = TrainerConfig(accelerator="cpu", devices=2, strategy="fsdp")
    assert isinstance(build_trainer(several, tmp_path).strategy, ModelParallelStrategy)
    alone = build_trainer(TrainerConfig(accelerator="cpu", strategy="fsdp"), tmp_path)
    assert not isinstance(alone.strategy, ModelParallelStrategy)
    with pytest.raises(ConfigError, match="trained in turn"):
        build_trainer(several, tmp_path, partial_backward=True)
    with pytest.raises(ConfigError, match="cannot be shared out"):
        fit(build_trainer(several, tmp_path), Scripted([1.0]), DataLoader(torch.zeros(1, 3)))


def test_batch_statistics_over_processes_are_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("viseme.core.training.trainer.Trainer", lambda **options: asked.append(options))
    build_trainer(TrainerConfig(accelerator="cpu", devices=2), tmp_path)
    build_trainer(TrainerConfig(devices=1), tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    build_trainer(TrainerConfig(accelerator="gpu", devices=2), tmp_path)
    assert [options["sync_batchnorm"] for options in asked] == [False, False, True]


def test_options_are_checked(tmp_path: Path) -> None:
    for options in (
        {"strategy": "dp"},
        {"ema_decay": 0.9, "strategy": "fsdp"},
        {"precision": "8"},
        {"accumulate_grad_batches": 0},
        {"devices": 0},
        {"devices": -2},
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            build_trainer(TrainerConfig(**options), tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="GPUs"):
            build_trainer(TrainerConfig(accelerator="gpu", devices=1), tmp_path)
    with pytest.raises(ConfigKeyError):
        build_trainer(OmegaConf.create({"max_epoch": 3}), tmp_path)
    with pytest.raises(ValidationError):
        build_trainer(OmegaConf.create({"max_epochs": "many"}), tmp_path)


def test_more_machines_than_one_need_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several = TrainerConfig(accelerator="cpu", num_nodes=4)
    with pytest.raises(ConfigError, match="num_nodes") as caught:
        build_trainer(several, tmp_path)
    assert "trainer.num_nodes=1" in str(caught.value)
    monkeypatch.setenv("NODE_RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert build_trainer(several, tmp_path).num_nodes == 4


def test_the_room_itself_does_not_import_lightning() -> None:
    import subprocess
    import sys

    code = "import sys, viseme.core.training as t; t.TrainerConfig(); sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
