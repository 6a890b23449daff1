"""Training in two processes and in bfloat16: what one process does, and what float32 does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from viseme.core.checkpoint import read_object
from viseme.core.testing.commands import run_command
from viseme.core.testing.processes import torchrun, torchrun_commands
from viseme.im2speech.cli import app

ADVERSARIAL = """
import os, sys
import torch
from viseme.core.cli.config import compose
from viseme.im2speech.train import train
from viseme.im2speech.vocoder import VocoderTask

def keep(task):
    torch.save(task.state_dict(), f"{sys.argv[1]}/rank{os.environ['RANK']}.pt")

VocoderTask.on_fit_end = keep
train(compose("viseme.im2speech", sys.argv[2:]))
"""


def options(scenes: Path, out: Path, *more: str) -> list[str]:
    return [f"data.root_dir={scenes}", f"exp_dir={out}", "trainer.progress=false", "data.val_file=null", *more]


@pytest.mark.heavy
def test_two_processes_do_what_one_does_that_accumulates_two(scenes: Path, tmp_path: Path) -> None:
    """The same captions, the same steps, the same weights."""
    same = ["trainer.max_steps=3", "data.batch_size=2", "model.dropout=0", "trainer.accelerator=cpu"]
    base = ["train", "recipe=tiny", *options(scenes, tmp_path, *same)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two have: sums in another order are other sums
    outcome = run_command(app, [*base, "exp_name=one", "trainer.accumulate_grad_batches=2"])
    torch.set_num_threads(threads)
    assert outcome.code == 0, outcome.err
    done = torchrun_commands("viseme.im2speech.cli", tmp_path, [*base, "exp_name=two", "trainer.devices=2"])
    assert done.returncode == 0, done.stderr
    wanted, found = (read_object(tmp_path / name / "last.ckpt") for name in ("one", "two"))
    assert found["global_step"] == wanted["global_step"] == 3
    for name, value in wanted["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][name], value, rtol=0, atol=1e-5, msg=name)
    assert load_file(tmp_path / "two" / "model" / "model.safetensors")


@pytest.mark.heavy
def test_the_vocoder_and_its_discriminators_stay_in_step(scenes: Path, tmp_path: Path) -> None:
    """Two optimisers in two processes, the discriminators joining on the way: the same weights in both."""
    more = ["recipe=tiny_vocoder", "units.clusters=20", "trainer.devices=2", "trainer.max_steps=6"]
    done = torchrun(ADVERSARIAL, tmp_path, tmp_path, *more, *options(scenes, tmp_path))
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert any(name.startswith("discriminators") for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_bfloat16(scenes: Path, tmp_path: Path) -> None:
    """Weights stay float32 and end near those of float32, but not on them."""
    base = ["train", "recipe=tiny", *options(scenes, tmp_path, "trainer.max_steps=3", "model.dropout=0")]
    for name in ("32-true", "bf16-mixed"):
        outcome = run_command(app, [*base, f"exp_name={name}", f"trainer.precision={name}"])
        assert outcome.code == 0, outcome.err
    exact, mixed = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("32-true", "bf16-mixed"))
    assert all(value.dtype == torch.float32 for value in mixed.values())
    assert any(not torch.equal(mixed[name], value) for name, value in exact.items())
    for name, value in exact.items():
        torch.testing.assert_close(mixed[name], value, rtol=0, atol=5e-3, msg=name)
