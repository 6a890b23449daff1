"""Frames left as planes give what converted frames give."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from viseme.core.media import Picture, VideoWriter, read_video, shrink, stream_frames, stream_pictures, warp
from viseme.core.testing import clips


def smooth_clip(path: Path, size: tuple[int, int] = (161, 97)) -> Path:
    """Smooth colours, as cameras give: chroma at half resolution says all there is to say."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    with VideoWriter(path, 25, size, crf=5) as writer:
        for t in range(6):
            waves = [np.sin(x + t / 3), np.cos(y - t / 4), np.sin(x + y)]
            writer.write((128 + 100 * np.stack(waves, -1)).astype(np.uint8))
    return path


def retagged(source: Path, path: Path, colorspace: int, full: bool) -> Path:
    """The same bytes of picture, said to be of another colour space or range."""
    with av.open(str(source)) as original, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "5"})
        video = original.streams.video[0]
        stream.width, stream.height = video.width, video.height
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, 2 if full else 1
        for frame in original.decode(video):
            plain = av.VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
            plain.colorspace, plain.color_range = colorspace, 2 if full else 1
            out.mux(stream.encode(plain))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("colorspace", [1, 5, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_those_of_the_converted_frame(tmp_path: Path, colorspace: int, full: bool):
    path = retagged(smooth_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", colorspace, full)
    for picture, frame in zip(stream_pictures(path), stream_frames(path), strict=True):
        assert isinstance(picture, Picture) and picture.shape == frame.shape and picture.nbytes <= 0.52 * frame.nbytes
        assert np.abs(picture.rgb().astype(int) - frame).mean() < 0.6


def test_patches_and_thumbnails_are_those_of_the_converted_frame(tmp_path: Path):
    path = smooth_clip(tmp_path / "a.mp4", (320, 240))
    turn = cv2.getRotationMatrix2D((160, 120), 20, 0.7)
    for picture, frame in zip(stream_pictures(path), stream_frames(path), strict=True):
        for inverse in (False, True):
            ours, theirs = (warp(f, turn, (96, 80), inverse=inverse) for f in (picture, frame))
            assert ours.shape == (80, 96, 3)
            assert np.abs(ours.astype(int) - theirs).mean() < 0.7
        assert np.abs(shrink(picture, (90, 66)).astype(int) - shrink(frame, (90, 66))).mean() < 1.5
        assert np.abs(picture.sampled(7, 3).astype(int) - frame[3::7, 3::7]).mean() < 0.6
    outside = warp(picture, np.array([[1.0, 0, 400], [0, 1, 0]]), (32, 32))
    assert outside.max() <= 1  # beyond the frame it is black


def test_rotated_recordings_come_upright(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", frames=4, size=(96, 64), rotation=90, rate=None)
    for picture, frame in zip(stream_pictures(path), stream_frames(path), strict=True):
        assert isinstance(picture, Picture) and picture.shape == frame.shape == (96, 64, 3)
        assert np.abs(picture.rgb().astype(int) - frame).mean() < 3


def test_other_formats_come_as_rgb(tmp_path: Path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 77, np.uint8), format="rgb24")
            out.mux(stream.encode(frame.reformat(format="bgr0")))
        out.mux(stream.encode(None))
    assert all(isinstance(frame, np.ndarray) and (frame == 77).all() for frame in stream_pictures(path))


def test_pictures_may_be_kept(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", frames=30, rate=None)
    kept = list(stream_pictures(path))
    assert clips.frame_numbers(np.stack([picture.rgb() for picture in kept])) == list(range(30))
    assert clips.frame_numbers(read_video(path).frames) == list(range(30))
