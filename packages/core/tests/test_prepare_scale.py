"""`prepare` in parts, on a Ray cluster, with a sync model, and over long recordings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

from viseme.core.cli.prepare import READERS
from viseme.core.cli.viseme import main
from viseme.core.data import Manifest, corpora
from viseme.core.errors import ConfigError, DataError
from viseme.core.media import VideoWriter, read_audio, read_video, write_video
from viseme.core.prepare import FOR, prepare
from viseme.core.prepare import clip as clip_module
from viseme.core.types import Audio, Clip, Video


def face_clip(path: Path, count: int = 20, *, sound: np.ndarray | None = None) -> Path:
    data = (files("viseme.core") / "synthetic" / "identities" / "03.jpg").read_bytes()
    face = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    face = cv2.resize(face, (160, 160), interpolation=cv2.INTER_AREA)
    pictures = np.full((count, 200, 240, 3), 90, np.uint8)
    for t in range(count):
        pictures[t, 20:180, 20 + t % 20 : 180 + t % 20] = face
    samples = 0.1 * np.sin(np.arange(count * 640) * 0.1) if sound is None else sound
    write_video(path, Video(pictures, 25.0), Audio(samples.astype(np.float32), 16000))
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    first = face_clip(folder / "clip0.mp4")
    for number in range(1, 8):
        shutil.copy(first, folder / f"clip{number}.mp4")
    return folder


def journal(store: Path) -> list[dict]:
    found = (store / ".prepare" / "journal").glob("*.jsonl")
    return [json.loads(line) for file in found for line in file.read_text().splitlines()]


def test_parts_share_a_store_and_the_last_lists_everything(corpus: Path, tmp_path: Path):
    done = 0
    for part in (2, 1, 3):
        report = prepare(corpus, tmp_path / "s", workers=1, shard=f"{part}/3")
        done += 3 if part < 3 else 2
        assert len(report.manifest) == done
    assert len(journal(tmp_path / "s")) == 8  # nothing twice
    whole = prepare(corpus, tmp_path / "whole", workers=1)
    assert Manifest.read(tmp_path / "s/manifest.csv") == whole.manifest
    with pytest.raises(DataError, match="has no clips"):
        prepare(corpus / "clip0.mp4", tmp_path / "one", workers=1, shard="2/2")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/"])
def test_shards_that_make_no_sense(shard: str, corpus: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="no such shard"):
        prepare(corpus, tmp_path, shard=shard)


def test_ray_needs_a_cluster(corpus: Path, tmp_path: Path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed; processes cover the rest")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert not ray.is_initialized()
    with pytest.raises(ConfigError, match="no Ray cluster"):
        prepare(corpus, tmp_path, executor="ray")


@pytest.mark.heavy
def test_a_ray_cluster_survives_a_killed_worker(corpus: Path, tmp_path: Path):
    """Two workers; one is killed in the middle of the run. Every clip is prepared, each is listed once."""
    ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed; processes cover the rest")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    try:
        killed: list[int] = []

        def kill() -> None:
            deadline = time.monotonic() + 120
            partial = tmp_path / "s" / ".prepare" / "partial"
            while time.monotonic() < deadline and not killed:
                for folder in partial.glob("*"):  # a worker that has begun names its folder after itself
                    process = int(folder.name.rsplit("-", 1)[1])
                    if process != os.getpid() and any(folder.glob(".*part*")):
                        os.kill(process, signal.SIGKILL)
                        killed.append(process)
                        return
                time.sleep(0.001)

        thread = threading.Thread(target=kill)
        thread.start()
        report = prepare(corpus, tmp_path / "s", executor="ray", workers=2)
        thread.join()
        assert killed, "no worker was caught at work"
        assert not report.failures and len(report.manifest) == 8
        assert sorted(record["id"] for record in journal(tmp_path / "s")) == [f"clip{n}" for n in range(8)]
        assert all(len(read_video(report.manifest.file(row)).frames) == 20 for row in report.manifest)
    finally:
        ray.shutdown()


@dataclass
class Estimate:
    offset: int
    lse_c: float


def constant(text: str):
    """A sync model that always says the same; checks what it is given."""
    offset, confidence = text.split(",")

    def estimate(clip: Clip) -> Estimate:
        assert clip.video.frames.shape[1:] == (224, 224, 3) and len(clip.video.frames) == 20
        assert len(clip.audio.samples) == 20 * 640
        return Estimate(int(offset), float(confidence))

    return estimate


@pytest.mark.parametrize("offset", [3, -3])
def test_sound_that_a_sync_model_is_sure_about_is_moved(offset: int, tmp_path: Path):
    step = np.zeros(20 * 640)
    step[10 * 640 :] = 0.5 * np.sin(np.arange(10 * 640) * 0.2)
    face_clip(tmp_path / "a.mp4", sound=step)
    row = prepare(tmp_path / "a.mp4", tmp_path / "s", workers=1, sync=f"{__name__}:constant={offset},5").manifest[0]
    assert (row.extra["av_offset_frames"], row.extra["av_sync"]) == (str(offset), "corrected")
    samples = read_audio(tmp_path / "s" / row.audio).samples
    begins = int(np.flatnonzero(np.abs(samples) > 0.2)[0]) / 640
    assert len(samples) == 20 * 640 and begins == pytest.approx(10 + offset, abs=0.3)


def test_what_it_is_not_sure_about_is_only_noted(tmp_path: Path):
    face_clip(tmp_path / "a.mp4")
    for text, said in ("3,1", "unsure"), ("14,9", "unsure"), ("0,1", None):
        store = tmp_path / text
        row = prepare(tmp_path / "a.mp4", store, workers=1, sync=f"{__name__}:constant={text}").manifest[0]
        assert row.extra.get("av_sync") == said
    with pytest.raises(ConfigError, match="no such sync model"):
        prepare(tmp_path / "a.mp4", tmp_path / "s", sync="no.such:thing")


def test_long_recordings_are_cut_and_prepared(tmp_path: Path):
    face_clip(tmp_path / "a.mp4", 130)
    report = prepare(tmp_path / "a.mp4", tmp_path / "s", workers=1, max_s=3)
    assert [row.id for row in report.manifest] == ["a_00", "a_01"]
    assert sum(row.frames for row in report.manifest) == 130


def test_memory_does_not_grow_with_length(tmp_path: Path, monkeypatch):
    """Frames held while the face is looked for are bounded: with room for a second of them, a clip of 40 s takes no
    more than one of 4 s."""
    peaks = []
    room = 25 * 120 * 120 * 3 // 2
    monkeypatch.setattr(clip_module, "_HELD_BYTES", room)
    held = []
    frames = clip_module._Frames.first

    def watched(self):
        for frame in frames(self):
            held.append(sum(f.nbytes for f in self._held))
            yield frame

    monkeypatch.setattr(clip_module._Frames, "first", watched)
    for seconds in (4, 40):
        held.clear()
        path = tmp_path / f"{seconds}.mp4"
        source = read_video(face_clip(tmp_path / "short.mp4", 20)).frames
        with VideoWriter(path, 25, (120, 120)) as writer:
            for t in range(25 * seconds):
                writer.write(cv2.resize(source[t % 20][:200, :200], (120, 120)))
        prepare(path, tmp_path / f"s{seconds}", workers=1)
        peaks.append(max(held))
    assert peaks[0] == peaks[1] <= room


def test_one_command_for_several_packages(corpus: Path, tmp_path: Path, capsys):
    store = tmp_path / "s"
    assert main(["prepare", str(corpus / "clip0.mp4"), str(store), "--for", "avsr,raven,lip2speech,wav2lip"]) == 0
    row = Manifest.read(store / "manifest.csv")[0]
    assert row.path == "mouth/clip0.mp4"
    assert {"mouth68_path", "lips_path", "face_path"} <= set(row.extra)
    assert main(["prepare", str(corpus), str(tmp_path / "t"), "--for", "avsr,nobody"]) == 2
    assert "nobody" in capsys.readouterr().err


def test_names_that_are_written_in_two_places_agree():
    assert set(READERS) == set(corpora.READERS)
    assert {kind for kinds in FOR.values() for kind in kinds} == {"mouth", "mouth68", "lips", "face"}
