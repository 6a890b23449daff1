"""Pre-train, fine-tune, evaluate, features, transcribe, self-train: the whole way through the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.checkpoint import load_model_dir
from viseme.core.data import Manifest
from viseme.core.layers.language_model import TransformerLM
from viseme.core.media import read_video
from viseme.core.testing.commands import check_user_error, run_command
from viseme.raven.cli import app
from viseme.raven.models import Encoder
from viseme.raven.pipeline import RAVEn, Recording, Search, save_language_model


def test_fine_tuning_leaves_a_model_directory_that_says_what_it_is(model_dir: Path) -> None:
    assert {"config.yaml", "model.safetensors", "card.md", "checksums.json"} <= {f.name for f in model_dir.iterdir()}
    card = (model_dir / "card.md").read_text(encoding="utf-8")
    assert "viseme-synthetic" in card and "pre-trained encoder" in card
    folder = load_model_dir(model_dir)
    assert folder.config["kind"] == "recogniser" and folder.config["model"]["encoder"]["modality"] == "video"


def test_training_again_goes_on_from_the_end(command, model_dir: Path, pretrained: Path, store: Path) -> None:
    before = (model_dir / "model.safetensors").read_bytes()
    words = command("train", "tiny", store, pretrained.parent, f"pretrained_model_path={pretrained / 'video'}")
    assert run_command(app, words).code == 0
    assert (model_dir / "model.safetensors").read_bytes() == before


def test_evaluate_writes_the_score_and_every_clip(command, model_dir: Path, store: Path, tmp_path: Path) -> None:
    words = command("evaluate", "tiny", store, tmp_path, f"evaluate.model={model_dir}", f"evaluate.out={tmp_path}")
    outcome = run_command(app, [*words, "decode.beam_size=3", "decode.ctc_weight=0.3", "decode.penalty=0.1"])
    assert outcome.code == 0, outcome.err
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["synthetic"] is True
    (row,) = results["rows"]
    assert row["low"] <= row["wer"] <= row["high"] and row["modality"] == "video"
    with (tmp_path / "clips.csv").open(encoding="utf-8", newline="") as lines:
        clips = list(csv.DictReader(lines))
    assert sum(int(clip["errors"]) for clip in clips) / row["words"] == pytest.approx(row["wer"])


def test_a_language_model_takes_part(command, model_dir: Path, store: Path, tmp_path: Path) -> None:
    vocabulary = load_model_dir(model_dir).config["model"]["vocabulary"]
    sizes = {"vocabulary": vocabulary, "embed": 8, "dim": 16, "heads": 2, "units": 16, "blocks": 1}
    lm = save_language_model(tmp_path / "lm", sizes, TransformerLM(**sizes).state_dict())
    words = command("evaluate", "tiny", store, tmp_path, f"evaluate.model={model_dir}", "decode.lm_weight=0.3")
    check_user_error(app, words, "lm_weight needs a language model")
    outcome = run_command(app, [*words, f"evaluate.lm={lm}", "evaluate.limit=1"])
    assert outcome.code == 0, outcome.err
    sizes["vocabulary"] += 1
    other = save_language_model(tmp_path / "other", sizes, TransformerLM(**sizes).state_dict())
    check_user_error(app, [*words, f"evaluate.lm={other}"], "language model has other units")


def test_evaluation_refuses_clips_that_were_trained_on(command, model_dir: Path, store: Path, tmp_path: Path) -> None:
    words = command("evaluate", "tiny", store, tmp_path, f"evaluate.model={model_dir}", "data.test_split=trainval")
    check_user_error(app, words, "also trained on", "allow_overlap")


@pytest.mark.parametrize("layer", [None, 0, 1, 2])
def test_features_of_a_raw_video(pretrained: Path, embedded_corpus: Path, tmp_path: Path, layer) -> None:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    row = manifest.filter(split="test")[0]
    words = ["features", manifest.file(row), "--model", pretrained / "video", "--out-dir", tmp_path, "--device", "cpu"]
    outcome = run_command(app, [*words, "--json", *([] if layer is None else ["--layer", layer])])
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    found = np.load(told["path"])
    assert found.shape == (row.frames, 32) and found.dtype == np.float32
    assert told["layer"] == layer and np.isfinite(found).all() and found.std(0).max() > 0


def test_features_of_sound(pretrained: Path, embedded_corpus: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    row = manifest.filter(split="test")[0]
    words = ["features", manifest.file(row), "--model", pretrained / "audio", "--out-dir", tmp_path, "--layer", 2]
    assert run_command(app, words).code == 0
    found = np.load(tmp_path / f"{manifest.file(row).stem}.npy")
    assert abs(len(found) - (row.frames or 0)) <= 1
    check_user_error(app, [*words[:-1], 3], "no such layer", "0 (front-end) to 2")


def test_layers_are_what_the_encoder_gives(pretrained: Path) -> None:
    model = RAVEn.from_pretrained(pretrained / "video", device="cpu")
    assert isinstance(model.model, Encoder)
    clip = Recording(np.random.default_rng(0).integers(0, 255, (7, 96, 96), np.uint8), None, "x")
    last, norm = model.features(clip, 2).frames, model.features(clip).frames
    with torch.no_grad():
        wanted = model.encoder.after_norm(torch.from_numpy(last)).numpy()
    np.testing.assert_allclose(norm, wanted, atol=1e-5)
    assert not np.allclose(last, norm)


def test_transcribe_reads_what_evaluation_reads(model_dir: Path, store: Path) -> None:
    recogniser = RAVEn.from_pretrained(model_dir, device="cpu")
    manifest = Manifest.read(store / "manifest.csv")
    rows = list(manifest.filter(split="test"))[:2]
    clips = [Recording(read_video(manifest.file(row), gray=True).frames, None, row.id) for row in rows]
    together = recogniser.recognise(clips, search=Search(beam_size=3))
    alone = [recogniser.recognise([clip], search=Search(beam_size=3))[0] for clip in clips]
    assert [found.text for found in together] == [found.text for found in alone]
    assert together[0].duration_s == pytest.approx((rows[0].frames or 0) / 25)
    with pytest.raises(Exception, match="no video to read"):
        recogniser.recognise([Recording(None, np.zeros(6400, np.float32), "sound")])


def test_transcribe_a_raw_video(model_dir: Path, embedded_corpus: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    video = manifest.file(manifest.filter(split="test")[0])
    words = ["transcribe", video, "--model", model_dir, "--device", "cpu", "--beam", 3, "--nbest", 2, "--json"]
    outcome = run_command(app, words)
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["modality"] == "video" and found["name"] == video.name and len(found["alternatives"]) == 1


class TestSelfTraining:
    def words(self, command, store: Path, out: Path, model_dir: Path, *more: str) -> list[str]:
        options = [f"selftrain.labeller={model_dir}", "data.train_limit=6", "trainer.max_steps=2"]
        return command("selftrain", "tiny", store, out, *options, *more)

    def test_labels_then_trains_on_both(self, command, model_dir, pretrained, store, tmp_path) -> None:
        start = f"pretrained_model_path={pretrained / 'video'}"
        outcome = run_command(app, self.words(command, store, tmp_path, model_dir, start))
        assert outcome.code == 0, outcome.err
        made = Manifest.read(tmp_path / "tiny" / "selftrain.csv")
        every = Manifest.read(store / "manifest.csv").filter(split="trainval")
        true = {row.id: row.text for row in every}
        labelled = [row for row in made if not row.extra.get("pseudo_label")]
        assert len(labelled) == 6 and all(row.text == true[row.id] for row in labelled)
        pseudo = [row for row in made if row.extra.get("pseudo_label")]
        assert pseudo and len(made) <= len(every)
        with (tmp_path / "tiny" / "pseudo_labels.csv").open(encoding="utf-8", newline="") as lines:
            scores = {row["id"]: row for row in csv.DictReader(lines)}
        assert set(scores) == set(true) - {row.id for row in labelled}
        assert all(scores[row.id]["text"] == row.text for row in pseudo)
        assert (tmp_path / "tiny" / "model" / "model.safetensors").is_file()

    def test_a_labelling_that_was_cut_off_goes_on(self, command, model_dir, store, tmp_path) -> None:
        words = ["pseudo-label", *self.words(command, store, tmp_path, model_dir)[1:]]
        assert run_command(app, words).code == 0
        table = tmp_path / "tiny" / "pseudo_labels.csv"
        whole = table.read_text(encoding="utf-8")
        lines = whole.splitlines(keepends=True)
        table.write_text("".join(lines[:4]) + lines[4][:9], encoding="utf-8")  # killed in the middle of a line
        assert run_command(app, words).code == 0
        assert sorted(table.read_text(encoding="utf-8").splitlines()) == sorted(whole.splitlines())

    def test_a_threshold_drops_labels(self, command, model_dir, store, tmp_path) -> None:
        words = self.words(command, store, tmp_path, model_dir, "selftrain.min_confidence=1.1")
        outcome = run_command(app, ["pseudo-label", *words[1:]])
        assert outcome.code == 0, outcome.err
        assert "6 clips with labels, 0 with pseudo-labels" in outcome.out

    def test_labels_of_two_labellers_are_not_mixed(self, command, model_dir, store, tmp_path) -> None:
        words = self.words(command, store, tmp_path, model_dir)
        assert run_command(app, ["pseudo-label", *words[1:]]).code == 0
        settings = tmp_path / "tiny" / "labeller.json"
        settings.write_text(settings.read_text().replace('"beam_size": 5', '"beam_size": 6'))
        check_user_error(app, ["pseudo-label", *words[1:]], "another labeller")

    def test_nobody_to_label_and_nothing_to_label(self, command, model_dir, store, tmp_path) -> None:
        check_user_error(app, command("selftrain", "tiny", store, tmp_path), "nobody to write labels")
        words = self.words(command, store, tmp_path, model_dir, "data.train_limit=null")
        check_user_error(app, words, "nothing to label")
