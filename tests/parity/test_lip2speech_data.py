"""Crops, items, batches, alignment of GRID and the scoring recognisers against published answers."""

from __future__ import annotations

import json
from typing import Any

import harness
import numpy as np
import pytest
import torch
from lip2speech_vectors import FOLDER, SYSTEM, Comparison, entries, fills, state

from viseme.core.signal import MULTITASK_MEL, VCA_GRID_MEL, VCA_LRS_MEL
from viseme.lip2speech.align import align_frame, highpass, similarity
from viseme.lip2speech.batches import collate_multitask
from viseme.lip2speech.crops import box_crops, erase, lip_crops, normalise, parse_lip_centres
from viseme.lip2speech.items import Augmentation, Crop, multitask_item, vca_item
from viseme.lip2speech.models import grid_errors, grid_text
from viseme.lip2speech.published import convert_grid_recogniser, convert_lrw_recogniser
from viseme.lip2speech.text import PieceTokenizer
from viseme.lip2speech.transcripts import main_text, word_span

GREY_LEVEL = {"atol": 0.0232, "mean": 1e-3}
LOGS = {"atol": 1e-4, "fraction": 0.995, "atol_rest": 2e-3}


def pairs(values: list[int]) -> np.ndarray:
    return np.array(values).reshape(-1, 2)


class Script:
    """Draws that were drawn; where the entry tells their ranges, it insists on them."""

    def __init__(self, ints: list[Any], flip: bool) -> None:
        self.ints, self.flip = list(ints), flip

    def integer(self, low: int, high: int) -> int:
        drawn = self.ints.pop(0)
        if isinstance(drawn, dict):
            assert (drawn["low"], drawn["high"]) == (low, high)
            return drawn["value"]
        assert low <= drawn <= high
        return drawn

    def coin(self, probability: float = 0.5) -> bool:
        assert probability == 0.5
        return self.flip

    def finish(self) -> None:
        assert not self.ints, f"never drawn: {self.ints}"


@pytest.mark.parametrize(("name", "entry"), entries("crop_vca", "crop_mt"))
def test_crops(name: str, entry: dict) -> None:
    compare, given, config = Comparison(name, entry), fills(entry), entry["config"]
    for key, answer in compare.stored.items():
        frames, options = given[f"frames_{key}"], given.get(f"augmentation_{key}", {})
        flip = options.get("horizontal_flip", False)
        if f"centres_{key}" in given:
            half = config["half_size"]
            half = half[next(corpus for corpus in half if corpus.lower() in key)] if isinstance(half, dict) else half
            shift = options.get("shift", 0)
            crops = lip_crops(frames, pairs(given[f"centres_{key}"]), half, shift=shift, flip=flip, size=config["out"])
        else:
            crops = box_crops(frames, tuple(config["grid_box"]), flip=flip, size=config["out"])
        video = normalise(crops, answer.shape[1])
        if "erase_x" in options:
            video = erase(video, options["erase_x"], options["erase_y"], options["erase_size"])
        compare.check(key, video, **GREY_LEVEL)
    compare.finish()


def test_lip_centre_files() -> None:
    path = FOLDER / "crop_file_parse.json"
    if not path.exists():
        pytest.skip("this folder has no crop_file_parse.json")
    for case in json.loads(path.read_text()):
        name, centres = parse_lip_centres(case["line"])
        assert (name, centres.tolist()) == (case["key"], case["centres"])


def cropper(frames: np.ndarray, centres: np.ndarray, half: int = 40) -> Crop:
    return lambda span, shift, flip: lip_crops(frames[span], centres[span], half, shift=shift, flip=flip)


@pytest.mark.parametrize(("name", "entry"), entries("item_vca"))
def test_vca_items(name: str, entry: dict) -> None:
    compare, given, config = Comparison(name, entry), fills(entry), entry["config"]
    compare.given("audio_in")
    audio = torch.from_numpy(compare.stored["audio_in"])
    spec = next(spec for spec in (VCA_LRS_MEL, VCA_GRID_MEL) if spec.fmax == config["f_max"])
    crop = cropper(given["frames"], pairs(given["centres"]))
    for key in [key.removeprefix("draws_") for key in given if key.startswith("draws_")]:
        draws, result = given[f"draws_{key}"], given[f"result_{key}"]
        padded = compare.stored[f"{key}_mel"].shape[-1] // 4
        script = Script(
            [draws[k] for k in ("window_start", "crop_shift") if k in draws], draws.get("horizontal_flip", False)
        )
        training = "window_start" in draws
        item = vca_item(
            crop,
            len(given["frames"]),
            audio,
            spec,
            script,
            window=config["window_size"] if training else None,
            padded=padded,
            limit=None if training or padded >= len(given["frames"]) else padded,
            augmentation=Augmentation(shift=training, erase=False, flip=training),
            name=result["name"],
        )
        script.finish()
        assert (item.frames, item.columns, item.name) == (
            result["video_frames"],
            result["mel_frames"],
            result["name"],
        )
        compare.check(f"{key}_mel", item.mel, **LOGS)
        compare.check(f"{key}_spec_slice", item.spectrogram[:, ::4], **LOGS)
        compare.check(f"{key}_video_slice", item.video[:, :, ::4, ::4], **GREY_LEVEL)
        compare.check(f"{key}_audio", item.audio)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("item_mt"))
def test_multitask_items(name: str, entry: dict) -> None:
    compare, given, config = Comparison(name, entry), fills(entry), entry["config"]
    tokenizer = PieceTokenizer(harness.data_file(SYSTEM, "lrs2lrs3_lower.model"))
    assert MULTITASK_MEL.n_fft == config["n_fft"] and MULTITASK_MEL.fmax == config["f_max"]
    made = {}
    for key in [key.removeprefix("draws_") for key in given if key.startswith("draws_")]:
        stage, source = key.split("_")
        draws, result = given[f"draws_{key}"], given[f"result_{key}"]
        compare.given(f"audio_{source}")
        frames = given[f"frames_{source}"]
        script = Script(draws["ints_in_order"], draws["horizontal_flip"])
        training, text = stage == "train", given[f"text_{source}"]
        item = multitask_item(
            cropper(frames, pairs(given[f"centres_{source}"])),
            len(frames),
            torch.from_numpy(compare.stored[f"audio_{source}"]),
            MULTITASK_MEL,
            script,
            tokenizer.encode,
            main_text(text),
            span=word_span(text) if result["name"].startswith("pretrain") else None,
            window=(config["min_window"], config["max_window"]) if training else None,
            with_spectrogram=True,
            augmentation=Augmentation(shift=training, erase=training, flip=training),
            name=result["name"],
        )
        script.finish()
        wanted = (
            result["video_frames"],
            result["mel_frames"],
            result["audio_length"],
            result["target"],
            result["window_start"],
            result["window_size"],
            result["name"],
        )
        assert wanted == (
            item.frames,
            item.columns,
            len(item.audio),
            item.target,
            item.window_start,
            item.window_size,
            item.name,
        )
        compare.check(f"{key}_mel", item.mel, **LOGS)
        compare.check(f"{key}_spec_slice", item.spectrogram[:, ::8], **LOGS)
        compare.check(f"{key}_video_slice", item.video[:, :, ::4, ::4], **GREY_LEVEL)
        compare.check(f"{key}_audio", item.audio)
        compare.check(f"{key}_speaker_mel", item.prompt, **LOGS)
        made.setdefault(item.name, item)
    batch = collate_multitask([made[name] for name in given["collated_names"]])
    compare.check("collated_mel", batch.mel, **LOGS)
    compare.check("collated_spec", batch.spectrogram[:, :, ::8], **LOGS)
    compare.check("collated_video", batch.video[..., ::8, ::8], **GREY_LEVEL)
    compare.check("collated_video_length", batch.lengths, atol=0)
    compare.check("collated_audio", torch.nn.utils.rnn.pad_sequence(batch.audio, batch_first=True))
    compare.check("collated_mel_length", batch.columns, atol=0)
    compare.check("collated_target", batch.targets, atol=0)
    compare.check("collated_target_length", batch.target_lengths, atol=0)
    compare.check("collated_window_start", batch.window_starts, atol=0)
    compare.check("collated_window_size", batch.window_sizes, atol=0)
    compare.check("collated_speaker_mel", batch.prompt, **LOGS)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("grid_align"))
def test_grid_alignment(name: str, entry: dict) -> None:
    compare, given = Comparison(name, entry), fills(entry)
    compare.given("reference_landmarks", "landmarks", "audio")
    matrix = similarity(compare.stored["landmarks"], compare.stored["reference_landmarks"])
    compare.check("matrix_f64", matrix, atol=1e-4)
    aligned = align_frame(given["frame"], matrix)
    compare.check("aligned", aligned, atol=2, fraction=0.99)
    heard = highpass(compare.stored["audio"])
    compare.check("highpassed_f64", heard)
    compare.check("highpassed", heard.astype(np.float32))
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("asr_grid", "asr_lrw"))
def test_recognisers(name: str, entry: dict) -> None:
    compare, given = Comparison(name, entry), fills(entry)
    parts = {f"a_{keys.rpartition('_')[2]}_state_dict": state(keys) for keys in entry["keys"]}
    convert = convert_grid_recogniser if "grid" in entry["keys"][0] else convert_lrw_recogniser
    model = convert(parts)
    with torch.no_grad():
        features = model.front(given["log_mel"])
        logits = model.back(features)
    compare.check("front_slice", features[:, ::4, ::4])
    compare.check("logits", logits)
    compare.check("log_softmax", logits.log_softmax(-1))
    compare.finish()


def test_grid_decoding() -> None:
    path = FOLDER / "asr_grid_decode.json"
    if not path.exists():
        pytest.skip("this folder has no asr_grid_decode.json")
    vectors = json.loads(path.read_text())
    letters = "".join(vectors["letters"])
    for case in vectors["cases"]:
        label = "".join(letters[index] for index in case["label_ids"][: case["label_length"]])
        assert label == case["label"]
        output = grid_text(case["path"], letters)
        assert output == case["output"]
        assert grid_errors(output, label) == pytest.approx((case["cer"], case["wer"]))
