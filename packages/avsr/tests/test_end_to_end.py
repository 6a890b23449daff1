"""Prepare, train, evaluate, transcribe: the whole way through the command line, on the embedded corpus."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.avsr.cli import app
from viseme.avsr.data import InputConfig
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.pipeline import AVSR, Recording, Search
from viseme.core.data import Manifest
from viseme.core.media import read_audio, read_video
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.text import CharUnits


def test_training_leaves_a_model_directory_that_says_what_it_is(model_dir: Path) -> None:
    assert {"config.yaml", "model.safetensors", "card.md", "checksums.json"} <= {f.name for f in model_dir.iterdir()}
    card = (model_dir / "card.md").read_text(encoding="utf-8")
    assert "viseme-synthetic" in card
    history = (model_dir.parent / "history.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss_val"] for line in history if "loss_val" in line]
    assert losses[-1] < losses[0]


def test_training_again_goes_on_from_the_end(model_dir: Path, store: Path) -> None:
    before = (model_dir / "model.safetensors").read_bytes()
    run = model_dir.parent
    command = ["train", "recipe=tiny", f"data.root_dir={store}", f"exp_dir={run.parent}", "trainer.progress=false"]
    assert run_command(app, command).code == 0
    assert (model_dir / "model.safetensors").read_bytes() == before


def test_evaluate_writes_every_condition_and_every_clip(model_dir: Path, store: Path, tmp_path: Path) -> None:
    command = ["evaluate", "recipe=tiny", f"data.root_dir={store}", f"evaluate.model={model_dir}"]
    command += [f"evaluate.out={tmp_path}", "evaluate.noise_kinds=[babble,white]", "evaluate.noise_snr_db=[0,10]"]
    outcome = run_command(app, [*command, "evaluate.greedy=true"])
    assert outcome.code == 0, outcome.err
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["synthetic"] is True
    seen = {(row["modality"], row["noise"], row["snr_db"]) for row in results["rows"]}
    assert len(seen) == len(results["rows"]) == 3 + 2 * 2 * 2
    assert ("video", "", None) in seen and ("video", "babble", 0.0) not in seen
    assert all(row["low"] <= row["wer"] <= row["high"] for row in results["rows"])
    with (tmp_path / "clips.csv").open(encoding="utf-8", newline="") as lines:
        clips = list(csv.DictReader(lines))
    tested = Manifest.read(store / "manifest.csv").filter(split="test")
    assert len(clips) == len(results["rows"]) * len(tested)
    assert {row["reference"] for row in clips} == {row.text for row in tested}
    row = results["rows"][0]
    errors = sum(int(c["errors"]) for c in clips if (c["modality"], c["noise"]) == (row["modality"], row["noise"]))
    assert errors / row["words"] == pytest.approx(row["wer"])


def test_transcribe_reads_what_evaluation_reads(model_dir: Path, store: Path) -> None:
    """The prepared crops of a clip through the pipeline give what the network gives on them."""
    recogniser = AVSR.from_pretrained(model_dir, device="cpu")
    manifest = Manifest.read(store / "manifest.csv")
    row = manifest.filter(split="test")[0]
    crops = read_video(manifest.file(row), gray=True).frames
    samples = read_audio(manifest.audio_file(row)).samples
    both, video = recogniser.recognise(
        [Recording(crops, samples, row.id), Recording(crops, None, row.id)], search=Search(greedy=True)
    )
    assert (both.modality, video.modality) == ("audiovisual", "video")
    assert both.duration_s == pytest.approx((row.frames or 0) / 25)
    alone = recogniser.recognise([Recording(crops, None)], search=Search(greedy=True))[0]
    assert (alone.text, alone.score) == (video.text, video.score)


def test_transcribe_a_raw_video(model_dir: Path, embedded_corpus: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    video = manifest.file(manifest.filter(split="test")[0])
    out = tmp_path / "words.jsonl"
    command = ["transcribe", video, "--model", model_dir, "--device", "cpu", "--greedy", "--json", "--out", out]
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["modality"] == "audiovisual" and found["name"] == video.name
    assert found["duration_s"] == pytest.approx((manifest.filter(split="test")[0].frames or 0) / 25)
    assert all(0 <= token < 60 for token in found["tokens"])


def test_evaluation_refuses_clips_that_were_trained_on(model_dir: Path, store: Path, tmp_path: Path) -> None:
    command = ["evaluate", "recipe=tiny", f"data.root_dir={store}", f"evaluate.model={model_dir}"]
    command += [f"evaluate.out={tmp_path}", "data.test_split=trainval"]
    check_user_error(app, command, "also trained on", "allow_overlap")
    assert run_command(app, [*command, "allow_overlap=true", "evaluate.limit=2", "evaluate.greedy=true"]).code == 0


def test_training_refuses_to_validate_on_the_test_list(store: Path, tmp_path: Path) -> None:
    command = ["train", "recipe=tiny", f"data.root_dir={store}", f"exp_dir={tmp_path}", "data.val_split=test"]
    check_user_error(app, command, "validated")
    check_user_error(app, [*command[:-1], "data.val_split=trainval"], "trained")


def test_beam_and_greedy_agree_on_a_certain_model() -> None:
    """Where CTC is sure, both searches say the same."""
    torch.manual_seed(0)
    units = CharUnits.from_texts(["ABC"])
    model = AVSRModel(AVSRConfig.preset("tiny", "video", vocabulary=units.size))
    with torch.no_grad():
        model.ctc.ctc_lo.weight.zero_()
        model.ctc.ctc_lo.bias.copy_(torch.tensor([0.0, -20, 20, -20, -20, -20]))
    recogniser = AVSR(model, units, InputConfig(), device="cpu")
    clip = Recording(np.full((8, 96, 96), 100, np.uint8), None)
    greedy = recogniser.recognise([clip], search=Search(greedy=True))[0]
    beam = recogniser.recognise([clip], search=Search(beam=4, ctc_weight=1.0))[0]
    assert greedy.text == beam.text == "A"
    assert greedy.confidence > 0.99
