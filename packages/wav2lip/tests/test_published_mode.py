"""`infer --published`: the frames that are encoded are those of the published arithmetic, level for level."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from viseme.core.errors import FaceError
from viseme.core.media import probe, read_audio, read_video, write_audio
from viseme.core.types import Audio
from viseme.wav2lip import infer
from viseme.wav2lip.geometry import coords_of
from viseme.wav2lip.infer import PublishedOptions, run_published
from viseme.wav2lip.models import S3FD, GeneratorConfig, Wav2LipGenerator
from viseme.wav2lip.synthesis import published_frames
from viseme.wav2lip.weights import save_network


class Recorder:
    """Stands in for the encoder: keeps what it is given, and writes a file that can be muxed."""

    frames: ClassVar[list[np.ndarray]] = []

    def __init__(self, path: Path, fps: float, size: tuple[int, int], **options: object) -> None:
        self.writer = _VideoWriter(path, fps, size)

    def __enter__(self) -> Recorder:
        Recorder.frames = []
        self.writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.__exit__(None, None, None)

    def write(self, frame: np.ndarray) -> None:
        Recorder.frames.append(frame[..., ::-1].copy())
        self.writer.write(frame)


_VideoWriter = infer.VideoWriter


@pytest.fixture
def generator() -> Wav2LipGenerator:
    torch.manual_seed(0)
    config = GeneratorConfig((4, 6, 8, 16), (0, 0, 0, 0), (16, 12, 10, 8, 8), (0, 0, 0, 0, 0), (4, 4, 8, 8, 16), 4)
    return Wav2LipGenerator(config).eval()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(infer, "VideoWriter", Recorder)
    return Recorder


@pytest.mark.parametrize("static", [False, True])
def test_frames_with_a_box(
    generator: Wav2LipGenerator, recorded: type[Recorder], talking: Path, tmp_path: Path, static: bool
) -> None:
    """Sound longer than the video, so that it starts again; an odd number of frames in a batch."""
    model = save_network(tmp_path / "model", "generator", generator)
    sound = np.concatenate([read_audio(talking).samples] * 2)[: 3 * 16000]
    write_audio(tmp_path / "long.wav", Audio(sound, 16000))
    box = (20, 110, 25, 105)
    out, count = run_published(
        PublishedOptions(
            str(model), str(talking), str(tmp_path / "long.wav"), str(tmp_path / "o.mp4"),
            box=box, static=static, wav2lip_batch_size=7, device="cpu",
        )
    )  # fmt: skip
    frames = read_video(talking, fps=None).frames[..., ::-1]
    heard = torch.from_numpy(read_audio(tmp_path / "long.wav").samples)
    coords = np.tile(np.array(box), (len(frames), 1))
    expected = list(published_frames(generator, frames, heard, 25.0, coords, batch_size=64, static=static))
    assert count == len(expected) == len(recorded.frames) == probe(out).frames
    worst = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(recorded.frames, expected))
    assert worst <= 1  # convolutions of other batch sizes round otherwise


def test_boxes_of_the_published_detector(
    generator: Wav2LipGenerator,
    recorded: type[Recorder],
    talking: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The detector's boxes are padded and smoothed as published; batches of it do not matter here."""
    model = save_network(tmp_path / "model", "generator", generator)
    detector = save_network(tmp_path / "s3fd", "s3fd", S3FD())
    found = [(20 + k % 3, 25 + k % 5, 100 + k % 2, 105 - k % 4) for k in range(200)]
    seen: list[int] = []

    def rects(self: object, frames: np.ndarray) -> list:
        seen.append(len(frames))
        return found[sum(seen[:-1]) : sum(seen)]

    monkeypatch.setattr(infer.S3FDDetector, "rects", rects)
    options = PublishedOptions(
        str(model), str(talking), str(talking), str(tmp_path / "o.mp4"),
        s3fd_path=str(detector), face_det_batch_size=9, device="cpu",
    )  # fmt: skip
    _, count = run_published(options)
    frames = read_video(talking, fps=None).frames[..., ::-1]
    used = min(len(frames), count)
    assert sum(seen) == used and set(seen[:-1]) == {9}
    coords = coords_of(found[:used], frames.shape[1:3])
    expected = published_frames(generator, frames, torch.from_numpy(read_audio(talking).samples), 25.0, coords)
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(recorded.frames, expected)) <= 1

    monkeypatch.setattr(infer.S3FDDetector, "rects", lambda self, frames: [None] * len(frames))
    with pytest.raises(FaceError, match="no face in a frame"):
        run_published(options)
