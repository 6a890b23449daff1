"""Scores of files by both protocols, and lists of pairs. The networks are untrained: that figures come is the point;
what they must be is pinned by the parity tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.errors import DataError
from viseme.core.layers.syncnet import SyncNetV2
from viseme.core.media import probe, read_audio, read_video, write_video
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.types import Audio, Video
from viseme.wav2lip import score
from viseme.wav2lip.batch import random_pairs, read_pairs
from viseme.wav2lip.cli import app
from viseme.wav2lip.models import S3FDVGG


@pytest.fixture(scope="module")
def syncnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    torch.save(SyncNetV2().state_dict(), path)
    return path


@pytest.fixture
def short(talking: Path, tmp_path: Path) -> Path:
    write_video(
        tmp_path / "short.mp4",
        Video(read_video(talking).frames[:16], 25.0),
        Audio(read_audio(talking).samples[:10240], 16000),
    )
    return tmp_path / "short.mp4"


@pytest.mark.heavy
def test_whole_frames(syncnet: Path, short: Path, tmp_path: Path) -> None:
    outcome = run_command(app, ["score", short, "--syncnet", syncnet, "--json", "--device", "cpu"])
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["last"] == 15 and found["lse_d"] > 0 and -15 <= found["offset"] <= 15
    check_user_error(app, ["score", tmp_path / "none.mp4", "--syncnet", syncnet], "none.mp4")


@pytest.mark.heavy
def test_face_tracks(syncnet: Path, talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shots; in the first the face is too far from the last one to be the same, so there are two tracks."""
    frames = read_video(talking).frames[:14]
    write_video(
        tmp_path / "cut.mp4",
        Video(np.concatenate((frames, 255 - frames)), 25.0),
        Audio(np.resize(read_audio(talking).samples, 17920), 16000),
    )
    detector = tmp_path / "sfd_face.pth"
    torch.save(S3FDVGG().state_dict(), detector)
    box = np.array([[20, 20, 130, 130, 0.99]])
    monkeypatch.setattr(score, "detect_tracks_frame", lambda model, frame: box)
    command = ["score", tmp_path / "cut.mp4", "--syncnet", syncnet, "--tracks", detector, "--json", "--device", "cpu"]
    outcome = run_command(app, [*command, "--min_track", "10"])
    assert outcome.code == 0, outcome.err
    spans = [(line["first"], line["last"]) for line in map(json.loads, outcome.out.splitlines())]
    assert spans == [(0, 13), (14, 27)]
    check_user_error(app, command, "no face track")


def test_pairs_are_never_a_clip_with_its_own_sound() -> None:
    names = [f"{k:05d}" for k in range(20)]
    lines = [line.split() for line in random_pairs(names, seed=3)]
    assert sorted(face for _, face in lines) == sorted(audio for audio, _ in lines) == names
    assert all(audio != face for audio, face in lines)
    assert random_pairs(names, seed=3) != random_pairs(names, seed=4)
    with pytest.raises(DataError, match="two clips"):
        random_pairs(["one"])


def test_published_lists(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a/00001 b/00002\n\nc/00003.mp4 d/00004\n")
    pairs = read_pairs(tmp_path / "list.txt", tmp_path)
    assert [(p.number, p.audio.name, p.face.name) for p in pairs] == [
        (0, "00001.mp4", "00002.mp4"),
        (2, "00003.mp4", "00004.mp4"),
    ]
    (tmp_path / "resynced.txt").write_text("face.avi speech.wav\n")
    (pair,) = read_pairs(tmp_path / "resynced.txt", tmp_path, order="face_audio")
    assert (pair.face.name, pair.audio.name) == ("face.avi", "speech.wav")
    (tmp_path / "bad.txt").write_text("only-one\n")
    with pytest.raises(DataError, match="line 1"):
        read_pairs(tmp_path / "bad.txt", tmp_path)


def test_batch_names_what_failed_and_goes_on(model_dir: Path, short: Path, tmp_path: Path) -> None:
    root = tmp_path / "clips"
    root.mkdir()
    for name in ("one", "two"):
        shutil.copyfile(short, root / f"{name}.mp4")
    (root / "bad.mp4").write_text("not a video")
    command = ["batch", tmp_path / "pairs.txt", "--data_root", root, "--results_dir", tmp_path / "out", "--json"]
    outcome = run_command(app, [*command, "--model", model_dir, "--device", "cpu", "--make-pairs", 0])
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report == {"made": 1, "failed": 2}  # `bad` is a face once and a sound once
    assert "bad.mp4" in (tmp_path / "out" / "failures.csv").read_text(encoding="utf-8")
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 1


def test_published_sizes_of_real_videos(model_dir: Path, talking: Path, tmp_path: Path) -> None:
    """A face of about 110 pixels in a frame of 128 is to come near 50: divided by 2."""
    (tmp_path / "list.txt").write_text(f"{talking} {talking}\n")
    command = ["batch", tmp_path / "list.txt", "--data_root", "/", "--results_dir", tmp_path / "out", "--face-first"]
    sizes = ["--face_res", 50, "--min_frame_res", 60, "--max_frame_res", 720, "--tts"]
    outcome = run_command(app, [*command, *sizes, "--model", model_dir, "--device", "cpu"])
    assert outcome.code == 0, outcome.err
    info = probe(tmp_path / "out" / "0.mp4")
    assert (info.width, info.height) == (64, 64)
