"""Training steps: modality dropout, reading every way, what is logged, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from viseme.avsr.cli import app
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.objective import HybridObjective
from viseme.avsr.task import AVSRTask, ModalityDropout, OptimConfig
from viseme.core.errors import ConfigError
from viseme.core.testing.commands import run_command
from viseme.core.text import CharUnits

UNITS = CharUnits.from_texts(["ABC"])
FRAMES = 12


@pytest.fixture()
def model() -> AVSRModel:
    torch.manual_seed(0)
    config = AVSRConfig.preset("tiny", "audiovisual", vocabulary=UNITS.size, optional_modalities=True)
    return AVSRModel(config).eval()


def inputs(clips: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(1)
    lengths = torch.tensor([FRAMES, FRAMES - 3])[:clips]
    return {
        "video": torch.randn(clips, FRAMES, 1, 40, 40),
        "audio": torch.randn(clips, FRAMES * 640, 1),
        "video_lengths_B": lengths,
        "audio_lengths_B": lengths * 640,
    }


def test_every_way_is_each_way(model: AVSRModel) -> None:
    with torch.no_grad():
        model.absent_video.normal_()
        model.absent_audio.normal_()
    given = inputs()
    every = model.encode_every_way(**given)
    video = {name: value for name, value in given.items() if name.startswith("video")}
    audio = {name: value for name, value in given.items() if name.startswith("audio")}
    for part, way in zip(every.memory.chunk(3), (video, audio, given), strict=True):
        torch.testing.assert_close(part, model.encode(**way).memory)
    assert every.lengths.tolist() == given["video_lengths_B"].tolist() * 3
    assert every.mask is not None and every.mask.shape == (6, 1, FRAMES)


def test_every_way_counts_the_three_alike(model: AVSRModel) -> None:
    given = inputs()
    targets, lengths = torch.tensor([[2, 3], [4, -1]]), torch.tensor([2, 1])
    objective = HybridObjective(0.3)
    video = {name: value for name, value in given.items() if name.startswith("video")}
    audio = {name: value for name, value in given.items() if name.startswith("audio")}
    each = [objective(model, targets, lengths, **way).loss for way in (video, audio, given)]
    every = objective(model, targets, lengths, every_way=True, **given)
    torch.testing.assert_close(every.loss, sum(each) / 3)


def test_word_times_teach_where_they_are_known(model: AVSRModel) -> None:
    given, targets, lengths = inputs(), torch.tensor([[2], [3]]), torch.tensor([1, 1])
    paths = torch.full((2, FRAMES), -1)

    def loss(paths_BT: Tensor | None, **options: object) -> Tensor:
        objective = HybridObjective(0.5, path_weight=0.25)
        return objective(model, targets, lengths, paths_BT=paths_BT, **options, **given).loss

    torch.testing.assert_close(loss(paths), loss(None))
    paths[0, :4], paths[1, 2] = 2, 3
    posteriors_BTV = model.ctc(model.encode(**given).memory)
    expected = -(posteriors_BTV[0, :4, 2].sum() + posteriors_BTV[1, 2, 3]) / 2
    torch.testing.assert_close(loss(paths) - loss(None), 0.25 * expected)
    every = model.ctc(model.encode_every_way(**given).memory)
    three = [-(part[0, :4, 2].sum() + part[1, 2, 3]) / 2 for part in every.chunk(3)]
    difference = loss(paths, every_way=True) - loss(None, every_way=True)
    torch.testing.assert_close(difference, 0.25 * sum(three) / 3)


def test_modality_dropout_draws_what_it_was_told() -> None:
    torch.manual_seed(0)
    drawn = [ModalityDropout(video=0.5, audio=0.25, both=0.25).draw() for _ in range(400)]
    shares = {way: drawn.count(way) / 400 for way in ((True, False), (False, True), (True, True))}
    assert sum(shares.values()) == 1
    assert shares[(True, False)] == pytest.approx(0.5, abs=0.08)
    assert shares[(False, True)] == pytest.approx(0.25, abs=0.08)
    for wrong in ({"video": -0.1}, {"both": 0.0}):
        with pytest.raises(ConfigError, match="frequencies"):
            ModalityDropout(**wrong)


def test_modality_dropout_needs_a_model_that_can_do_without() -> None:
    config = AVSRConfig.preset("tiny", "audiovisual", vocabulary=UNITS.size)
    with pytest.raises(ConfigError, match="optional_modalities"):
        AVSRTask(AVSRModel(config), UNITS, OptimConfig(), ModalityDropout(video=1.0))


@pytest.mark.heavy
@pytest.mark.parametrize("way", ["data.modality_dropout.video=1", "data.modality_dropout.every_way=true"])
def test_a_killed_run_ends_as_if_it_had_not_been(store: Path, tmp_path: Path, way: str) -> None:
    def train(name: str, *overrides: str) -> bytes:
        command = ["train", "recipe=tiny", f"data.root_dir={store}", f"exp_dir={tmp_path}", f"exp_name={name}", way]
        outcome = run_command(app, [*command, "trainer.progress=false", *overrides])
        assert outcome.code == 0, outcome.err
        return (tmp_path / name / "model" / "model.safetensors").read_bytes()

    whole = train("whole", "trainer.max_epochs=3")
    command = ["train", "recipe=tiny", f"data.root_dir={store}", f"exp_dir={tmp_path}", "exp_name=halves", way]
    stop = ["trainer.progress=false", "trainer.max_epochs=3", "trainer.limit_val_batches=0.0"]
    # Stopped in the middle of the second epoch, as a signal does: Lightning writes no checkpoint of its own then.
    import lightning

    steps = 0

    class Kill(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *args: object) -> None:
            nonlocal steps
            steps += 1
            if steps == 6:
                raise RuntimeError("killed")

    from viseme.avsr import train as module

    original = module.build_trainer
    module.build_trainer = lambda cfg, run: original(cfg, run, callbacks=[Kill()])  # type: ignore[assignment]
    try:
        assert run_command(app, [*command, *stop, "trainer.checkpoint_every_steps=2"]).code == 1
    finally:
        module.build_trainer = original
    assert train("halves", "trainer.max_epochs=3") == whole
    history = (tmp_path / "halves" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(history[-1])["epoch"] == 2
