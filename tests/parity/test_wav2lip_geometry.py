"""Wav2Lip's index and picture arithmetic, and the whole synthesis path without detector and container."""

from __future__ import annotations

import harness
import numpy as np
import pytest
import torch
from topic import Check, inputs, state

from viseme.core.signal import WAV2LIP_MEL
from viseme.wav2lip.geometry import apply_frame_options, batched, coords_of, face_inputs, paste, smooth_boxes
from viseme.wav2lip.published import convert_state
from viseme.wav2lip.real_video import limit_resolution, rescaled_size, spread_frames
from viseme.wav2lip.synthesis import published_frames
from viseme.wav2lip.windows import evaluation_starts, frame_index, inference_starts

SYSTEM = "wav2lip"


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "chunks/windows"))
def test_windows(name: str, entry: dict) -> None:
    check, given = Check(SYSTEM, entry), inputs(SYSTEM, entry)
    columns, fps = int(given["mel_frames"]), float(given["fps"])
    check.check("inference", inference_starts(columns, fps))
    check.check("evaluation", evaluation_starts(columns, fps))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "chunks/mel_frames"))
def test_columns(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    check.check("mel_frames", [WAV2LIP_MEL.columns(int(samples)) for samples in inputs(SYSTEM, entry)["samples"]])
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "chunks/frame_index"))
def test_frame_index(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    check.check("index", frame_index(*(int(value) for value in inputs(SYSTEM, entry)["frames_and_windows"])))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "geometry/smooth"))
def test_smoothing(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    check.check("boxes", smooth_boxes(inputs(SYSTEM, entry)["boxes"], entry["config"]["window"]))
    check.finish()


def coords(entry: dict) -> np.ndarray:
    given, config = inputs(SYSTEM, entry), entry["config"]
    rects = [tuple(rect) for rect in given["rects"].tolist()]
    size = given["frames"].shape[1:3]
    return coords_of(rects, size, pads=config["pads"], smooth=config["smooth"], window=config["window"])


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "geometry/boxes"))
def test_boxes(name: str, entry: dict) -> None:
    check, boxes, frames = Check(SYSTEM, entry), coords(entry), inputs(SYSTEM, entry)["frames"]
    check.check("coords", boxes)
    check.check("crop_hw", [frame[y1:y2, x1:x2].shape[:2] for frame, (y1, y2, x1, x2) in zip(frames, boxes)])
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "geometry/batches"))
def test_batches(name: str, entry: dict) -> None:
    check, config, given = Check(SYSTEM, entry), entry["config"], inputs(SYSTEM, entry)
    windows = len(given["mels"])
    index = [0] * windows if config["static"] else frame_index(len(given["frames"]), windows)
    boxes = coords(entry)[index]
    check.check("batch_sizes", [len(places) for places in batched(windows, config["batch_size"])])
    check.check("coords", boxes)
    crops = [given["frames"][i][y1:y2, x1:x2] for i, (y1, y2, x1, x2) in zip(index, boxes)]
    check.check("images", face_inputs(crops, config["image_size"]))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "geometry/paste"))
def test_paste(name: str, entry: dict) -> None:
    check, given = Check(SYSTEM, entry), inputs(SYSTEM, entry)
    check.check("frame", paste(given["prediction"], given["frame"], given["coords"]))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "geometry/frame"))
def test_frame_options(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    check.check("frame", apply_frame_options(inputs(SYSTEM, entry)["frame"], **entry["config"]))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "real_video/rescale", "real_video/max_resolution"))
def test_sizes(name: str, entry: dict) -> None:
    check, config, cases = Check(SYSTEM, entry), entry["config"], inputs(SYSTEM, entry)["cases"].tolist()
    if "max_frame_res" in config:
        check.check("hw", [limit_resolution(*case, **config) for case in cases])
    else:
        check.check("hw", [rescaled_size(case[0], case[1], tuple(case[2:]), **config) for case in cases])
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "real_video/increase"))
def test_too_few_frames(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    frames, wanted = (int(value) for value in inputs(SYSTEM, entry)["frames_and_length"])
    check.check("index", spread_frames(frames, wanted, published=True))
    check.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "inference"))
def test_synthesis(name: str, entry: dict) -> None:
    check, config, given = Check(SYSTEM, entry), entry["config"], inputs(SYSTEM, entry)
    generator = convert_state(state(SYSTEM, entry, "wav2lip")).build().eval()
    boxes = np.repeat(given["box"][None], len(given["frames"]), axis=0)
    made = list(
        published_frames(
            generator,
            given["frames"],
            torch.from_numpy(given["wave"]),
            float(given["fps"]),
            boxes,
            batch_size=config["batch_size"],
            static=config["static"],
        )
    )
    check.check("n_out", len(made))
    check.check("out", np.stack(made))
    check.finish()
