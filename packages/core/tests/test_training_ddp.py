"""Two processes train as one, and resume as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from viseme.core.testing.processes import torchrun

SCRIPT = """
import os, sys
from pathlib import Path
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.utils.data import default_collate
from viseme.core.data.batching import BatchSampler
from viseme.core.data.loader import ClipLoader
from viseme.core.training import TrainerConfig, build_trainer, fit, seed_everything

class Items(torch.utils.data.Dataset):
    def __len__(self): return 24
    def __getitem__(self, key):
        generator = torch.Generator().manual_seed(key[0] * 100 + key[1])
        return torch.randn(4, generator=generator), torch.tensor(key[0] % 3.0)

class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.seen = []
    def training_step(self, batch, batch_idx):
        self.seen.append(torch.rand(1).item())  # what this rank's generator gives
        return ((self.model(batch[0])[:, 0] - batch[1]) ** 2).mean()
    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2)

class Kill(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == int(sys.argv[2]): os._exit(9)

seed_everything(1)
folder, kill = Path(sys.argv[1]), int(sys.argv[2])
cfg = TrainerConfig(accelerator="cpu", devices=2, max_epochs=3, progress=False, alarm=False, checkpoint_every_steps=1)
trainer = build_trainer(cfg, folder, callbacks=[Kill()] if kill >= 0 else [])
module, rank = Module(), int(os.environ["RANK"])
sampler = BatchSampler([1] * 24, 3, seed=5, rank=rank, world_size=2)
fit(trainer, module, ClipLoader(Items(), sampler, default_collate))
torch.save({"weights": module.state_dict(), "seen": module.seen}, folder / f"rank{rank}.pt")
"""


def train(folder: Path, kill: int = -1) -> int:
    folder.mkdir(exist_ok=True)
    run = torchrun(SCRIPT, folder, folder, kill)
    assert kill >= 0 or run.returncode == 0, run.stderr
    return run.returncode


@pytest.mark.heavy
def test_two_processes_resume_as_if_never_stopped(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    ranks = [torch.load(tmp_path / "whole" / f"rank{rank}.pt") for rank in (0, 1)]
    assert all(torch.equal(ranks[0]["weights"][name], ranks[1]["weights"][name]) for name in ranks[0]["weights"])
    assert len(ranks[0]["seen"]) == 3 * 4  # each rank takes half of the 8 batches of an epoch
    assert not set(ranks[0]["seen"]) & set(ranks[1]["seen"])
    assert train(tmp_path / "broken", kill=6) != 0
    assert not (tmp_path / "broken" / "rank0.pt").exists()
    train(tmp_path / "broken")
    resumed = torch.load(tmp_path / "broken" / "rank0.pt")
    assert len(resumed["seen"]) < 12
    assert all(torch.equal(ranks[0]["weights"][name], resumed["weights"][name]) for name in resumed["weights"])
