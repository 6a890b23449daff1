"""S3FD, both ports: maps, boxes, suppression; the evaluation's face tracks."""

from __future__ import annotations

import harness
import numpy as np
import pytest
import torch
from topic import Check, inputs, state

from viseme.core.errors import VisemeError
from viseme.wav2lip.detection import (
    best_rects,
    candidates,
    decode_boxes,
    detect_relative,
    detect_tracks_frame,
    encode_boxes,
    faces_of,
    normalise_frames,
    suppress,
    tracks_input,
)
from viseme.wav2lip.models import S3FD, S3FDVGG
from viseme.wav2lip.published import convert_state
from viseme.wav2lip.tracks import build_tracks, crop_path, cut_crop

SYSTEM = "wav2lip"


def integer_rects(found: list) -> np.ndarray:
    return np.array([(-1, -1, -1, -1) if rect is None else rect for rect in best_rects(found)])


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "s3fd/maps"))
def test_maps(name: str, entry: dict) -> None:
    check, model = Check(SYSTEM, entry), convert_state(state(SYSTEM, entry, "s3fd")).build().eval()
    assert isinstance(model, S3FD)
    with torch.no_grad():
        maps = model(torch.from_numpy(inputs(SYSTEM, entry)["image"]))
    for level, (classes, offsets) in enumerate(maps, start=1):
        check.check(f"cls{level}", classes)
        check.check(f"reg{level}", offsets)
    check.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "s3fd/detect"))
def test_detection_of_frames(name: str, entry: dict) -> None:
    check, config = Check(SYSTEM, entry), entry["config"]
    model = convert_state(state(SYSTEM, entry, "s3fd")).build().eval()
    with torch.no_grad():
        maps = model(normalise_frames(inputs(SYSTEM, entry)["frames"]))
    found = candidates(maps, config["candidate_score"])
    check.check("n_candidates", len(found))
    check.check("top3_scores", np.sort(found[:, :, 4], axis=0)[-3:])
    best = found[:, :, 4].argmax(0)
    check.check("best_box", found[best, np.arange(found.shape[1])])
    check.check("rects", integer_rects(faces_of(found, config["nms"], config["score"])))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "s3fd_post/boxes"))
def test_boxes_from_maps(name: str, entry: dict) -> None:
    check, config = Check(SYSTEM, entry), entry["config"]
    flat = [torch.from_numpy(array) for array in inputs(SYSTEM, entry)["maps"]]
    found = candidates(list(zip(flat[::2], flat[1::2])), config["candidate_score"], config["strides"])
    check.check("candidates", found)
    faces = faces_of(found, config["nms"], config["score"])
    check.check("n_final", [len(boxes) for boxes in faces])
    check.check("final", np.concatenate(faces))
    check.check("rects", integer_rects(faces))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "s3fd_post/nms", "s3fd_vgg/nms"))
def test_suppression(name: str, entry: dict) -> None:
    check, config = Check(SYSTEM, entry), entry["config"]
    boxes = inputs(SYSTEM, entry)["boxes"]
    check.check("keep", suppress(boxes, config["threshold"], plus_one=config["areas_plus_one"]))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "s3fd_post/coding"))
def test_box_coding(name: str, entry: dict) -> None:
    check, variances = Check(SYSTEM, entry), entry["config"]["variances"]
    priors, offsets = (torch.from_numpy(inputs(SYSTEM, entry)[key]) for key in ("priors", "offsets"))
    decoded = decode_boxes(priors, offsets, variances)
    check.check("decoded", decoded)
    check.check("encoded", encode_boxes(decoded, priors, variances))
    check.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "s3fd_vgg/maps", "s3fd_vgg/detect"))
def test_second_port(name: str, entry: dict) -> None:
    check, config = Check(SYSTEM, entry), entry["config"]
    model = convert_state(state(SYSTEM, entry, "s3fd_vgg")).build().eval()
    assert isinstance(model, S3FDVGG)
    given = inputs(SYSTEM, entry)
    if "image" in given:
        with torch.no_grad():
            loc, conf, priors = model(torch.from_numpy(given["image"]))
        check.check("loc", loc)
        check.check("conf", conf)
        check.check("priors", priors)
        found = detect_relative(
            loc[0], conf[0], priors, score=config["candidate_score"], nms=config["nms"], top_k=config["top_k"]
        )
        check.check("n_detect", len(found))
        rows = np.zeros((1, 2, config["top_k"], 5), np.float32)  # image, class, best first: score and box
        rows[0, 1, : len(found)] = found[:, [4, 0, 1, 2, 3]]
        check.check("detect_top", rows)
    else:
        check.check("net_input", tracks_input(given["frame"], config["scale"]))
        boxes = detect_tracks_frame(
            model, given["frame"], scale=config["scale"], threshold=config["threshold"], nms=config["nms"]
        )
        check.check("n_bboxes", len(boxes))
        check.check("bboxes", boxes)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "tracks/tracks"))
def test_tracks(name: str, entry: dict) -> None:
    check, config = Check(SYSTEM, entry), entry["config"]
    tracks = build_tracks(inputs(SYSTEM, entry)["faces"], **config)
    check.check("n_tracks", len(tracks))
    for number, track in enumerate(tracks):
        check.check(f"frames_{number}", track.frames)
        check.check(f"boxes_{number}", track.boxes)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "tracks/crops"))
def test_track_crops(name: str, entry: dict) -> None:
    check, config, given = Check(SYSTEM, entry), entry["config"], inputs(SYSTEM, entry)
    path = crop_path(given["boxes"], crop_scale=config["crop_scale"], median=config["median"])
    for side in ("s", "y", "x"):
        check.check(side, getattr(path, side))
    check.check("edges", [path.edges(index) for index in range(len(given["boxes"]))])
    options = {"size": config["size"], "padding_value": config["padding_value"]}
    crops = np.stack([cut_crop(given["image"], path, index, **options) for index in range(len(given["boxes"]))])
    for array in entry["arrays"]:
        if array.startswith("crop_"):
            check.check(array, crops)
    check.finish()


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(VisemeError, match="none of Wav2Lip's networks"):
        convert_state({"weight": torch.zeros(3)})
