"""Masking, schedules, parameter groups, transforms, batches, mouth crops, error rates and units of raven."""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import pytest
import torch
from raven_answers import SYSTEM, check_geometry

from viseme.core.data import frame_count_batches
from viseme.core.data.transforms import time_mask_count, video_eval
from viseme.core.faces import MEAN_FACE, MouthCropper, smooth_landmarks
from viseme.core.metrics import character_error_rate, word_error_rate
from viseme.core.text import UnitList
from viseme.raven.groups import parameter_groups
from viseme.raven.masking import span_mask
from viseme.raven.models.recogniser import Recogniser
from viseme.raven.published import convert
from viseme.raven.schedules import learning_rate, teacher_momentum
from viseme.raven.transforms import cropped, time_mask_spans


def cases_of(kind: str) -> list[Any]:
    return [
        pytest.param(entry, section, id=f"{parameter.id}-{section}")
        for parameter in harness.entries(SYSTEM, kind)
        for entry in [parameter.values[1]]
        for section in entry["cases"]
    ]


def run_cases(entry: dict, section: str, answer: Any) -> None:
    """Every case of a section: `answer(options, case)` gives each stored answer by its path."""
    spec = entry["cases"][section]
    assert not entry["arrays"], "arrays that no test here compares"
    found = harness.inputs.read_cases(harness.folder(SYSTEM), spec)
    assert found, "a section without cases tests nothing"
    for number, case in enumerate(found):
        options = {**spec.get("config", {}), **harness.inputs.given(case, spec)}
        got = answer(options, case)
        for path, (want, tolerance) in harness.inputs.wanted(number, case, spec).items():
            problem = harness.inputs.disagreement(got[path], want, tolerance)
            assert not problem, f"case {number}, {path}: {problem}"


def array(entry: dict, name: str) -> Any:
    return harness.inputs.make_input(harness.folder(SYSTEM), entry, name)


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "schedules"))
def test_schedules(name: str, entry: dict) -> None:
    compare = harness.Comparison(SYSTEM, entry)
    epochs, warmup, iters = (int(array(entry, key)) for key in ("epochs", "warmup_epochs", "iters_per_epoch"))
    base, steps = float(array(entry, "base_momentum")), array(entry, "steps").tolist()
    total, rise = epochs * iters, warmup * iters

    def momentum(warmup_steps: int, cosine: bool) -> list[float]:
        return [
            teacher_momentum(step, base=base, total_steps=total, warmup_steps=warmup_steps, cosine=cosine)
            for step in steps
        ]

    compare.check("momentum_nowarmup", momentum(0, True))
    compare.check("momentum_warmup", momentum(rise, True))
    compare.check("momentum_flat", momentum(rise, False))
    rates = {"base": float(array(entry, "base_lr")), "min_lr": float(array(entry, "min_lr"))}
    count = entry["arrays"]["lr_group0_after_k_scheduler_steps"]["shape"][0]
    late = [
        learning_rate(max(k - 1, 0), **rates, warmup_steps=rise, total_steps=total) for k in range(count)
    ]  # the published scheduler, one step late
    compare.check("lr_group0_after_k_scheduler_steps", late)
    compare.finish()


@pytest.mark.parametrize("entry, section", cases_of("param_groups"))
def test_parameter_groups(entry: dict, section: str) -> None:
    folder, models = harness.folder(SYSTEM), {}
    for name, config in entry["config"]["models"].items():
        keys = harness.inputs.json.loads((folder / f"{entry['weights'][name]['keys']}.keys.json").read_text())
        state = {key: torch.empty(spec["shape"], device="meta") for key, spec in keys.items()}
        found = convert(state, decoder_heads=config["geometry"]["decoder_heads"])
        check_geometry(found, {**config, "blank": 0, "eos": found.config.eos, "sos": found.config.eos})
        with torch.device("meta"):
            models[name] = Recogniser(found.config)

    def answer(options: dict, case: dict) -> dict[str, Any]:
        groups = parameter_groups(models[options.pop("model")], **options)
        return {
            "groups[].name": [group.name for group in groups],
            "groups[].lr": [group.lr for group in groups],
            "groups[].n_tensors": [len(group.parameters) for group in groups],
            "groups[].n_params": [sum(p.numel() for p in group.parameters) for group in groups],
        }

    run_cases(entry, section, answer)


@pytest.mark.parametrize("entry, section", cases_of("mask_statistics"))
def test_mask_statistics(entry: dict, section: str) -> None:
    generator = torch.Generator().manual_seed(0)
    config = entry["config"]

    def answer(options: dict, case: dict) -> dict[str, Any]:
        spans = {"min_spans": config["min_masks"], "generator": generator}
        if "length" in options:
            length, probability, width = (options[key] for key in ("length", "mask_prob", "mask_length"))
            drawn = [span_mask([length], probability, width, **spans).float().mean() for _ in range(config["draws"])]
            return {"mean_fraction": float(torch.stack(drawn).mean())}
        lengths = options["lengths"]
        outside = 0
        for _ in range(200):
            masked = span_mask(lengths, options["mask_prob"], options["mask_length"], **spans)
            assert len(set(masked.sum(1).tolist())) == 1, "counts of a batch must be equal"
            outside += sum(int(row[length:].sum()) for row, length in zip(masked, lengths))
        return {"in_padding": outside}

    run_cases(entry, section, answer)


@pytest.mark.parametrize("entry, section", cases_of("time_mask"))
def test_time_mask(entry: dict, section: str) -> None:
    def answer(options: dict, case: dict) -> dict[str, Any]:
        numbers = iter([number for pair in options["draws"] for number in pair])
        starts = iter(options["starts"])
        bounds: list[list[int]] = []
        taken = [0]

        def draw(below: int) -> int:
            """Two draws below the window, then one start, unless the first was too large for the clip."""
            if taken[0] < 2:
                taken[0] += 1
                value = next(numbers)
                if taken[0] == 1:
                    drawn.append(value)
                elif drawn[-1] >= options["length"]:
                    taken[0] = 0
                return value
            taken[0] = 0
            bounds.append([0, below])
            return next(starts)

        drawn: list[int] = []
        spans = time_mask_spans(options["length"], options["window"], options["stride"], draw)
        masked = sorted({position for start, stop in spans for position in range(start, stop)})
        count = time_mask_count(options["length"], options["stride"])
        assert next(numbers, None) is None and next(starts, None) is None, "draws left over"
        return {"n_mask": count, "randrange_bounds": bounds, "masked_indices": masked}

    run_cases(entry, section, answer)


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "transforms"))
def test_transforms(name: str, entry: dict) -> None:
    compare, config = harness.Comparison(SYSTEM, entry), entry["config"]
    clip, (top, left) = array(entry, "clip"), array(entry, "train_crop_top_left").tolist()
    options = {"mean": config["mean"], "std": config["std"], "grey": config["grey"]}
    assert (config["colour"], config["train_flip"]) == ("RGB", "horizontal")
    compare.check("val", video_eval(clip, crop=config["crop"], **options).permute(0, 2, 3, 1))
    compare.check("train_flipped", cropped(clip, top, left, config["crop"], flipped=True).permute(0, 2, 3, 1))
    compare.finish()


@pytest.mark.parametrize("entry, section", cases_of("sampler"))
def test_sampler(entry: dict, section: str) -> None:
    answers = entry["cases"][section]["answers"]

    def answer(options: dict, case: dict) -> dict[str, Any]:
        return {
            name: frame_count_batches(options["sizes"], options["max_frames"], **spec["config"])
            for name, spec in answers.items()
        }

    run_cases(entry, section, answer)


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "mouth_crop"))
def test_mouth_crop(name: str, entry: dict) -> None:
    compare, config = harness.Comparison(SYSTEM, entry), entry["config"]
    np.testing.assert_array_equal(MEAN_FACE, np.load(harness.data_file(SYSTEM, entry["data"][0])))
    frames, landmarks, window = (array(entry, key) for key in ("frames", "landmarks", "window_margin"))
    cropper = MouthCropper("retinaface", size=config["crop"], window=int(window), clamp=True)
    transforms, _ = cropper.align(list(landmarks))
    smooth = smooth_landmarks(landmarks, int(window))
    compare.check("smoothed_landmarks", smooth)
    compare.check("transforms", transforms)
    moved = smooth @ transforms[:, :, :2].transpose(0, 2, 1) + transforms[:, None, :, 2]
    compare.check("transformed_landmarks", moved)
    compare.check("crops", np.stack(list(cropper.crops(frames, list(landmarks)))))
    centres = array(entry, "cut_centres")
    left_top = cropper.corners(cropper._centres(centres))
    size = np.full((len(centres), 2), config["crop"])
    compare.check("cut_cases", np.concatenate([centres, left_top[:, ::-1], size], axis=1))
    compare.finish()


@pytest.mark.parametrize("entry, section", cases_of("text"))
def test_text(entry: dict, section: str) -> None:
    def answer(options: dict, case: dict) -> dict[str, Any]:
        match section:
            case "pairs":
                pair = [options["ref"]], [options["hyp"]]
                return {"wer": word_error_rate(*pair).rate, "cer": character_error_rate(*pair, blanks=True).rate}
            case "corpus":
                refs, hyps = ([pair[key] for pair in options["pairs"]] for key in ("ref", "hyp"))
                return {"corpus_wer": word_error_rate(refs, hyps).rate}
        units = UnitList.read(harness.data_file(SYSTEM, entry["data"][0]))
        if section == "units":
            return {"vocabulary_size": len(units)}
        assert section == "detokenise"
        return {"text": units.text(options["ids"])}

    run_cases(entry, section, answer)
