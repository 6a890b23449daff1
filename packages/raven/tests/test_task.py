"""Optimisers, clipping, teachers' momentum, probes, and resuming exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from viseme.core.testing.commands import run_command
from viseme.raven.cli import app
from viseme.raven.finetune import FinetuneOptim, FinetuneTask
from viseme.raven.models import PretrainConfig, Pretrainer, Recogniser, RecogniserConfig
from viseme.raven.task import PretrainOptim, PretrainTask, scheduler


class FakeTrainer:
    estimated_stepping_batches = 20
    max_epochs = 4

    def __init__(self, precision: str) -> None:
        self.precision = precision


def with_trainer(task, monkeypatch: pytest.MonkeyPatch, precision: str = "32-true"):
    monkeypatch.setattr(type(task), "trainer", property(lambda self: FakeTrainer(precision)))
    return task


@pytest.fixture
def pair() -> Pretrainer:
    torch.manual_seed(0)
    return Pretrainer(PretrainConfig.preset("tiny", probe_vocabulary=7, probe_decoder="tiny"))


def rates(optimizer, lr_scheduler, steps: int) -> list[list[float]]:
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        lr_scheduler.step()
    return found


class TestPretraining:
    def test_every_group_has_its_own_peak(self, pair, monkeypatch) -> None:
        task = with_trainer(PretrainTask(pair, PretrainOptim(1e-2, 2e-2, warmup_epochs=1)), monkeypatch)
        made = task.configure_optimizers()
        found = rates(made["optimizer"], made["lr_scheduler"]["scheduler"], 20)
        assert [max(column) for column in zip(*found)] == pytest.approx([1e-2, 1e-2, 2e-2, 2e-2])
        assert found[0][0] > 0 and found[-1] == pytest.approx([1e-5] * 4)

    @pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", True), ("16-mixed", False)])
    def test_the_step_is_fused_where_gradients_have_no_scale(self, pair, monkeypatch, precision, fused) -> None:
        task = with_trainer(PretrainTask(pair, PretrainOptim(warmup_epochs=1)), monkeypatch, precision)
        assert task.configure_optimizers()["optimizer"].defaults["fused"] is fused

    def test_published_rates_are_a_step_late(self, pair) -> None:
        optimizer = torch.optim.AdamW(pair.model_video.student_parameters(), lr=1e-2)
        late = scheduler(optimizer, 1e-5, 5, 20, late=True)
        assert [row[0] for row in rates(optimizer, late, 3)] == pytest.approx([0, 0, 2e-3])

    def test_a_probe_does_not_shrink_its_students_gradient(self, pair, monkeypatch) -> None:
        norms = {}
        for published in (False, True):
            task = with_trainer(
                PretrainTask(pair, PretrainOptim(published_defects=published, warmup_epochs=1)), monkeypatch
            )
            optimizer = task.configure_optimizers()["optimizer"]
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = torch.full_like(p, 50.0 if group["name"].endswith("_probe") else 0.001)
            task.configure_gradient_clipping(optimizer, 3.0)
            video = [p.grad for p in pair.model_video.student_parameters()]
            norms[published] = torch.stack([g.norm() for g in video]).norm()
        before = 0.001 * sum(p.numel() for p in pair.model_video.student_parameters()) ** 0.5
        assert norms[False] == pytest.approx(before, rel=1e-4)
        assert norms[True] < before / 10

    def test_published_momentum_turns_back(self, pair, monkeypatch) -> None:
        for published in (False, True):
            options = PretrainOptim(base_momentum=0.9, published_defects=published, warmup_epochs=1)
            task = with_trainer(PretrainTask(pair, options), monkeypatch)
            task.configure_optimizers()
            values = [task.momentum(step) for step in range(21)]
            assert max(values) == pytest.approx(1.0)
            assert (values[-1] == pytest.approx(0.9)) == published

    def test_the_probe_leaves_the_encoder_alone(self, pair) -> None:
        from viseme.raven.objective import probe_losses

        features = torch.randn(2, 6, 32, requires_grad=True)
        mask = torch.ones(2, 1, 6, dtype=torch.bool)
        losses = probe_losses(pair.model_video, features, mask, torch.tensor([[1, 2], [3, -1]]))
        losses.loss.backward()
        assert features.grad is None
        assert all(p.grad is not None for p in pair.model_video.probe_parameters())
        nobody = probe_losses(pair.model_video, features, mask, torch.full((2, 1), -1))
        assert torch.isfinite(nobody.loss)


class TestFineTuning:
    def task(self, **options) -> FinetuneTask:
        torch.manual_seed(0)
        config = RecogniserConfig.preset("tiny", "video", "tiny", vocabulary=7)
        return FinetuneTask(Recogniser(config), None, FinetuneOptim(**{"warmup_epochs": 1, **options}))  # type: ignore[arg-type]

    def test_layer_wise_rates_all_follow_the_schedule(self, monkeypatch) -> None:
        task = with_trainer(self.task(lr=1e-2, lr_other=4e-2, lr_decay_rate=0.5, warmup_epochs=1), monkeypatch)
        made = task.configure_optimizers()
        found = rates(made["optimizer"], made["lr_scheduler"]["scheduler"], 20)
        names = [group["name"] for group in made["optimizer"].param_groups]
        peaks = dict(zip(names, (max(column) for column in zip(*found))))
        assert peaks == pytest.approx(
            {"frontend": 5e-3, "embed": 5e-3, "block_0": 5e-3, "block_1": 1e-2, "after_norm": 1e-2}
            | {"ctc": 4e-2, "other": 4e-2}
        )
        assert found[-1] == pytest.approx([1e-5] * 7)

    def test_the_published_schedule_moves_the_first_group_only(self, monkeypatch) -> None:
        task = with_trainer(self.task(lr=1e-2, warmup_epochs=1, published_defects=True), monkeypatch)
        made = task.configure_optimizers()
        found = rates(made["optimizer"], made["lr_scheduler"]["scheduler"], 20)
        columns = list(zip(*found))
        assert len(set(columns[0])) > 10 and columns[0][:2] == (0.0, 0.0)
        assert all(len(set(column)) == 1 and column[0] == pytest.approx(1e-2) for column in columns[1:])

    def test_every_parameter_is_trained_once(self, monkeypatch) -> None:
        task = with_trainer(self.task(), monkeypatch)
        groups = task.configure_optimizers()["optimizer"].param_groups
        grouped = [id(p) for group in groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in task.model.parameters())

    def test_no_decay_is_plain_adam(self, monkeypatch) -> None:
        task = with_trainer(self.task(weight_decay=0.0), monkeypatch)
        assert type(task.configure_optimizers()["optimizer"]) is torch.optim.Adam


def test_a_run_logs_what_tells_collapse_and_what_the_probe_says(pretrained: Path) -> None:
    lines = [json.loads(line) for line in (pretrained / "history.jsonl").read_text().splitlines()]
    last = lines[-1]
    for name in ("loss_v2a", "loss_a2a", "loss_a2v", "momentum", "target_std_video", "target_cosine_audio"):
        assert name in last
    assert {"loss_v2a_val", "loss_ctc_video_val", "acc_audio_val"} <= last.keys()
    validations = [line["loss_val"] for line in lines if line["stage"] == "validation"]
    assert validations[-1] < validations[0]
    assert 0.9 < last["momentum"] <= 1.0


@pytest.mark.parametrize("step", [2, 5])
def test_a_run_that_died_ends_as_if_it_had_not(
    command, pretrained: Path, store: Path, tmp_path: Path, monkeypatch, step: int
) -> None:
    """Killed in an epoch, in the first and in the second, then taken up: the same weights to the bit, and teachers."""
    words = command("pretrain", "tiny_pretrain", store, tmp_path, "trainer.checkpoint_every_steps=1")
    plain = PretrainTask.training_step

    def dying(self, batch, index):
        if self.global_step == step:
            raise RuntimeError("the power went out")
        return plain(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainTask, "training_step", dying)
        assert run_command(app, words).code == 1
    finished = run_command(app, words)
    assert finished.code == 0, finished.err
    one, two = (
        torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
        for run in (pretrained, tmp_path / "tiny_pretrain")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_probe_can_be_left_out(command, store: Path, tmp_path: Path) -> None:
    words = command("pretrain", "tiny_pretrain", store, tmp_path, "probe.active=false", "trainer.max_steps=2")
    outcome = run_command(app, [*words, "pair=braven"])
    assert outcome.code == 0, outcome.err
    state = torch.load(tmp_path / "tiny_pretrain" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any(".ctc." in key or ".decoder." in key for key in state)
