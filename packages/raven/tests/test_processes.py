"""Two processes: the pair shared out over them (FSDP) learns what two whole pairs (DDP) learn, teachers included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from viseme.core.checkpoint import load_model_dir, read_object
from viseme.core.testing.processes import torchrun_commands


@pytest.mark.heavy
def test_a_pair_shared_out_learns_the_same(command: Callable[..., list[str]], store: Path, tmp_path: Path) -> None:
    same = ["data.val_file=null", "trainer.max_steps=2", "trainer.accelerator=cpu", "trainer.devices=2"]
    same += ["optim.base_momentum=0.9", "optim.warmup_epochs=0"]
    whole, shared = (
        command("pretrain", "tiny_pretrain", store, tmp_path, *same, f"exp_name={name}", f"trainer.strategy={name}")
        for name in ("ddp", "fsdp")
    )
    done = torchrun_commands("viseme.raven.cli", tmp_path, whole, shared)
    assert done.returncode == 0, done.stderr
    wanted, found = (read_object(tmp_path / name / "last.ckpt") for name in ("ddp", "fsdp"))
    assert found["global_step"] == wanted["global_step"] == 2
    assert found["state_dict"].keys() == wanted["state_dict"].keys()
    for name, value in wanted["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][name], value, rtol=0, atol=1e-5, msg=name)
    for name in ("video", "audio"):
        student, weights = f"model.model_{name}.backbone.encoder.", load_model_dir(tmp_path / "fsdp" / name).state
        assert weights.keys() == {k.removeprefix(student) for k in wanted["state_dict"] if k.startswith(student)}
