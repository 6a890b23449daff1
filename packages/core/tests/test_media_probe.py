from __future__ import annotations

import pytest

from viseme.core.errors import MediaError
from viseme.core.media import probe
from viseme.core.testing import clips


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("fps", [24, 25, 29.97002997, 30, 60])
def test_frames_and_rate_are_counted(tmp_path, ending, fps):
    info = probe(clips.write_clip(tmp_path / f"a.{ending}", frames=47, fps=fps, rate=44100, channels=2))
    assert info.has_video and info.has_audio and not info.truncated and not info.image
    assert info.frames == 47 and info.fps == pytest.approx(fps, rel=2e-3) and not info.variable_fps
    assert info.duration_s == pytest.approx(47 / fps, rel=5e-3)
    assert (info.width, info.height, info.rate, info.channels) == (96, 64, 44100, 2)
    assert (info.video_codec, info.audio_codec) == ("h264", "aac")


def test_an_average_rate_that_hides_gaps_is_called_variable(tmp_path):
    times_s = [i / 25 for i in range(40) if i not in (7, 8, 21)]
    info = probe(clips.write_clip(tmp_path / "a.mp4", frames=37, times_s=times_s))
    assert info.variable_fps and info.fps == pytest.approx(37 / 1.6)


@pytest.mark.parametrize("name, options", [("a.wav", {}), ("a.flac", {}), ("a.ogg", {"subtype": "VORBIS"})])
def test_sound_files(tmp_path, name, options):
    info = probe(clips.write_sound(tmp_path / name, rate=22050, channels=2, duration_s=3, **options))
    assert info.has_audio and not info.has_video and info.frames == 0 and info.fps == 0
    assert info.duration_s == pytest.approx(3, abs=0.05) and (info.rate, info.channels) == (22050, 2)


def test_streams_that_are_not_there(tmp_path):
    info = probe(clips.write_clip(tmp_path / "a.mp4", rate=None))
    assert not info.has_audio and (info.rate, info.channels, info.audio_codec) == (0, 0, "")


def test_subtitles_alone_are_no_recording(tmp_path):
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with pytest.raises(MediaError, match="not a readable media file"):
        probe(tmp_path / "a.srt")
