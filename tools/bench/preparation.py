"""Preparation of videos, and loading of what it leaves.

The input is the recording named by VISEME_BENCH_VIDEO (or the one that lies beside the repository), and a copy of it at
224x224, the size of published corpora; without one, a generated face on a canvas. The quality figure gives frames a
second in this one process, times real time at 25 frames/s, and where the milliseconds of a frame go.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import torch
from tools.bench.registry import Work, case

from viseme.core.data import ClipDataset, Manifest, ManifestRow, pack
from viseme.core.faces import FaceMesh, FaceTracker, MouthCropper, YuNet, choose_track
from viseme.core.files import scratch_folder
from viseme.core.media import (
    VideoWriter,
    read_audio,
    read_video,
    stream_frames,
    stream_pictures,
    write_audio,
    write_video,
)
from viseme.core.prepare import PrepareOptions, prepare
from viseme.core.types import Audio, Video

FRAMES, COPIES = 125, 8
BESIDE = Path(__file__).parents[3] / "shared" / "data" / "real" / "talking_woman_5s.mp4"


def folder() -> Path:
    return scratch_folder("bench")


def recording() -> Path:
    """540x960, 5 s."""
    given = Path(os.environ.get("VISEME_BENCH_VIDEO", BESIDE))
    return given if given.is_file() else generated(folder() / "generated.mp4", FRAMES, (540, 960), 300)


def generated(path: Path, frames: int, size: tuple[int, int], side: int) -> Path:
    """A portrait that sways on a patterned canvas, with noise for sound, written as it is made."""
    data = (files("viseme.core") / "synthetic" / "identities" / "03.jpg").read_bytes()
    face = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    face = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    width, height = size
    canvas = np.random.default_rng(0).integers(0, 255, (height // 20, width // 20, 3), np.uint8)
    canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(1).standard_normal(640).astype(np.float32) / 20
    with VideoWriter(path, 25, size, audio_rate=16000, crf=23) as writer:
        for t in range(frames):
            left = int((width - side) * (0.5 + 0.3 * np.sin(t / 9)))
            top = int((height - side) * (0.5 + 0.3 * np.cos(t / 13)))
            picture = canvas.copy()
            picture[top : top + side, left : left + side] = face
            writer.write(picture)
            writer.write_audio(noise)
    return path


def small() -> Path:
    """The same at 224x224, as LRS3 and VoxCeleb2 come."""
    source = recording()
    video, sound = read_video(source), read_audio(source)
    side = min(video.frames.shape[1:3])
    top = (video.frames.shape[1] - side) // 2
    squares = [cv2.resize(f[top : top + side, :side], (224, 224), interpolation=cv2.INTER_AREA) for f in video.frames]
    path = folder() / "small.mp4"
    write_video(path, Video(np.stack(squares), 25.0), sound, crf=18)
    return path


def stages(path: Path, *, every_frame: bool = False) -> Work:
    """Preparation step by step in this process, so that each can be timed."""
    defaults = PrepareOptions()
    stride, mesh_stride = (1, 1) if every_frame else (defaults.stride, defaults.mesh_stride)
    detector, mesh, cropper, out = YuNet(), FaceMesh(), MouthCropper(), folder()
    cv2.setNumThreads(1)

    def work() -> str:
        seconds: dict[str, float] = {}

        def timed(name: str, step: Callable):
            start = time.process_time()
            answer = step()
            seconds[name] = time.process_time() - start
            return answer

        def track() -> list:
            tracker = FaceTracker(detector, mesh, stride=stride, mesh_stride=mesh_stride, points=cropper.select)
            for frame in frames:
                tracker.update(frame)
            return choose_track(tracker.tracks).per_frame(len(frames))

        def encode() -> None:
            with VideoWriter(out / "mouth.mp4", 25, (96, 96), crf=11, preset="superfast") as writer:
                for crop in crops:
                    writer.write(crop)

        read = stream_frames if every_frame else stream_pictures
        frames = timed("decode", lambda: list(read(path)))
        landmarks = timed("track", track)
        crops = timed("crop", lambda: list(cropper.crops(frames, landmarks)))
        timed("encode", encode)
        timed("sound", lambda: write_audio(out / "sound.flac", read_audio(path)))
        rate = len(frames) / sum(seconds.values())
        shake = jitter(cropper, landmarks)
        split = ", ".join(f"{name} {1e3 * s / len(frames):.2f}" for name, s in seconds.items())
        return f"{rate:.0f} frames/s = {rate / 25:.1f}x; ms: {split}; jitter {shake:.4f} of the eyes' distance"

    return work


def jitter(cropper: MouthCropper, landmarks: list) -> float:
    """By how much the crop's centre trembles in the recording: the median length of its second difference, in units of
    the distance between the eyes."""
    transforms, centres = cropper.align(landmarks)
    inverse = [cv2.invertAffineTransform(transform) for transform in transforms]
    middle = np.array([back[:, :2] @ centre + back[:, 2] for back, centre in zip(inverse, centres)])
    eyes = np.median([np.linalg.norm(points[0] - points[1]) for points in landmarks if points is not None])
    return float(np.median(np.linalg.norm(np.diff(middle, 2, axis=0), axis=1)) / eyes)


@case("prepare", "540x960, 5 s", items=FRAMES, runs=7)
def full_size() -> Work:
    return stages(recording())


@case("prepare", "540x960, 5 s", "RGB, every frame", items=FRAMES, runs=3)
def full_size_every_frame() -> Work:
    return stages(recording(), every_frame=True)


@case("prepare", "224x224, 5 s", items=FRAMES, runs=7)
def corpus_size() -> Work:
    return stages(small())


@case("face boxes", "540x960, 5 s", items=FRAMES)
def face_boxes() -> Work:
    """What lip sync needs of a video: a box in every frame."""
    path = recording()
    defaults = PrepareOptions()
    cv2.setNumThreads(1)

    def work() -> str:
        start = time.process_time()
        tracker = FaceTracker(stride=defaults.stride, mesh_stride=defaults.mesh_stride)
        for frame in stream_pictures(path):
            tracker.update(frame)
        seconds = time.process_time() - start
        return f"{FRAMES / seconds:.0f} frames/s a core, boxes in {len(choose_track(tracker.tracks))} of {FRAMES}"

    return work


@case("prepare on processes", f"{COPIES} x 540x960, 5 s", items=COPIES * FRAMES, runs=1)
def scaling() -> Work:
    """One worker process against two, starting them left out (they take a second, once)."""
    source, place = recording(), folder()
    rows = [ManifestRow(f"clip{n}", str(shutil.copy(source, place / f"{n}.mp4"))) for n in range(COPIES)]

    def rate(workers: int) -> float:
        marks: list[float] = []

        def progress(records, *_, **__):
            for record in records:
                marks.append(time.perf_counter())
                yield record

        out = folder()
        prepare(Manifest(rows, place), out, workers=workers, progress=progress)
        shutil.rmtree(out)
        first = workers  # so many clips end at about the same time as the first
        return (COPIES - first) / (marks[-1] - marks[first - 1])

    return lambda: f"{rate(1) * FRAMES:.0f} frames/s on one, {rate(2) * FRAMES:.0f} on two"


def long_video(minutes: float) -> Work:
    path = generated(folder() / "long.mp4", round(minutes * 1500), (224, 224), 120)
    rows = [ManifestRow("long", path.name)]

    def work() -> str:
        out = folder()
        report = prepare(Manifest(rows, path.parent), out, workers=1)
        shutil.rmtree(out)
        return f"{report.frames} frames"

    return work


@case("prepare, memory over length", "224x224, 10 s", runs=1)
def short_memory() -> Work:
    return long_video(1 / 6)


@case("prepare, memory over length", "224x224, 30 min", "thirty minutes", runs=1, full_only=True)
def long_memory() -> Work:
    return long_video(30)


def store(clips: int, frames: int) -> Path:
    """A prepared store of noise that moves: crops and sound."""
    root = folder()
    for name in ("mouth", "audio"):
        (root / name).mkdir()
    ground = cv2.resize(np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8), (200, 200))
    film = np.stack([ground[t % 90 : t % 90 + 96, t % 70 : t % 70 + 96] for t in range(frames)])
    write_video(root / "mouth" / "0.mp4", Video(film, 25.0), crf=11)
    write_audio(root / "audio" / "0.flac", Audio(np.zeros(frames * 640, np.float32), 16000))
    for number in range(1, clips):
        shutil.copy(root / "mouth" / "0.mp4", root / "mouth" / f"{number}.mp4")
        shutil.copy(root / "audio" / "0.flac", root / "audio" / f"{number}.flac")
    rows = [
        ManifestRow(str(n), f"mouth/{n}.mp4", f"audio/{n}.flac", frames, 25.0, frames * 640, 16000)
        for n in range(clips)
    ]
    Manifest(rows, root).write(root / "manifest.csv")
    return root


def loading(packed: bool) -> Work:
    """Every clip once in random order, as float tensors that a training step could take."""
    root = store(200, 100)
    if packed:
        pack(root, root / "packed", shard_mb=64)
        root /= "packed"
    manifest = Manifest.read(root / "manifest.csv")
    data = ClipDataset(manifest, lambda clip, row, generator: clip, audio=False)
    order = np.random.default_rng(0).permutation(len(manifest))

    def work() -> str:
        start, frames = time.process_time(), 0
        for clip in order[: len(order) if packed else 40]:
            video = torch.from_numpy(data[int(clip)].value.video.frames)
            frames += len(video)
            video[:, 4:92, 4:92].contiguous()  # the centre crop: every byte is touched
        return f"{frames / (time.process_time() - start):.0f} frames/s a core"

    return work


@case("load 96x96 grey clips", "200 x 100 frames", runs=3)
def load_packed() -> Work:
    return loading(True)


@case("load 96x96 grey clips", "200 x 100 frames", "mp4 files", runs=3)
def load_files() -> Work:
    return loading(False)
