"""Job scripts and estimates."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from viseme.core.cli import compose
from viseme.core.testing.commands import check_user_error, run_command
from viseme.raven.cli import app
from viseme.raven.launch import estimate, script

PACKAGE = "viseme.raven"


def test_a_script_asks_for_the_recipes_machines_and_repeats_what_was_changed() -> None:
    overrides = ["recipe=large_lrs3vox2", "data.root_dir=/data", "optim.warmup_epochs=25", "launch.partition=gpu"]
    text = script(compose(PACKAGE, [*overrides, "data.roots.lrs3.video=/a b/v", "optim.betas=[0.9,0.95]"]))
    assert "#SBATCH --nodes=16" in text and "#SBATCH --gres=gpu:8" in text and "#SBATCH --ntasks-per-node=8" in text
    assert "#SBATCH --partition=gpu" in text and "--account" not in text
    command = shlex.split(text.splitlines()[-1])
    assert command[:4] == ["srun", "raven", "pretrain", "recipe=large_lrs3vox2"]
    changed = {"data.roots.lrs3.video=/a b/v", "optim.betas=[0.9,0.95]", "optim.warmup_epochs=25"}
    assert changed <= set(command) and len(command) == 4 + 3 + 2
    one, two = compose(PACKAGE, command[3:]), compose(PACKAGE, overrides[:3])
    assert one.optim.warmup_epochs == two.optim.warmup_epochs


def test_a_fine_tuning_is_launched_as_one() -> None:
    text = script(compose(PACKAGE, ["recipe=vsr_low_large", "pretrained_model_path=/m/video"]))
    assert "srun raven train recipe=vsr_low_large" in text and "pretrained_model_path=/m/video" in text


def test_estimates_add_up() -> None:
    cost = estimate(compose(PACKAGE, ["recipe=base_lrs3", "launch.data_hours=433"]))
    assert cost.frozen == 52_445_376 + 45_111_168
    assert cost.frames_per_step == 76_800  # published
    small = ["recipe=small_pretrain", "data.root_dir=/data", "launch.data_hours=1", "launch.frames_per_s=90000"]
    measured = estimate(compose(PACKAGE, small))
    assert measured.hours_per_epoch == pytest.approx(1 / 3600)
    assert "measured" in measured.basis and "assumed" in cost.basis
    assert cost.flops_per_frame > 50 * measured.flops_per_frame


def test_a_state_shared_out_is_a_share_on_each_device() -> None:
    whole, shared = (
        estimate(compose(PACKAGE, ["recipe=large_lrs3vox2", f"trainer.strategy={name}"])) for name in ("ddp", "fsdp")
    )
    assert shared.state_gb == pytest.approx(whole.state_gb / 128) and shared.activations_gb == whole.activations_gb
    text = script(compose(PACKAGE, ["recipe=large_lrs3vox2", "data.root_dir=/data", "trainer.strategy=fsdp"]))
    assert "trainer.strategy=fsdp" in text


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    words = ["launch", "recipe=vsr_low_base_lrs3", f"launch.out={tmp_path}"]
    outcome = run_command(app, [*words, "launch.dry_run=true"])
    assert outcome.code == 0 and "GFLOP a frame" in outcome.out and not list(tmp_path.iterdir())
    assert run_command(app, words).code == 0
    assert (tmp_path / "vsr_low_base_lrs3.sbatch").is_file()


def test_unknown_hardware_and_names(tmp_path: Path) -> None:
    words = ["launch", "recipe=base_lrs3", f"launch.out={tmp_path}", "launch.data_hours=1"]
    check_user_error(app, [*words, "launch.gpu=abacus"], "no such GPU")
    check_user_error(app, [*words, "exp_name=mine"], "which recipe", "launch.recipe")
