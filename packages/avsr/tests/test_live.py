"""The live recogniser: streamed equals offline, and words come in time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.avsr.cli import app
from viseme.avsr.live import LiveSession
from viseme.avsr.model import AVSRConfig, AVSRModel, Modality
from viseme.avsr.pipeline import AVSR, Recording, Search
from viseme.avsr.watching import MouthFollower, watch
from viseme.core.data import Manifest
from viseme.core.errors import ConfigError
from viseme.core.faces import crop_mouth
from viseme.core.media import read_video
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.text import CharUnits

UNITS = CharUnits.from_texts(["A B C D E"])


def make(modality: Modality, chunk: int = 4) -> AVSR:
    """An untrained model that reads something into anything."""
    torch.manual_seed(0)
    optional = modality == "audiovisual"
    config = AVSRConfig.preset("tiny", modality, vocabulary=UNITS.size, optional_modalities=optional, chunk=chunk)
    network = AVSRModel(config)
    for name, value in network.named_buffers():
        if "running_mean" in name:
            value.normal_(0, 0.2)
        elif "running_var" in name:
            value.uniform_(0.5, 2)
    recogniser = AVSR(network, UNITS, device="cpu")
    generator = np.random.default_rng(1)
    crops = generator.integers(0, 255, (40, 96, 96), np.uint8) if modality != "audio" else None
    samples = generator.standard_normal(40 * 640).astype(np.float32) if modality != "video" else None
    with torch.no_grad():
        memory_TD = recogniser.encode(Recording(crops, samples))
        head = network.ctc.ctc_lo
        head.weight.mul_(20)
        head.bias.copy_(-head.weight @ memory_TD.mean(0))  # so that the best unit changes from frame to frame
    return recogniser


@pytest.fixture(scope="module")
def clip(embedded_corpus: Path) -> Path:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    return manifest.file(manifest[0])


@pytest.mark.parametrize("together", [1, 3, 8, 100])
@pytest.mark.parametrize("modality", ["video", "audio", "audiovisual"])
def test_streamed_equals_offline(modality: Modality, together: int) -> None:
    recogniser, generator = make(modality), np.random.default_rng(0)
    frames = 41
    crops = generator.integers(0, 255, (frames, 96, 96), np.uint8) if modality != "audio" else None
    samples = generator.standard_normal(frames * 640).astype(np.float32) * 0.1 if modality != "video" else None
    session, units = LiveSession(recogniser), []
    for start in range(0, frames, together):
        now = slice(start, start + together)
        sound = None if samples is None else samples[start * 640 : (start + together) * 640]
        units += session.push(None if crops is None else crops[now], sound)
    units += session.push(last=True)
    offline = recogniser.recognise([Recording(crops, samples)], search=Search(greedy=True))[0]
    assert tuple(session.tokens) == offline.tokens and len(offline.tokens) > 3
    assert session.text == offline.text == "".join(unit.text for unit in units).strip()
    late = (session.delay_frames + together) / 25
    assert all(0 < unit.known_s - unit.time_s <= late + 1e-6 for unit in units)
    assert all(0 < unit.probability <= 1 for unit in units)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_one_modality_of_two(modality: Modality) -> None:
    recogniser, generator = make("audiovisual"), np.random.default_rng(0)
    crops = generator.integers(0, 255, (20, 96, 96), np.uint8) if modality == "video" else None
    samples = generator.standard_normal(20 * 640).astype(np.float32) if modality == "audio" else None
    session = LiveSession(recogniser, modality)
    session.push(crops, samples, last=True)
    offline = recogniser.recognise([Recording(crops, samples)], search=Search(greedy=True))[0]
    assert tuple(session.tokens) == offline.tokens


def test_loudness_does_not_matter() -> None:
    recogniser = make("audio")
    samples = np.random.default_rng(0).standard_normal(30 * 640).astype(np.float32)
    quiet, loud = LiveSession(recogniser), LiveSession(recogniser)
    quiet.push(samples=samples * 0.01, last=True)
    loud.push(samples=samples, last=True)
    assert quiet.tokens == loud.tokens


@pytest.mark.parametrize("silence", [0.0, 3e-5, 1e-3])
def test_a_quiet_beginning(silence: float) -> None:
    """Offline, sound comes normalised by the whole clip; live, as it is: a pause before the first word shows it."""
    recogniser, generator = make("audio"), np.random.default_rng(0)
    samples = generator.standard_normal(40 * 640).astype(np.float32) * 0.05
    samples[: 15 * 640] *= silence / 0.05
    session = LiveSession(recogniser)
    for start in range(0, len(samples), 640):
        session.push(samples=samples[start : start + 640])
    session.push(last=True)
    offline = recogniser.recognise([Recording(None, samples)], search=Search(greedy=True))[0]
    assert tuple(session.tokens) == offline.tokens and offline.tokens


def test_nothing_at_all() -> None:
    session = LiveSession(make("video"))
    assert session.push() == [] and session.push(last=True) == [] and session.text == ""


def test_models_that_cannot() -> None:
    with pytest.raises(ConfigError, match="whole recordings only"):
        LiveSession(make("video", chunk=0))
    with pytest.raises(ConfigError, match="does not read audio"):
        LiveSession(make("video"), "audio")
    with pytest.raises(ConfigError, match="relative attention"):
        AVSRConfig.preset("tiny", "video", attention="absolute", chunk=4)


def test_a_file_at_its_own_pace(clip: Path, tmp_path: Path) -> None:
    recogniser = make("audiovisual")
    seen = []
    report = watch(recogniser, str(clip), seconds=1.2, show=seen.append)
    assert report.duration_s == pytest.approx(1.2)
    assert [unit for unit, _ in report.units] == seen and seen
    assert report.delay_median_s is not None and report.delay_90_s is not None
    assert 0 < report.delay_median_s <= report.delay_90_s
    assert all(shown >= unit.time_s for unit, shown in report.units)  # nothing is known before it was said
    model = recogniser.save(tmp_path / "model")
    command = ["live", clip, "--model", model, "--device", "cpu", "--seconds", "0.6"]
    outcome = run_command(app, [*command, "--json"])
    assert outcome.code == 0, outcome.err
    assert {"text", "units", "delay_median_s", "busy"} <= json.loads(outcome.out).keys()
    outcome = run_command(app, command)
    assert outcome.code == 0 and "late" in outcome.err


def test_sources_that_do_not_work(clip: Path, tmp_path: Path) -> None:
    model = make("video", chunk=0).save(tmp_path / "whole")
    check_user_error(app, ["live", clip, "--model", model, "--device", "cpu"], "whole recordings only", "recipe=live")
    model = make("audio").save(tmp_path / "audio")
    check_user_error(app, ["live", "webcam", "--model", model, "--device", "cpu"], "nothing in common")
    model = make("video").save(tmp_path / "video")
    check_user_error(app, ["live", "webcam:x", "--model", model, "--device", "cpu"], "webcam")
    check_user_error(app, ["live", "webcam:99", "--model", model, "--device", "cpu"], "cannot be opened")
    check_user_error(app, ["live", tmp_path / "none.mp4", "--model", model, "--device", "cpu"], "none.mp4")


def test_mouth_is_where_preparation_finds_it(clip: Path) -> None:
    from viseme.core.faces import MouthCropper, track_faces

    frames = read_video(clip).frames[:20]
    follower = MouthFollower("mediapipe")
    found = np.stack([follower.crop(frame) for frame in frames])
    cropper = MouthCropper("mediapipe")
    track = track_faces(frames)[0]
    wanted = crop_mouth(frames, [cropper.select(mesh) for mesh in track.landmarks], gray=True)
    assert follower.missing == 0
    assert np.abs(found.astype(int) - wanted).mean() < 6  # grey levels
    blank = MouthFollower("mediapipe")
    assert not blank.crop(np.zeros((120, 160, 3), np.uint8)).any() and blank.missing == 1
