"""A run that was killed and resumed ends with the very weights of one that never stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from viseme.core.data.batching import BatchSampler
from viseme.core.data.loader import ClipLoader
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.training import History, TrainerConfig, build_trainer, find_resume, fit, seed_everything
from viseme.core.training.resume import derive_seed

CLIPS, BATCH, EPOCHS = 24, 3, 3
STEPS = EPOCHS * CLIPS // BATCH


class Items(Dataset):
    """Random items, drawn by clip and epoch as those of `viseme.core.data` are."""

    def __len__(self) -> int:
        return CLIPS

    def __getitem__(self, key: Any) -> tuple[Tensor, Tensor]:
        clip, epoch = key if isinstance(key, tuple) else (key, 0)
        noise = np.random.default_rng((clip, epoch)).standard_normal(4)
        return torch.from_numpy(noise).float(), torch.tensor(float(clip % 3))


class Module(LightningModule):
    """Everything that has a state: dropout, batch statistics, an optimiser with moments, a schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def loss(self, batch: Any) -> Tensor:
        return ((self.model(batch[0])[:, 0] - batch[1]) ** 2).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch) * float(np.random.uniform(0.9, 1.1))  # a step may draw from any generator
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        torch.rand(3)  # and so may a validation, which an interrupted run repeats or not
        self.log("loss_val", self.loss(batch))

    def configure_optimizers(self) -> Any:
        assert self.trainer.estimated_stepping_batches > 0  # sets the loaders up before a checkpoint is read
        optimizer = torch.optim.AdamW(self.parameters(), 1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class KilledError(Exception):
    """Stands for anything that ends a process."""


class Kill(Callback):
    def __init__(self, before_batch: int) -> None:
        self.left = before_batch

    def on_train_batch_start(self, *args: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError


def run(
    folder: Path, kill: int | None = None, *, stop: int = 0, workers: int = 0, resume: Any = "auto", **options: Any
) -> dict:
    seed_everything(1)
    module = Module()
    torch.rand(7 if kill is None else 3)  # the state of the generators before a run must not matter
    options = {"checkpoint_every_steps": 1, "progress": False, "alarm": False, "log_every_n_steps": 1, **options}
    cfg = TrainerConfig(max_epochs=EPOCHS, accelerator="cpu", seed=5, **options)
    trainer = build_trainer(cfg, folder, callbacks=[] if kill is None else [Kill(kill)])
    if stop:
        trainer.callbacks.append(Stop(stop))
    sampler = BatchSampler([1] * CLIPS, BATCH, seed=5)
    train = ClipLoader(Items(), sampler, default_collate, workers=workers)
    fit(trainer, module, train, DataLoader(Items(), batch_size=5, num_workers=0), resume=resume)
    return {name: value.clone() for name, value in module.state_dict().items()}


def differing(left: dict, right: dict) -> list[str]:
    return [name for name in left if not torch.equal(left[name], right[name])]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"checkpoint_every_steps": 3},
        {"checkpoint_every_steps": 0},
        {"accumulate_grad_batches": 3},
        {"ema_decay": 0.9},
        {"precision": "bf16-mixed"},
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()) or "plain",
)
def test_resumed_equals_uninterrupted(tmp_path: Path, options: dict) -> None:
    whole = run(tmp_path / "whole", **options)
    per_epoch = CLIPS // BATCH
    for kill in (1, 5, per_epoch - 1, per_epoch, per_epoch + 1, STEPS - 1):
        folder = tmp_path / str(kill)
        with pytest.raises(KilledError):
            run(folder, kill, **options)
        assert not differing(whole, run(folder, **options)), f"killed before batch {kill}"


class Stop(Callback):
    """Ends training after some batches in the manner of `max_minutes`: politely, with a checkpoint."""

    def __init__(self, after_batches: int) -> None:
        self.left = after_batches

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self.left -= 1
        trainer.should_stop = trainer.should_stop or self.left == 0


@pytest.mark.parametrize("options", [{}, {"checkpoint_every_steps": 0}], ids=["each step", "epochs alone"])
def test_stopped_in_the_middle_equals_uninterrupted(tmp_path: Path, options: dict) -> None:
    """The epoch that was stopped is taken up where it was, also the last one."""
    whole = run(tmp_path / "whole", **options)
    for after in (1, 5, CLIPS // BATCH + 1, STEPS - 1):
        run(tmp_path / str(after), stop=after, **options)
        assert not differing(whole, run(tmp_path / str(after), **options)), f"stopped after batch {after}"


def test_a_time_limit_waits_for_the_whole_step(tmp_path: Path) -> None:
    options = {"accumulate_grad_batches": 3, "checkpoint_every_steps": 0}
    whole = run(tmp_path / "whole", **options)
    run(tmp_path / "stopped", max_minutes=1e-6, **options)
    assert History.read(tmp_path / "stopped" / "history.jsonl")[-1]["step"] == 1
    assert not differing(whole, run(tmp_path / "stopped", **options))


def test_killed_again_and_again(tmp_path: Path) -> None:
    options = {"accumulate_grad_batches": 2}
    whole = run(tmp_path / "whole", **options)
    for _ in range(30):
        try:
            resumed = run(tmp_path / "broken", 5, **options)
            break
        except KilledError:
            continue
    assert not differing(whole, resumed)


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "two", 5, workers=2)
    assert not differing(whole, run(tmp_path / "two", workers=1))


def test_killed_by_the_system_at_any_moment(tmp_path: Path) -> None:
    """SIGKILL, also in the middle of writing a checkpoint: what is on the disk can always be taken up."""
    whole = run(tmp_path / "whole")
    broken = tmp_path / "broken"
    code = f"import runpy; runpy.run_path({__file__!r})['run'](__import__('pathlib').Path({str(broken)!r}))"
    for number in range(3):
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stderr=subprocess.DEVNULL)
        started = time.monotonic()
        while not (broken / "last.ckpt").exists() and time.monotonic() - started < 240 and process.poll() is None:
            time.sleep(0.002)
        time.sleep(0.02 * number)
        process.kill()
        process.wait()
    assert (broken / "last.ckpt").exists()
    assert not differing(whole, run(broken))
    for path in broken.glob("[!.]*.ckpt"):
        torch.load(path, weights_only=True)


def test_history_reads_as_one_run(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "broken", 11, checkpoint_every_steps=4)
    run(tmp_path / "broken", checkpoint_every_steps=4)
    whole, broken = (History.read(tmp_path / name / "history.jsonl") for name in ("whole", "broken"))
    for lines in (whole, broken):
        assert [line["step"] for line in lines if line["stage"] == "train"] == list(range(1, STEPS + 1))
        assert [line["elapsed_s"] for line in lines] == sorted(line["elapsed_s"] for line in lines)
        assert sum(line["stage"] == "validation" for line in lines) == EPOCHS
    losses = [[line["loss"] for line in lines if line["stage"] == "train"] for lines in (whole, broken)]
    assert losses[0] == losses[1]


def test_what_a_run_leaves(tmp_path: Path) -> None:
    run(tmp_path / "run", save_top_k=2)
    assert {path.name for path in (tmp_path / "run").glob("*.ckpt")} == {"epoch=1.ckpt", "epoch=2.ckpt", "last.ckpt"}
    torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    assert not differing(run(tmp_path), run(tmp_path))


def test_resuming_with_other_batches_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KilledError):
        run(tmp_path, 5)
    monkeypatch.setitem(globals(), "BATCH", 4)
    with pytest.raises(ConfigError, match="batching options"):
        run(tmp_path)
    assert run(tmp_path, resume="never")


def test_a_malicious_checkpoint_is_not_run(tmp_path: Path) -> None:
    import os

    class Bomb:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "pwned"),))

    torch.save({"state_dict": {}, "x": Bomb()}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        run(tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.0.weight"] = torch.ones(1, 2)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"size mismatch for model\.0\.weight"):
        run(tmp_path)


def test_find_resume(tmp_path: Path) -> None:
    assert find_resume("auto", tmp_path) is None
    (tmp_path / "last.ckpt").touch()
    assert find_resume("auto", tmp_path) == tmp_path / "last.ckpt"
    assert find_resume("never", tmp_path) is None
    assert find_resume(None, tmp_path) is None
    assert find_resume(tmp_path / "last.ckpt", tmp_path / "elsewhere") == tmp_path / "last.ckpt"
    with pytest.raises(CheckpointError, match=r"gone\.ckpt"):
        find_resume(tmp_path / "gone.ckpt", tmp_path)


def test_derived_seeds_are_unlike() -> None:
    seeds = {derive_seed(seed, rank, epoch, batch) for seed in range(4) for rank in range(4) for epoch in range(8)
             for batch in range(8)}  # fmt: skip
    assert len(seeds) == 4 * 4 * 8 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)
