"""The chain trained for a few steps: what it leaves, what it refuses, and that it resumes as if never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from viseme.core.errors import DataError
from viseme.core.testing.commands import check_user_error, run_command
from viseme.im2speech.cli import app
from viseme.im2speech.data import CaptionDataset, DataConfig, pixels_for, read_list, references_of, units_of
from viseme.im2speech.model import TIED, Captioner, CaptionerConfig
from viseme.im2speech.pipeline import Im2Speech
from viseme.im2speech.task import CaptionTask, OptimConfig
from viseme.im2speech.tokens import UnitTokens
from viseme.im2speech.units import UnitExtractor
from viseme.im2speech.vocoder import VocoderTask


def options(scenes: Path, out: Path, *more: str) -> list[str]:
    return [f"data.root_dir={scenes}", f"exp_dir={out}", "trainer.progress=false", "data.val_file=null", *more]


@pytest.mark.parametrize(("recipe", "task"), [("tiny", CaptionTask), ("tiny_vocoder", VocoderTask)])
def test_resume_equals_uninterrupted(
    recipe: str, task: type, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies in the middle of an epoch and is started again ends with the same weights."""

    def train(name: str, code: int = 0) -> None:
        more = [f"exp_name={name}", "trainer.max_epochs=2", "units.clusters=20", "trainer.checkpoint_every_steps=1"]
        more += ["data.train_split=test", "data.batch_size=1", "vocoder.batch_size=1"]  # four batches an epoch
        outcome = run_command(app, ["train", f"recipe={recipe}", *options(scenes, tmp_path, *more)])
        assert outcome.code == code, outcome.err

    train("whole")
    step, done = task.training_step, []

    def dies(self, batch, batch_index):
        done.append(batch_index)
        if len(done) == 3:
            raise RuntimeError("the machine dies")
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(task, "training_step", dies)
        train("parts", code=1)
    train("parts")
    whole, parts = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_model_directory(model_dir: Path, scenes: Path) -> None:
    state = load_file(model_dir / "model.safetensors")
    assert f"captioner.{TIED}" not in state and not any("weight_g" in key or "parametriz" in key for key in state)
    model = Im2Speech.from_pretrained(model_dir, device="cpu")
    git = model.captioner.model
    assert git.output.weight is git.git.embeddings.word_embeddings.weight
    assert "SYNTHETIC" in (model_dir / "card.md").read_text()


def test_tensorboard_has_pictures_and_sound(model_dir: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(model_dir.parent / "tensorboard")).Reload().Tags()
    assert any(tag.startswith("picture/") for tag in events["images"])
    assert {"loss_val", "uer_val"} <= set(events["scalars"])


def test_evaluate_units(model_dir: Path, scenes: Path, tmp_path: Path) -> None:
    command = ["evaluate", "recipe=tiny", f"data.root_dir={scenes}", f"evaluate.model={model_dir}"]
    command += [f"evaluate.out={tmp_path}", f"evaluate.units={scenes.parent / 'exp' / 'demo_units' / 'model'}"]
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    assert "UER" in outcome.out and (tmp_path / "results.json").is_file() and (tmp_path / "clips.csv").is_file()
    report = (tmp_path / "report.html").read_text()
    assert report.count("<h3>") == 4 and report.count("data:image/jpeg") == 4 and "SYNTHETIC" in report
    check_user_error(app, [*command, "data.test_split=train"], "trained on")
    check_user_error(app, [*command, "data.test_split=none"], "no such split")
    check_user_error(app, [*command, "evaluate.recogniser=other:x"], "no such recogniser")


def test_evaluate_through_a_recogniser(model_dir: Path, scenes: Path) -> None:
    """A deaf recogniser hears the same in all four rows; one that knows the recordings hears the reference alone."""
    from viseme.core.media import read_audio
    from viseme.im2speech.evaluate import CHANCE, MODEL, REFERENCE, RESPOKEN, evaluate, table

    captions = read_list(DataConfig(root_dir=str(scenes)), "test")

    known = {len(read_audio(captions.audio_file(row)).samples): row.text for row in captions}

    class Deaf:
        name = "deaf"

        def __call__(self, recordings):
            return ["a red ball above a blue box" for _ in recordings]

    class Knowing:
        name = "knowing"

        def __call__(self, recordings):
            return [known.get(len(samples), "") for samples in recordings]

    model = Im2Speech.from_pretrained(model_dir, device="cpu")
    units = UnitExtractor.load(scenes.parent / "exp" / "demo_units" / "model", device="cpu")
    result = evaluate(model, captions, recogniser=Deaf(), units=units)
    assert [row.speech for row in result.rows] == [MODEL, CHANCE, RESPOKEN, REFERENCE]
    assert len({row.scores["WER"] for row in result.rows}) == 1 and result.rows[0].scores["WER"] > 0
    assert {"Bleu_4", "CIDEr", "ROUGE_L", "exact", "UER"} <= set(result.rows[0].scores)
    assert REFERENCE in table(result) and len(result.clips) == len(list(references_of(captions)))
    result = evaluate(model, captions, recogniser=Knowing(), limit=2)
    assert [row.speech for row in result.rows] == [MODEL, CHANCE, REFERENCE]
    assert [row.scores["exact"] for row in result.rows] == [0, 0, 1]


def test_chance_is_another_picture(model_dir: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is always right is wrong by chance."""
    from viseme.im2speech import evaluate as module

    captions = read_list(DataConfig(root_dir=str(scenes)), "test")
    rows = [row for row, _ in references_of(captions)]
    right = [row.text for row in rows]

    class Named:
        name = "patched"

    monkeypatch.setattr(
        module, "_hear", lambda recogniser, sounds, what: right if what == "heard" else [""] * len(rows)
    )
    model = Im2Speech.from_pretrained(model_dir, device="cpu")
    result = module.evaluate(model, captions, recogniser=Named())
    assert [row.scores["exact"] for row in result.rows] == [1, 0, 0]


def test_lists(scenes: Path) -> None:
    config = DataConfig(root_dir=str(scenes))
    rows = read_list(config, "train")
    dataset = CaptionDataset(rows, units_of(rows, config), pixels_for("pixels", 32), UnitTokens(20), max_tokens=1024)
    assert len(dataset) == len(rows)
    item = dataset[(0, 3)]
    assert item.image.shape == (3, 32, 32) and item.tokens[0] == 1 and item.tokens[-1] == 2
    with pytest.raises(DataError, match="no usable captions"):
        CaptionDataset(rows, units_of(rows, config), pixels_for("pixels", 32), UnitTokens(20), max_tokens=5)
    with pytest.raises(DataError, match="no such unit"):
        CaptionDataset(rows, units_of(rows, config), pixels_for("pixels", 32), UnitTokens(3))


def test_a_missing_picture_is_stood_in_for(scenes: Path, tmp_path: Path) -> None:
    config = DataConfig(root_dir=str(scenes))
    rows = read_list(config, "train")
    from dataclasses import replace

    from viseme.core.data import Manifest

    broken = Manifest([replace(rows[0], path="gone.png"), *rows[1:4]], rows.root)
    dataset = CaptionDataset(broken, units_of(broken, config), pixels_for("pixels", 32), UnitTokens(20))
    assert dataset[0].name == rows[1].id


def test_freezing_the_image_side() -> None:
    model = Captioner(
        CaptionerConfig(
            units=20,
            image_size=32,
            patch_size=8,
            vision_dim=32,
            vision_layers=1,
            vision_heads=2,
            vision_mlp_dim=64,
            dim=32,
            layers=1,
            heads=2,
            mlp_dim=64,
        )
    )
    CaptionTask(model, OptimConfig(freeze_image=True))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen and all("image_encoder" in name or "visual_projection" in name for name in frozen)
    assert {name for name, _ in model.named_parameters() if "image_encoder" in name} <= frozen


def test_image_tokens_on_disk(scenes: Path, tmp_path: Path) -> None:
    """Training on stored image tokens is training on the pictures."""
    more = ["model=tiny_codes", "trainer.max_epochs=1"]
    for name, extra in (("pictures", []), ("tokens", [f"data.codes_file={tmp_path / 'c.safetensors'}"])):
        command = ["train", "recipe=tiny", *options(scenes, tmp_path, *more, f"exp_name={name}", *extra)]
        outcome = run_command(app, command)
        assert outcome.code == 0, outcome.err
        if name == "pictures":
            model = tmp_path / name / "model"
            outcome = run_command(
                app, ["codes", scenes / "manifest.csv", "--model", model, "--out", tmp_path / "c.safetensors"]
            )
            assert outcome.code == 0, outcome.err
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("pictures", "tokens"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    check_user_error(app, [*command, "model.codes=3"], "larger codebook")
    check_user_error(app, [*command, "model=tiny"], "image codes")


@pytest.mark.parametrize("crop", ["random", "resized"])
def test_token_augmentations(crop: str, scenes: Path, tmp_path: Path) -> None:
    base = ["train", "recipe=tiny", *options(scenes, tmp_path, "trainer.max_steps=3", f"augment.crop={crop}")]
    command = [*base, "model=tiny_codes", "augment.swap=0.5", "augment.noise=0.5"]
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    check_user_error(app, base, "image codes")
    check_user_error(app, [*base, "model=tiny_codes", "augment.crop=other"], "no such crop")


def test_wrong_options(scenes: Path, tmp_path: Path) -> None:
    base = ["train", "recipe=tiny", *options(scenes, tmp_path)]
    check_user_error(app, [*base, "part=other"], "no such part")
    check_user_error(app, [*base, "model.heads=3"], "heads")
    check_user_error(app, [*base, "optim.decay=other"], "decay")
    check_user_error(app, [*base, "data.units_file=none.txt"], "none.txt")
    check_user_error(app, [*base, "tokenizer_path=x.ckpt"], "image codes")
    check_user_error(app, [*base, "data.train_split=none"], "no such split")
    check_user_error(app, ["train", "recipe=units", *options(scenes, tmp_path)], "hubert_path")
