"""What a user can get wrong: one clear error each, before anything is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from viseme.core.data import Manifest, ManifestRow
from viseme.core.testing.commands import check_user_error, run_command
from viseme.raven.cli import app
from viseme.raven.task import PretrainTask


def test_a_recipe_of_the_other_verb(command, store: Path, tmp_path: Path) -> None:
    check_user_error(app, command("train", "tiny_pretrain", store, tmp_path), "raven pretrain", "stage=finetune")
    check_user_error(app, command("pretrain", "tiny", store, tmp_path), "raven train", "stage=pretrain")


def test_pretraining_without_one_of_the_streams(command, store: Path, tmp_path: Path) -> None:
    check_user_error(app, command("pretrain", "tiny_pretrain", store, tmp_path, "data.modality=video"), "both streams")
    mute = [dataclasses.replace(row, samples=0) for row in Manifest.read(store / "manifest.csv")]
    Manifest(mute, store).write(tmp_path / "mute.csv")
    words = command("pretrain", "tiny_pretrain", store, tmp_path, f"data.train_file={tmp_path / 'mute.csv'}")
    check_user_error(app, words, "no clip with video and audio", "mute.csv")


def test_fine_tuning_on_two_streams(command, store: Path, tmp_path: Path) -> None:
    check_user_error(app, command("train", "tiny", store, tmp_path, "data.modality=audiovisual"), "one modality")


def test_an_encoder_of_the_other_modality(command, pretrained: Path, store: Path, tmp_path: Path) -> None:
    words = command("train", "tiny", store, tmp_path, f"pretrained_model_path={pretrained / 'audio'}")
    check_user_error(app, words, "do not fit", "frontend")


def test_lists_that_do_not_match_the_store(command, store: Path, tmp_path: Path) -> None:
    lost = [ManifestRow(f"x{n}", f"x{n}.mp4", frames=50, samples=32000, text="A", split="trainval") for n in range(9)]
    Manifest(lost, tmp_path).write(tmp_path / "lost.csv")
    words = command("train", "tiny", store, tmp_path, f"data.train_file={tmp_path / 'lost.csv'}", "data.val_file=null")
    check_user_error(app, words, "none of", "paths point")
    check_user_error(app, command("train", "tiny", store, tmp_path, "data.train_file=none.csv"), "no such list")


def test_clips_shorter_than_a_span_are_left_out_of_pretraining(command, store: Path, tmp_path: Path) -> None:
    rows = Manifest.read(store / "manifest.csv").filter(split="trainval")
    short = [dataclasses.replace(row, frames=3) for row in list(rows)[:3]]
    Manifest(short, store).write(tmp_path / "short.csv")
    words = command("pretrain", "tiny_pretrain", store, tmp_path, f"data.train_file={tmp_path / 'short.csv'}")
    check_user_error(app, words, "no clip fits", "4 to 300")


def test_unknown_characters_are_reported(command, store: Path, tmp_path: Path, caplog) -> None:
    rows = Manifest.read(store / "manifest.csv")
    odd = [dataclasses.replace(row, text="%%% §§§ " * 5) if row.split == "val" else row for row in rows]
    Manifest(odd, store).write(store / "odd.csv")  # paths in a manifest are relative to its folder
    words = command("train", "tiny", store, tmp_path, "data.units=chars", "trainer.max_epochs=1")
    lists = [f"data.{name}_file=odd.csv" for name in ("train", "val")]
    outcome = run_command(app, [*words, *lists])
    assert outcome.code == 0, outcome.err
    assert "units are unknown to the tokenizer" in caplog.text


def test_resuming_with_other_batches(command, store: Path, tmp_path: Path, monkeypatch) -> None:
    """The place in the epoch means nothing where batches or the number of ranks have changed."""
    words = command("pretrain", "tiny_pretrain", store, tmp_path, "trainer.checkpoint_every_steps=1")
    plain = PretrainTask.training_step

    def dying(self, batch, index):
        if self.global_step == 2:
            raise RuntimeError("the power went out")
        return plain(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainTask, "training_step", dying)
        assert run_command(app, words).code == 1
    check_user_error(app, [*words, "data.frames_per_gpu=150"], "cannot resume in the middle of an epoch")


def test_resuming_with_another_model(command, store: Path, tmp_path: Path) -> None:
    words = command("pretrain", "tiny_pretrain", store, tmp_path, "optim.warmup_epochs=0.5")
    assert run_command(app, [*words, "trainer.max_epochs=1"]).code == 0
    check_user_error(app, [*words, "model.blocks=3"], "last.ckpt")


@pytest.mark.parametrize(
    "override, said",
    [
        ("model.heads=5", "heads must divide"),
        ("pair.targets=pixels", "unknown targets"),
        ("data.mask_prob_video=2", "masking"),
        ("optim.warmup_epochs=9", "warm-up must be shorter"),
        ("optim.base_lr=1", "base_lr"),
        ("data.train_limit=0", "train_limit"),
    ],
)
def test_options_that_make_no_sense(command, store: Path, tmp_path: Path, override: str, said: str) -> None:
    check_user_error(app, command("pretrain", "tiny_pretrain", store, tmp_path, override), said)


def test_a_bare_encoder_has_no_words(pretrained: Path, embedded_corpus: Path) -> None:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    check_user_error(app, ["transcribe", manifest.file(manifest[0]), "--model", pretrained / "video"], "no words")
