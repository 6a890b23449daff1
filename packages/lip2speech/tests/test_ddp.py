"""Two processes train the GAN as one: backward passes that reach only some of the networks, all in step on both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from viseme.core.testing.processes import torchrun

SCRIPT = """
import os, sys
import torch
from viseme.core.cli.config import compose
from viseme.lip2speech.task import VCATask
from viseme.lip2speech.train import train

def keep(task):
    torch.save(task.model.state_dict(), f"{sys.argv[1]}/rank{os.environ['RANK']}.pt")

VCATask.on_fit_end = keep
train(compose("viseme.lip2speech", sys.argv[2:]))
"""


@pytest.mark.heavy
def test_gan_over_two_processes(store: Path, tmp_path: Path) -> None:
    overrides = ["recipe=vca_demo", "model=vca_tiny", "model.dropout=0", f"data.data={store}", "data.size=32"]
    overrides += ["data.val_split=null", "data.batch_size=2", "data.window_size=20", "trainer.devices=2"]
    overrides += ["objective.adversarial_after=1", "trainer.max_steps=6", "trainer.progress=false"]
    done = torchrun(SCRIPT, tmp_path, tmp_path, *overrides, f"checkpoint_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr[-9000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    learnt = [key for key in ranks[0] if key.endswith((".weight", ".bias"))]
    parts = {"visual_front", "generator", "postnet", "discriminators", "sync_discriminator"}
    assert parts == {key.partition(".")[0] for key in learnt}
    for key in learnt:
        assert torch.equal(ranks[0][key], ranks[1][key]), key
    # Each process saw clips of its own.
    assert any(not torch.equal(ranks[0][key], ranks[1][key]) for key in ranks[0] if key.endswith("running_mean"))
