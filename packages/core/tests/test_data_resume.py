"""A trainer that is cut off in the middle of an epoch goes on with the very next batch."""

from __future__ import annotations

from pathlib import Path

import lightning
import pytest
import torch
from torch.utils.data import Dataset

from viseme.core.data import BatchSampler, ClipLoader

LENGTHS = [5 + i % 7 for i in range(40)]


class Keys(Dataset):
    """Items that are their own keys, so that a batch tells which clips of which epoch it holds."""

    def __len__(self) -> int:
        return len(LENGTHS)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return key


class Recorder(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, int, tuple]] = []

    def training_step(self, batch: list[tuple[int, int]], index: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, index, tuple(batch)))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class SaveAt(lightning.Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def loader() -> ClipLoader:
    return ClipLoader(Keys(), BatchSampler(LENGTHS, 30, seed=1), list)


def trainer(*callbacks: lightning.Callback) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize("into_epoch", [1, 4, -1, 0])
@pytest.mark.parametrize("epoch", [0, 1])
def test_resumed_run_sees_what_was_left(tmp_path: Path, epoch: int, into_epoch: int) -> None:
    batches = len(loader())
    step = epoch * batches + (into_epoch % batches or batches)  # 0: at the end of the epoch
    straight, resumed = Recorder(), Recorder()
    trainer(SaveAt(step, tmp_path / "cut.ckpt")).fit(straight, loader())
    trainer().fit(resumed, loader(), ckpt_path=tmp_path / "cut.ckpt")
    assert len(straight.seen) == 2 * batches
    assert resumed.seen == straight.seen[step:]
