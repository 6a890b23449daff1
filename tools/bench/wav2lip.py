"""Lip syncing at the published full size: the generator alone, the whole command, and memory over length.

Weights are deterministic noise: no time depends on their values. The recording is the one beside the repository, or
VISEME_BENCH_VIDEO, or a generated one. The published detector is timed on its own, because it is nearly all of the
published command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import torch
from tools.bench.preparation import FRAMES, folder, generated, recording
from tools.bench.registry import Work, case

from viseme.core.media import read_video
from viseme.wav2lip.detection import candidates, faces_of, normalise_frames
from viseme.wav2lip.fast import fused
from viseme.wav2lip.models import S3FD, GeneratorConfig, Wav2LipGenerator
from viseme.wav2lip.pipeline import Wav2Lip
from viseme.wav2lip.weights import save_network

BATCH = 16
PUBLISHED_S = 147.0
"""The published command on 5 s of 540x960, on two cores of this class, with 7.0 GB."""
SMALL = GeneratorConfig((4, 6, 8, 16), (0, 0, 0, 0), (16, 12, 10, 8, 8), (0, 0, 0, 0, 0), (4, 4, 8, 8, 16), 4)
"""For memory over length: the frames are the matter there, not the network."""


def generator() -> Wav2LipGenerator:
    torch.manual_seed(0)
    return Wav2LipGenerator().eval()


def inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(batch, 1, 80, 16, generator=draw) * 8 - 4, torch.rand(batch, 6, 96, 96, generator=draw)


def forward(model: Wav2LipGenerator, batch: int, *, channels_last: bool) -> Work:
    plain = generator()
    mel, faces = inputs(batch)
    with torch.inference_mode():
        expected = plain(mel, faces)
    parameter = next(model.parameters())
    mel, faces = mel.to(parameter.dtype), faces.to(parameter.dtype)
    if channels_last:
        faces = faces.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def work() -> str:
        return f"differs by {float((model(mel, faces).float() - expected).abs().max()):.1e}"

    return work


@case("wav2lip generator", f"{BATCH} faces", items=BATCH)
def generator_ours() -> Work:
    return forward(fused(generator()), BATCH, channels_last=True)


@case("wav2lip generator", f"{BATCH} faces", "plain eager", items=BATCH)
def generator_plain() -> Work:
    return forward(generator(), BATCH, channels_last=False)


@case("wav2lip generator bf16", f"{BATCH} faces", items=BATCH)
def generator_bf16() -> Work:
    return forward(fused(generator(), torch.bfloat16), BATCH, channels_last=True)


@case("wav2lip generator bf16", f"{BATCH} faces", "plain eager", items=BATCH)
def generator_bf16_plain() -> Work:
    return forward(generator(), BATCH, channels_last=False)


def shares(seconds: dict[str, float]) -> str:
    """The parts of a run, each over all its threads, and what all but the generator took of the generator's time;
    imports and weights are no part of the pipeline."""
    around = sum(value for name, value in seconds.items() if name not in ("total", "generating", "loading"))
    parts = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
    return f"{parts}; around the generator {around / max(seconds['generating'], 1e-9):.0%} of it"


@case("wav2lip pipeline", "5 s, 540x960", items=FRAMES, runs=3)
def pipeline() -> Work:
    face = recording()
    syncer, out = Wav2Lip(generator(), device="cpu"), folder() / "out.mp4"
    return lambda: shares(syncer.sync(face, face, out).seconds)


@case("wav2lip whole command", "5 s, 540x960", items=FRAMES, runs=3)
def whole() -> Work:
    """A fresh process each time, with imports and weights, as the published figure has them."""
    face, out = recording(), folder()
    model = save_network(out / "model", "generator", generator())
    command = [sys.executable, "-m", "viseme.wav2lip.cli", "sync", "--face", str(face), "--audio", str(face)]
    command += ["--model", str(model), "--out", str(out / "out.mp4"), "--device", "cpu", "--json"]

    def work() -> str:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, said
        wall, made = time.perf_counter() - start, json.loads(said)
        return (
            f"{PUBLISHED_S / wall:.1f}x published ({PUBLISHED_S:.0f} s), {usage.ru_maxrss / 1e3:.0f} MB of its 6988; "
            f"{shares(made['seconds'])}"
        )

    return work


def long_run(seconds: int) -> Work:
    """A face of 160 pixels in 224, the recording as long as its sound; the peak is that of this process alone."""
    face = generated(folder() / "long.mp4", seconds * 25, (224, 224), 160)
    syncer, out = Wav2Lip(Wav2LipGenerator(SMALL).eval(), device="cpu"), folder() / "out.mp4"

    def work() -> str:
        made = syncer.sync(face, face, out)
        return f"{made.synced} of {made.frames} frames synced"

    return work


@case("wav2lip memory over length", "10 s, 224x224, small network", items=250, runs=1)
def ten_seconds() -> Work:
    return long_run(10)


@case("wav2lip memory over length", "3 min, 224x224, small network", items=4500, runs=1)
def three_minutes() -> Work:
    return long_run(180)


@case("wav2lip memory over length", "10 min, 224x224, small network", items=15000, runs=1, full_only=True)
def ten_minutes() -> Work:
    return long_run(600)


@case("wav2lip detector, published", "4 frames, 540x960", items=4, runs=2, full_only=True)
def published_detector() -> Work:
    torch.manual_seed(0)
    detector = S3FD().eval()
    frames = np.ascontiguousarray(read_video(recording()).frames[:4, ..., ::-1])

    @torch.inference_mode()
    def work() -> str:
        return f"{len(faces_of(candidates(detector(normalise_frames(frames)))))} frames"

    return work
