"""Lip syncing at the published full size: the generator alone, and a whole command on a rendered clip.

Weights are deterministic noise: no time depends on their values. The published detector is timed on its own, because it
is nearly all of the published command.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from tools.bench.registry import Work, case

from viseme.core.media import write_video
from viseme.core.synthetic import render_clip, script_clip
from viseme.core.types import Audio, Video
from viseme.wav2lip.detection import candidates, faces_of, normalise_frames
from viseme.wav2lip.fast import fused
from viseme.wav2lip.models import S3FD, Wav2LipGenerator
from viseme.wav2lip.pipeline import Wav2Lip

BATCH, SECONDS = 16, 5


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


def portrait() -> Video:
    """A rendered face of 270 pixels in a frame of 540 x 960."""
    clip = render_clip(script_clip(0, 0), 270).video
    assert clip is not None
    frames = np.full((len(clip.frames), 960, 540, 3), 120, np.uint8)
    frames[:, 200:470, 135:405] = clip.frames
    return Video(np.resize(frames, (SECONDS * 25, *frames.shape[1:])), 25.0)


@case("wav2lip whole command", f"{SECONDS} s, 540x960", items=SECONDS * 25, runs=3)
def whole() -> Work:
    folder = Path(tempfile.mkdtemp(prefix="viseme-bench-"))
    speech = script_clip(0, 0).audio
    write_video(folder / "face.mp4", portrait(), Audio(np.resize(speech.samples, SECONDS * 16000), 16000))
    syncer = Wav2Lip(generator(), device="cpu")

    def work() -> str:
        made = syncer.sync(folder / "face.mp4", folder / "face.mp4", folder / "out.mp4")
        parts = {name: value for name, value in made.seconds.items() if name != "total"}
        return ", ".join(f"{name} {value:.2f}" for name, value in parts.items())

    return work


@case("wav2lip detector, published", "4 frames, 540x960", items=4, runs=2, full_only=True)
def published_detector() -> Work:
    torch.manual_seed(0)
    detector, frames = S3FD().eval(), portrait().frames[:4, ..., ::-1]

    @torch.inference_mode()
    def work() -> str:
        return f"{len(faces_of(candidates(detector(normalise_frames(frames)))))} frames"

    return work
