"""Two processes train as one: all three networks stay the same on both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from viseme.core.testing.processes import torchrun

SCRIPT = """
import os, sys
import torch
from viseme.core.cli.config import compose
from viseme.wav2lip import train
from viseme.wav2lip.task import GeneratorTask

def keep(task):
    torch.save(task.state_dict(), f"{sys.argv[1]}/rank{os.environ['RANK']}.pt")

GeneratorTask.on_fit_end = keep
train.train_generator(compose("viseme.wav2lip", sys.argv[2:]))
"""


@pytest.mark.heavy
def test_generator_and_discriminator_over_two_processes(crops: Path, run_dir: Path, tmp_path: Path) -> None:
    overrides = [
        "recipe=tiny",
        f"data.root_dir={crops}",
        f"exp_dir={tmp_path}",
        "trainer.devices=2",
        "data.val_list=null",
    ]
    overrides += [
        "trainer.max_steps=3",
        "trainer.sync_batchnorm=false",
        "trainer.progress=false",
        f"expert={run_dir / 'expert' / 'model'}",
    ]
    done = torchrun(SCRIPT, tmp_path, tmp_path, *overrides)
    assert done.returncode == 0, "".join(line for line in done.stderr.splitlines(True) if "W1" not in line)[:9000]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    learnt = [key for key in ranks[0] if key.endswith((".weight", ".bias")) and not key.startswith("expert")]
    assert any(key.startswith("discriminator") for key in learnt) and any(key.startswith("model") for key in learnt)
    for key in learnt:
        assert torch.equal(ranks[0][key], ranks[1][key]), key
