from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import av
import numpy as np
import pytest

from viseme.core.errors import MediaError
from viseme.core.media import (
    VideoWriter,
    match_length,
    mux,
    probe,
    read_audio,
    read_clip,
    read_video,
    write_audio,
    write_video,
)
from viseme.core.testing import clips
from viseme.core.types import Audio, Video


def talk(frames: int = 40, fps: float = 25.0, rate: int = 16000) -> tuple[Video, Audio]:
    return Video(clips.numbered_frames(frames), fps), Audio(clips.sweep(rate, frames / fps), rate)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "m4v"])
@pytest.mark.parametrize("fps", [25, 30, 29.97, 30000 / 1001])
def test_what_is_written_is_read_back(tmp_path, ending, fps):
    video, audio = talk(40, fps)
    path = tmp_path / f"a é.{ending}"
    write_video(path, video, audio)
    back = read_video(path, fps=None)
    assert clips.frame_numbers(back.frames) == list(range(40)) and back.fps == pytest.approx(fps, rel=1e-3)
    assert np.abs(back.frames.astype(int) - video.frames).mean() < 3
    sound = read_audio(path)
    assert clips.lag_samples(sound.samples, audio.samples) == 0
    assert sound.duration_s == pytest.approx(audio.duration_s, abs=0.07)
    info = probe(path)
    assert (info.frames, info.video_codec, info.audio_codec, info.truncated) == (40, "h264", "aac", False)
    assert list(tmp_path.iterdir()) == [path]


def test_colours_survive_and_are_marked(tmp_path):
    """Flat patches, so that only the colour matrix and range can go wrong."""
    patches = np.random.default_rng(0).integers(20, 236, (1, 4, 4, 3), np.uint8).repeat(32, 1).repeat(32, 2)
    write_video(tmp_path / "a.mp4", Video(patches.repeat(3, 0), 25.0), crf=1)
    got = read_video(tmp_path / "a.mp4").frames
    inner = np.s_[:, 8:24, 8:24]
    assert np.abs(got[inner].astype(int) - patches.repeat(3, 0)[inner]).max() <= 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p" and int(context.color_range) == 1
        assert int(context.colorspace) in (5, 6)  # both names of the BT.601 matrix


def test_grey_frames_come_back_grey(tmp_path):
    gray = clips.numbered_frames(5).mean(-1).astype(np.uint8)
    write_video(tmp_path / "a.mp4", Video(gray, 25.0), crf=1)
    assert np.abs(read_video(tmp_path / "a.mp4", gray=True).frames.astype(int) - gray).mean() < 1.5


@pytest.mark.parametrize("size", [(95, 64), (96, 63), (33, 31)])
def test_odd_sizes_are_padded_to_even(tmp_path, size):
    frames = clips.numbered_frames(3, size)
    write_video(tmp_path / "a.mp4", Video(frames, 25.0), crf=1)
    got = read_video(tmp_path / "a.mp4").frames
    assert got.shape == (3, size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    assert np.abs(got[:, : size[1], : size[0]].astype(int) - frames).mean() < 6


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_tags_come_back(tmp_path, ending):
    tags = {"comment": "synthetic: not a real person", "title": "é 说", "viseme_seed": "7"}
    write_video(tmp_path / f"a.{ending}", talk(3)[0], tags=tags)
    found = {key.lower(): value for key, value in probe(tmp_path / f"a.{ending}").tags.items()}
    assert tags.items() <= found.items()


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, *talk(10))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_streaming_writer(tmp_path):
    video, audio = talk(60)
    with VideoWriter(tmp_path / "a.mp4", 25, (96, 64), audio_rate=16000) as writer:
        for index, frame in enumerate(video.frames):
            writer.write(frame)
            writer.write_audio(audio.samples[index * 640 : (index + 1) * 640])
        assert not (tmp_path / "a.mp4").exists()
    clip = read_clip(tmp_path / "a.mp4")
    assert clips.frame_numbers(clip.video.frames) == list(range(60))
    assert clips.lag_samples(clip.audio.samples, audio.samples) == 0


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), VideoWriter(path, 25, (96, 64)) as writer:
        writer.write(clips.numbered_frames(1)[0])
        raise RuntimeError("half way")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_wrong_frames_and_samples_are_refused(tmp_path):
    with pytest.raises(ValueError, match="frame must be"), VideoWriter(tmp_path / "a.mp4", 25, (96, 64)) as writer:
        writer.write(np.zeros((96, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="without audio_rate"), VideoWriter(tmp_path / "a.mp4", 25, (8, 8)) as writer:
        writer.write_audio(np.zeros(3, np.float32))
    with pytest.raises(MediaError, match="no frame to write"), VideoWriter(tmp_path / "a.mp4", 25, (8, 8)):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, words", [("a.xyz", "unknown video format"), ("a", "unknown video format")])
def test_unknown_endings(tmp_path, name, words):
    with pytest.raises(MediaError, match=words):
        write_video(tmp_path / name, talk(2)[0])
    with pytest.raises(MediaError, match="unknown sound format"):
        write_audio(tmp_path / name, talk(2)[1])


def test_a_rate_that_aac_lacks_is_named(tmp_path):
    with pytest.raises(MediaError, match="no such sampling rate"):
        write_video(tmp_path / "a.mp4", talk(2)[0], Audio(np.zeros(100, np.float32), 10000))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_sixteen_bits_come_back_the_same(tmp_path, ending):
    integers = np.array([0, 1, -1, 32767, -32768, 12345], np.int16)
    write_audio(tmp_path / f"a.{ending}", Audio(integers.astype(np.float32) / 32768, 16000))
    back = read_audio(tmp_path / f"a.{ending}").samples
    assert np.array_equal(back * 32768, integers)
    write_audio(tmp_path / f"b.{ending}", Audio(np.array([2.0, -2.0], np.float32), 16000))
    assert np.array_equal(read_audio(tmp_path / f"b.{ending}").samples * 32768, [32767, -32768])


def test_match_length():
    audio = Audio(np.arange(1, 5, dtype=np.float32), 16000)
    assert match_length(audio, 4) is audio
    assert match_length(audio, 2).samples.tolist() == [1, 2]
    assert match_length(audio, 6).samples.tolist() == [1, 2, 3, 4, 0, 0]
    assert match_length(audio, 6).rate == 16000


def test_mux_copies_frames_and_replaces_sound(tmp_path):
    source = clips.write_clip(tmp_path / "a.mp4", frames=50, rate=44100, rotation=90)
    other = Audio(clips.sweep(22050, 3)[::-1].copy(), 22050)
    mux(source, other, tmp_path / "b.mp4")
    assert np.array_equal(read_video(tmp_path / "b.mp4").frames, read_video(source).frames)
    assert probe(tmp_path / "b.mp4").rotation == 90
    sound = read_audio(tmp_path / "b.mp4", rate=22050).samples
    assert clips.lag_samples(sound, other.samples) == 0 and len(sound) == pytest.approx(3 * 22050, abs=1100)


def test_mux_takes_a_file_with_its_channels_and_may_replace_its_input(tmp_path):
    source = clips.write_clip(tmp_path / "a.mkv", frames=25, rate=None)
    sound = clips.write_sound(tmp_path / "s.wav", rate=48000, channels=2, duration_s=2)
    frames = read_video(source).frames
    mux(source, sound, source)
    info = probe(source)
    assert (info.rate, info.channels, info.frames) == (48000, 2, 25)
    assert np.array_equal(read_video(source).frames, frames)
    assert clips.lag_samples(read_audio(source).samples, clips.sweep(16000, 2)) == 0
    silent = clips.write_clip(tmp_path / "n.mp4", rate=None)
    with pytest.raises(MediaError, match="has no sound"):
        mux(source, silent, tmp_path / "o.mp4")
    with pytest.raises(MediaError, match="has no video"):
        mux(sound, sound, tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


def limited(code: str, folder) -> subprocess.CompletedProcess:
    """Run code in a process whose files may not grow beyond 20 kB: to a program, a disk that is full."""
    head = "import numpy as np\nfrom viseme.core.media import *\nfrom viseme.core.types import *\n"
    return subprocess.run(
        [sys.executable, "-c", head + code],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.parametrize(
    "code",
    [
        "write_video('a.mp4', Video(np.random.default_rng(0).integers(0,256,(30,64,64,3),np.uint8), 25.0))",
        "write_video('a.mkv', Video(np.random.default_rng(0).integers(0,256,(30,64,64,3),np.uint8), 25.0))",
        "write_audio('a.wav', Audio(np.zeros(100_000, np.float32), 16000))",
        "write_audio('a.flac', Audio(np.random.default_rng(0).normal(size=100_000).astype(np.float32), 16000))",
    ],
)
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path, code):
    done = limited(code, tmp_path)
    assert done.returncode == 1 and "MediaError: a." in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_no_space_left_says_what_to_do(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("soundfile.SoundFile.write", full)
    with pytest.raises(MediaError, match=r"No space left on device\. Free some space"):
        write_audio(tmp_path / "a.wav", talk(2)[1])


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot write"):
        write_video(tmp_path / "file" / "a.mp4", talk(2)[0])
