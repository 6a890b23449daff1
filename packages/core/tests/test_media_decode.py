from __future__ import annotations

import tracemalloc
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import soundfile

from viseme.core.errors import MediaError
from viseme.core.media import MediaWarning, probe, read_audio, read_clip, read_video, stream_audio, stream_frames
from viseme.core.testing import clips
from viseme.core.types import Audio

CONTAINERS = {
    "mp4": {},
    "mov": {},
    "mkv": {},
    "avi": {"audio_codec": "pcm_s16le"},
    "ts": {},
    "3gp": {},
    "webm": {"video_codec": "libvpx", "audio_codec": "libopus", "rate": 48000},
    "mpg": {"video_codec": "mpeg2video", "audio_codec": "mp2", "rate": 48000},
    "flv": {"rate": 44100},
}


@pytest.mark.parametrize("ending", CONTAINERS)
@pytest.mark.parametrize("gray", [False, True])
def test_every_frame_and_sample_comes_out_of_every_container(tmp_path, ending, gray):
    path = clips.write_clip(tmp_path / f"a.{ending}", frames=30, **CONTAINERS[ending])
    for fps in (25.0, None):
        video = read_video(path, fps=fps, gray=gray)
        assert clips.frame_numbers(video.frames) == list(range(30))
        assert video.fps == 25 and video.gray == gray
    sound = read_audio(path)
    assert sound.duration_s == pytest.approx(1.2, abs=0.07)
    assert abs(clips.lag_samples(sound.samples, clips.sweep(16000, 1.2))) <= 8


# Nearest frame to each 40 ms tick, worked out by hand from the frame times.
TICKS = {
    30: [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26, 28, 29],
    60: [0, 2, 5, 7, 10, 12, 14, 17, 19, 22, 24, 26, 29],
    50: list(range(0, 30, 2)),
    12.5: [i // 2 for i in range(60)],
    Fraction(30000, 1001): [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26, 28, 29],
}


@pytest.mark.parametrize("fps", TICKS, ids=str)
def test_other_rates_become_25_by_time(tmp_path, fps):
    path = clips.write_clip(tmp_path / "a.mp4", frames=30, fps=fps, rate=None)
    assert clips.frame_numbers(read_video(path).frames) == TICKS[fps]
    everything = read_video(path, fps=None)
    assert clips.frame_numbers(everything.frames) == list(range(30))
    assert everything.fps == pytest.approx(float(fps))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_variable_rate_keeps_its_times(tmp_path, ending):
    path = clips.write_clip(tmp_path / f"a.{ending}", frames=5, times_s=[0, 0.05, 0.1, 0.4, 0.5], rate=None)
    numbers = clips.frame_numbers(read_video(path).frames)
    # a long-standing frame stands until half a tick before the next
    assert numbers[:14] == [0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4]
    assert probe(path).variable_fps


def test_a_part_is_a_slice_of_the_whole(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", frames=100, audio_codec="pcm_s16le", rate=44100)
    frames, samples = read_video(path).frames, read_audio(path).samples
    for start, stop in ((0, 10), (1, 2), (13, 14), (37, 90), (99, 100), (24, None)):
        end_s = None if stop is None else stop / 25
        assert np.array_equal(read_video(path, start_s=start / 25, end_s=end_s).frames, frames[start:stop])
        part = read_audio(path, start_s=start / 25, end_s=end_s).samples
        want = samples[start * 640 : None if stop is None else stop * 640]
        assert np.abs(part - want).max() < 1e-5 and len(part) == len(want)


def test_a_part_beyond_the_end_is_an_error_and_one_across_it_is_shorter(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", frames=25)
    assert clips.frame_numbers(read_video(path, start_s=0.8, end_s=9).frames) == [20, 21, 22, 23, 24]
    for read in (read_video, read_audio):
        with pytest.raises(MediaError, match="in the part asked for"):
            read(path, start_s=3)


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("gray", [False, True])
def test_a_turned_video_comes_out_upright(tmp_path, rotation, gray):
    turned = np.rot90(clips.numbered_frames(10), -rotation // 90, axes=(1, 2))
    path = clips.write_clip(tmp_path / "a.mp4", frames=np.ascontiguousarray(turned), rotation=rotation)
    assert clips.frame_numbers(read_video(path, gray=gray).frames) == list(range(10))
    info = probe(path)
    assert (info.width, info.height, info.rotation) == (96, 64, rotation)


@pytest.mark.parametrize("size", [(97, 63), (33, 65), (640, 360)])
def test_odd_sizes(tmp_path, size):
    path = clips.write_clip(tmp_path / "a.mp4", frames=3, size=size, pixel_format="yuv444p")
    assert read_video(path).frames.shape == (3, size[1], size[0], 3)
    assert read_video(path, gray=True).frames.shape == (3, size[1], size[0])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p10le", "gray"])
def test_grey_is_what_swscale_gives(tmp_path, pixel_format):
    path = clips.write_clip(tmp_path / "a.mkv", frames=3, size=(150, 70), pixel_format=pixel_format, rate=None)
    with av.open(str(path)) as container:
        want = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert np.array_equal(read_video(path, gray=True).frames, want)


def test_grey_of_a_bt709_file_is_still_the_luma_of_its_colours(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for picture in noise:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv444p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))
    gray, rgb = read_video(path, gray=True).frames, read_video(path).frames
    assert np.abs(gray - rgb @ np.array([0.299, 0.587, 0.114])).mean() < 1.5


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_sound_in_a_video_at_any_rate_and_channels(tmp_path, channels, rate):
    path = clips.write_clip(tmp_path / "a.mp4", frames=50, rate=rate, channels=channels)
    got = read_audio(path).samples
    want = clips.sweep(16000, 2)
    assert got.dtype == np.float32 and clips.lag_samples(got, want) == 0
    assert np.corrcoef(got[1000:30000], want[1000:30000])[0, 1] > 0.99
    level = 0.4 * (5 / 6 if channels == 6 else 1)  # the sixth channel is for low frequencies only
    assert np.sqrt(np.square(got[1000:30000]).mean()) == pytest.approx(level / np.sqrt(2), rel=0.04)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_files_of_every_depth_are_exact(tmp_path, subtype, channels):
    path = clips.write_sound(tmp_path / "a.wav", subtype=subtype, channels=channels, duration_s=0.7)
    got = read_audio(path)
    assert got.rate == 16000
    step = {"PCM_U8": 1 / 128, "PCM_16": 1 / 32768}.get(subtype, 1e-6)
    want = clips.sweep(16000, 0.7)
    assert got.samples.shape == want.shape and np.abs(got.samples - want).max() <= step


def test_channels_are_averaged(tmp_path):
    left = clips.sweep(16000, 0.5)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([left, np.zeros_like(left)], 1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path).samples, left / 2, atol=1e-7)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_sound_that_starts_late_is_silence_before(tmp_path, ending):
    path = clips.write_clip(tmp_path / f"a.{ending}", frames=50, sound_start_s=0.3)
    got = read_audio(path).samples
    assert np.abs(got[:4000]).max() < 0.02
    assert abs(clips.lag_samples(got, clips.sweep(16000, 1.7)) - 4800) <= 16


def test_a_clip_has_sound_as_long_as_its_frames(tmp_path):
    clip = read_clip(clips.write_clip(tmp_path / "ein Zug é 说.mp4", frames=31, fps=30, rate=44100, channels=2))
    assert clip.name == "ein Zug é 说"
    assert len(clip.video.frames) == 26 and len(clip.audio.samples) == 26 * 640
    assert read_clip(clips.write_clip(tmp_path / "b.mp4", rate=None)).audio is None
    assert read_clip(clips.write_sound(tmp_path / "c.flac")).video is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_still_picture_is_one_frame_and_upright(tmp_path, orientation, ending):
    image = pytest.importorskip("PIL.Image", reason="Pillow (comes with torchmetrics' plots) writes the EXIF")
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24], picture[16:, :24] = (200, 0, 0), (0, 200, 0)
    exif = image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"a %03d.{ending}"  # a name, not a pattern
    image.fromarray(picture).save(path, exif=exif, quality=98)
    want = cv2.imread(str(path))[..., ::-1]
    for fps in (25.0, None):
        video = read_video(path, fps=fps)
        assert video.frames.shape == (1, *want.shape) and video.fps == 25
        assert np.abs(video.frames[0].astype(int) - want).mean() < 3
    info = probe(path)
    assert info.image and info.frames == 1 and info.duration_s == 0 and (info.height, info.width) == want.shape[:2]


def test_transparency_is_dropped(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (10, 14, 4), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), rgba)
    assert np.array_equal(read_video(tmp_path / "a.png").frames[0], rgba[..., 2::-1])


def test_a_black_video_is_black(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", frames=np.zeros((5, 32, 32, 3), np.uint8))
    assert read_video(path).frames.max() == 0 and read_video(path, gray=True).frames.max() == 0


@pytest.mark.parametrize("factor", [0.1, 10, 1000])
def test_a_header_with_a_wrong_duration_changes_nothing(tmp_path, factor):
    right = clips.write_clip(tmp_path / "a.mp4", frames=40)
    path = clips.state_wrong_duration(right, tmp_path / "b.mp4", factor)
    assert clips.frame_numbers(read_video(path).frames) == list(range(40))
    assert np.array_equal(read_audio(path).samples, read_audio(right).samples)
    assert (probe(path).frames, probe(path).duration_s, probe(path).truncated) == (40, 1.6, False)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_file_cut_in_the_middle_gives_what_is_there_and_says_so(tmp_path, ending, share):
    whole = clips.write_clip(tmp_path / f"a.{ending}", frames=100)
    path = clips.truncate(whole, tmp_path / f"b.{ending}", share)
    assert probe(path).truncated and not probe(whole).truncated
    with pytest.warns(MediaWarning, match="cut short"):
        numbers = clips.frame_numbers(read_video(path).frames)
    # the last frames may lack those they are predicted from
    assert numbers[:-3] == list(range(len(numbers) - 3)) and share * 70 < len(numbers) < 100
    with pytest.warns(MediaWarning, match="cut short"):
        samples = read_audio(path).samples
    assert clips.lag_samples(samples, clips.sweep(16000, 4)) == 0 and len(samples) < 64000


def test_a_file_cut_before_its_header_is_an_error(tmp_path):
    whole = clips.write_clip(tmp_path / "a.mp4", frames=50, faststart=False)
    path = clips.truncate(whole, tmp_path / "b.mp4", 0.6)
    for read in (probe, read_video, read_audio, read_clip):
        with pytest.raises(MediaError, match=r"b\.mp4: not a readable media file.*cut off"):
            read(path)


def test_damage_in_the_middle_is_skipped_in_time(tmp_path):
    path = clips.write_clip(tmp_path / "a.mov", frames=50, video_codec="png", pixel_format="rgb24", rate=None)
    content = bytearray(path.read_bytes())
    place = content.find(b"\x89PNG", len(content) // 2)
    content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.warns(MediaWarning, match="damaged"):
        numbers = clips.frame_numbers(read_video(path).frames)
    assert len(numbers) == 50 and sum(number != index for index, number in enumerate(numbers)) == 1


def test_streaming_equals_reading_in_constant_memory(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", frames=300, size=(320, 240), rate=44100)
    whole = read_video(path).frames
    assert all(np.array_equal(a, b) for a, b in zip(stream_frames(path), whole, strict=True))
    assert np.array_equal(np.concatenate(list(stream_audio(path))), read_audio(path).samples)
    tracemalloc.start()
    for _ in stream_frames(path):
        pass
    for _ in stream_audio(path):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * whole[0].nbytes


def test_an_abandoned_stream_closes_its_file(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", frames=30)
    for _ in range(3):
        frames = stream_frames(path)
        next(frames)
        frames.close()


@pytest.mark.parametrize("read", [probe, read_video, read_audio, read_clip])
def test_what_is_no_media_file_is_one_clear_error(tmp_path, read):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.txt").write_text("Not a video, but FFmpeg would show it as terminal art.\n" * 50)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://localhost:9/a.ts\n")
    for name, words in {
        "missing.mp4": "no such file",
        ".": "is a directory",
        "empty.mp4": "is empty",
        "notes.txt": "not a readable media file",
        "noise.mp4": "not a readable media file",
        "list.m3u8": "not a readable media file",
    }.items():
        with pytest.raises(MediaError, match=words) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))


def test_a_missing_stream_is_named(tmp_path):
    silent = clips.write_clip(tmp_path / "a.mp4", rate=None)
    with pytest.raises(MediaError, match="has no sound; expected an audio stream, got video"):
        read_audio(silent)
    blind = clips.write_clip(tmp_path / "b.mp4", frames=None)
    with pytest.raises(MediaError, match="has no video; expected a video stream, got audio"):
        read_video(blind)
    with pytest.raises(MediaError, match="has no video"):
        next(stream_frames(clips.write_sound(tmp_path / "c.wav")))


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips.write_clip(tmp_path / "a.mp4", frames=3).rename(tmp_path / "concat:x y.mp4")
    assert len(read_video("concat:x y.mp4").frames) == 3


@pytest.mark.parametrize("arguments", [{"fps": 0}, {"fps": -25.0}])
def test_impossible_rates_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match="positive"):
        read_video(clips.write_clip(tmp_path / "a.mp4", frames=3), **arguments)
    with pytest.raises(ValueError, match="positive"):
        read_audio(tmp_path / "a.mp4", rate=0)


def test_results_have_the_houses_types(tmp_path):
    clip = read_clip(clips.write_clip(tmp_path / "a.mp4"))
    assert isinstance(clip.audio, Audio) and clip.audio.samples.flags.c_contiguous
    assert clip.video.frames.dtype == np.uint8 and clip.video.frames.flags.c_contiguous
