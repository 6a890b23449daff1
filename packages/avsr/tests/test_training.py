"""Training as published and on fewer machines: stages, frame budgets, processes, published spellings."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from viseme.avsr.cli import app
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.published_keys import translated
from viseme.avsr.stages import budgeted, processes, stages
from viseme.core.checkpoint import load_model_dir, read_object, read_published
from viseme.core.cli import compose
from viseme.core.data import Manifest
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.testing.processes import torchrun_commands
from viseme.core.training.callbacks import History

TINY = [
    "recipe=tiny",
    "data.modality=video",
    "data.modality_dropout={video: 0, audio: 0, both: 1}",
    "data.noise_kinds=[]",
]


def tiny(store: Path, out: Path, *overrides: str) -> list[str]:
    return ["train", *TINY, f"data.root_dir={store}", f"exp_dir={out}", "trainer.progress=false", *overrides]


# ------------------------------------------------------------------------------------------------------- curriculum


def test_curriculum_is_one_command_of_two_stages(store: Path, tmp_path: Path) -> None:
    lengths = Manifest.read(store / "manifest.csv").filter(split="trainval").lengths()
    limit = sorted(lengths)[len(lengths) // 2]
    assert any(length > limit for length in lengths)
    stage = [f"curriculum.max_clip_frames={limit}", "curriculum.max_epochs=1", "curriculum.lr=1e-3"]
    command = tiny(store, tmp_path, *stage, "trainer.max_epochs=1", "trainer.max_steps=2")
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    first, second = tmp_path / "tiny" / "stage1", tmp_path / "tiny"
    cards = [(folder / "model" / "card.md").read_text(encoding="utf-8") for folder in (first, second)]
    short = sum(length <= limit for length in lengths)
    assert f"{short} clips" in cards[0] and f"{len(lengths)} clips" in cards[1]
    # Units are those of the whole text in both stages.
    assert (first / "model" / "units.txt").read_bytes() == (second / "model" / "units.txt").read_bytes()
    before = (first / "model" / "model.safetensors").stat().st_mtime_ns
    assert run_command(app, [*command, "exp_name=tiny"]).code == 0
    assert (first / "model" / "model.safetensors").stat().st_mtime_ns == before  # a finished stage is not repeated


def test_second_stage_starts_from_the_first(tmp_path: Path) -> None:
    cfg = compose("viseme.avsr", ["recipe=vsr_lrs3_curriculum", "data.root_dir=.", f"exp_dir={tmp_path}"])
    first, second = stages(cfg, tmp_path / "units")
    assert (first.optim.lr, first.data.max_clip_frames) == (2e-4, 100)
    assert (second.optim.lr, second.data.max_clip_frames) == (1e-3, None)
    assert second.pretrained_model_path == str(tmp_path / "vsr_lrs3_curriculum" / "stage1" / "model")
    assert first.pretrained_model_path is None


def test_no_clip_short_enough(store: Path, tmp_path: Path) -> None:
    check_user_error(app, tiny(store, tmp_path, "data.max_clip_frames=3"), "short enough", "at most 3 frames")


# ---------------------------------------------------------------------------------------------------- frame budget


@pytest.mark.parametrize(("devices", "nodes", "accumulate"), [(8, 4, 1), (8, 1, 4), (1, 1, 32), (2, 1, 16), (16, 8, 1)])
def test_frame_budget(devices: int, nodes: int, accumulate: int) -> None:
    overrides = ["recipe=vsr_lrs3", "data.root_dir=.", f"trainer.devices={devices}", f"trainer.num_nodes={nodes}"]
    cfg = compose("viseme.avsr", overrides)
    found = budgeted(cfg)
    assert processes(cfg) == devices * nodes
    assert found.trainer.accumulate_grad_batches == accumulate
    frames = accumulate * devices * nodes * 1600
    assert found.optim.lr == pytest.approx(1e-3 * (frames / 51200) ** 0.5)
    assert cfg.optim.lr == 1e-3 and cfg.trainer.accumulate_grad_batches == 1  # what was given stays as it was


def test_frame_budget_that_makes_no_sense(store: Path, tmp_path: Path) -> None:
    check_user_error(app, tiny(store, tmp_path, "optim.frame_budget=0"), "frame_budget")


@pytest.mark.heavy
def test_two_processes_do_what_one_does_that_accumulates_two(store: Path, tmp_path: Path) -> None:
    """`torchrun` with gloo, whole models and shared out, against accumulation: the same clips, gradients, steps."""
    same = [
        "model.dropout=0",  # its draws differ from rank to rank
        # A whole step fewer than an epoch has: what is left over at its end is a smaller step for one process, and is
        # filled up with clips given out again for two.
        "trainer.max_steps=2",
        "trainer.accelerator=cpu",
        "optim.warmup_epochs=0.1",
        "optim.eps=1",  # else Adam makes steps of one size out of gradients that are zero but for rounding
        "optim.lr=0.1",
        "average=1",
    ]
    one = tiny(store, tmp_path, *same, "exp_name=one", "trainer.accumulate_grad_batches=2")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two have: sums in another order are other sums
    assert run_command(app, one).code == 0
    torch.set_num_threads(threads)
    ddp, fsdp = (
        tiny(store, tmp_path, *same, "trainer.devices=2", f"exp_name={name}", f"trainer.strategy={name}")
        for name in ("ddp", "fsdp")
    )
    done = torchrun_commands("viseme.avsr.cli", tmp_path, ddp, fsdp)
    assert done.returncode == 0, done.stderr
    wanted, *others = (read_object(tmp_path / name / "last.ckpt") for name in ("one", "ddp", "fsdp"))
    (moments,) = wanted["optimizer_states"]
    assert sum(float(state["exp_avg"].abs().max()) > 1e-4 for state in moments["state"].values()) > 50
    for found in others:
        assert found["global_step"] == wanted["global_step"] == 2
        assert found["state_dict"].keys() == wanted["state_dict"].keys()
        for name, value in wanted["state_dict"].items():
            if "running_" not in name and "num_batches" not in name:  # each process has its own batch statistics
                torch.testing.assert_close(found["state_dict"][name], value, rtol=0, atol=1e-5, msg=name)
        (theirs,) = found["optimizer_states"]
        assert theirs["param_groups"][0]["lr"] == moments["param_groups"][0]["lr"]
        # Running means of gradients, relative to the largest of each parameter.
        for index, state in moments["state"].items():
            difference = (theirs["state"][index]["exp_avg"] - state["exp_avg"]).abs().max()
            assert difference <= 1e-3 * state["exp_avg"].abs().max() + 1e-7, index
    weights = [load_model_dir(tmp_path / name / "model").state for name in ("one", "ddp", "fsdp")]
    assert weights[0].keys() == weights[1].keys() == weights[2].keys()


@pytest.mark.heavy
def test_shared_out_stopped_and_taken_up(store: Path, tmp_path: Path) -> None:
    """FSDP, stopped after a step and started again, gets the very weights of a run that never stopped."""
    same = ["trainer.devices=2", "trainer.strategy=fsdp", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1"]
    same += ["trainer.max_steps=2"]
    straight, stopped = (
        tiny(store, tmp_path, *same, "average=1", f"exp_name={name}") for name in ("straight", "stopped")
    )
    done = torchrun_commands("viseme.avsr.cli", tmp_path, straight, [*stopped, "trainer.max_minutes=0.0001"])
    assert done.returncode == 0, done.stderr
    history = tmp_path / "stopped" / "history.jsonl"
    (before,) = (line for line in History.read(history) if line["stage"] == "train")
    done = torchrun_commands("viseme.avsr.cli", tmp_path, stopped)
    assert done.returncode == 0, done.stderr
    first, second = (line for line in History.read(history) if line["stage"] == "train")
    assert first == before and (first["step"], second["step"]) == (1, 2)  # its clock too: step 1 was not made again
    wanted, found = (read_object(tmp_path / name / "last.ckpt") for name in ("straight", "stopped"))
    assert found["global_step"] == wanted["global_step"] == 2
    for name, value in wanted["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value), name
    (theirs,), (moments,) = found["optimizer_states"], wanted["optimizer_states"]
    for index, state in moments["state"].items():
        assert torch.equal(theirs["state"][index]["exp_avg"], state["exp_avg"]), index


# ------------------------------------------------------------------------------------------------------------ speed


def test_activation_checkpointing_trains_the_same(store: Path, tmp_path: Path) -> None:
    for name, value in (("plain", "false"), ("thrifty", "true")):
        options = [f"exp_name={name}", f"speed.activation_checkpointing={value}", "trainer.max_steps=2"]
        assert run_command(app, tiny(store, tmp_path, *options)).code == 0
    plain, thrifty = (
        read_published(tmp_path / name / "last.ckpt", unwrap="state_dict") for name in ("plain", "thrifty")
    )
    assert all(torch.equal(plain[name], thrifty[name]) for name in plain)


@pytest.mark.heavy
def test_compiled_pass_is_the_eager_one() -> None:
    """Traced for one length, then for any; the trace is run as it is, so that no compiler's minutes are spent."""
    torch.manual_seed(0)
    config = AVSRConfig.preset("tiny", "video", vocabulary=9, blocks=1, frontend_widths=(4, 4, 4, 4), dropout=0.0)
    model = AVSRModel(config).train()
    wanted, found = [], []
    clips = [(torch.randn(2, frames, 1, 32, 32), torch.randint(1, 8, (2, 3))) for frames in (9, 14)]
    for video, tokens in clips:
        wanted.append(model(tokens, video=video)[1].detach())
    model.compile(backend="eager")  # what `set_speed` does, but for the backend
    for video, tokens in clips:
        found.append(model(tokens, video=video)[1].detach())
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert "encoder.after_norm.weight" in model.state_dict()  # keys stay as they are


def test_wandb_is_optional(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tiny(store, tmp_path, "trainer.wandb=project", "trainer.max_steps=1", "average=1")
    if importlib.util.find_spec("wandb") is None:
        check_user_error(app, command, "wandb", "pip install")
        return
    monkeypatch.setenv("WANDB_MODE", "offline")
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    assert list((tmp_path / "tiny" / "wandb").glob("offline-run-*/*.wandb"))


# ------------------------------------------------------------------------------------------------ published spellings


PUBLISHED = [
    (
        "train --exp-dir E --exp-name N --modality video --root-dir R --train-file F --num-nodes 4 --gpus 8 "
        "--lr 2e-4 --max-frames=1800 --ctc-weight 0.2 --slurm-job-id 7",
        "train exp_dir=E exp_name=N data.modality=video data.root_dir=R data.train_file=F trainer.num_nodes=4 "
        "trainer.devices=8 optim.lr=2e-4 data.max_frames=1800 optim.ctc_weight=0.2",
    ),
    (
        "train exp_dir=E exp_name=N data.modality=audio optimizer.lr=0.001 trainer.num_nodes=2 "
        "data.dataset.root=R data.dataset.train_file=F transfer_frontend=True ckpt_path=P log_wandb=False",
        "train exp_dir=E exp_name=N data.modality=audio optim.lr=0.001 trainer.num_nodes=2 "
        "data.root_dir=R data.train_file=F transfer_frontend=P",
    ),
    (
        "train trainer.gpus=-1 trainer.replace_sampler_ddp=False trainer.resume_from_checkpoint=C "
        "checkpoint.save_top_k=5 log_wandb=true",
        "train trainer.devices=-1 ckpt_path=C trainer.save_top_k=5 average=5 trainer.wandb=auto_avsr",
    ),
    (
        "evaluate --modality video --root-dir R --test-file F --pretrained-model-path P --decode-snr-target 0",
        "evaluate data.modality=video data.root_dir=R data.test_file=F evaluate.model=P "
        "evaluate.noise_kinds=[babble] evaluate.noise_snr_db=[0] evaluate.clean=false",
    ),
    ("evaluate decode.snr_target=999999 ckpt_path=P", "evaluate evaluate.model=P"),
    (
        "transcribe data.modality=video ckpt_path=DIR infer_path=a.mp4 trainer.num_nodes=1",
        "transcribe --modality video --model DIR a.mp4",
    ),
    ("transcribe a=b.mp4 --model DIR --ctc-weight 0.3", "transcribe a=b.mp4 --model DIR --ctc-weight 0.3"),
    ("train recipe=tiny optim.lr=1", "train recipe=tiny optim.lr=1"),
    ("convert a.pth b", "convert a.pth b"),
]


@pytest.mark.parametrize(("published", "ours"), PUBLISHED)
def test_published_spelling(published: str, ours: str) -> None:
    assert translated(published.split()) == ours.split()


def test_published_command_trains(store: Path, tmp_path: Path) -> None:
    """A whole command as the 2024 software spells it, but for the recipe that makes it small."""
    words = [f"data.dataset.root_dir={store}", "optimizer.lr=0.001", "optimizer.warmup_epochs=1", "slurm_job_id=1"]
    command = ["train", *TINY, f"exp_dir={tmp_path}", "exp_name=old", "trainer.max_steps=1", "trainer.progress=false"]
    outcome = run_command(app, [*command, *words])
    assert outcome.code == 0, outcome.err
    assert "slurm_job_id has no meaning here" in outcome.err
    assert (tmp_path / "old" / "model" / "model.safetensors").is_file()
