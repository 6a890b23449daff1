"""Two dozen recordings as people have them, prepared in one run: each comes out right, or is named with its reason."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

from viseme.core.data import Manifest
from viseme.core.faces import landmarks4, track_faces
from viseme.core.media import read_audio, read_video
from viseme.core.prepare import PrepareReport, prepare
from viseme.core.testing import clips

WIDTH, HEIGHT = 240, 192


def portrait(number: int, side: int) -> np.ndarray:
    data = (files("viseme.core") / "synthetic" / "identities" / f"{number:02d}.jpg").read_bytes()
    picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def scene(count: int, *people: tuple[int, int, int], moves: float = 0.5, ground: int = 90) -> np.ndarray:
    """`count` pictures with people (identity, side, left) who sway."""
    out = np.full((count, HEIGHT, WIDTH, 3), ground, np.uint8)
    for number, side, left in people:
        face = portrait(number, side)
        for t in range(count):
            x = left + round(moves * t)
            out[t, 20 : 20 + side, x : x + side] = face[: HEIGHT - 20, : max(0, WIDTH - x)]
    return out


ONE = (3, 150, 40)


def spoken(count: int, begin: int, end: int) -> np.ndarray:
    """Sound of a tone from frame `begin` to `end`, silence before and after."""
    samples = np.zeros(count * 640, np.float32)
    samples[begin * 640 : end * 640] = 0.4 * np.sin(np.arange((end - begin) * 640) * 0.3)
    return samples


def upside(quarter_turns: int) -> Callable[[Path], object]:
    """A recording of a telephone held otherwise: pictures lie, and the file says how to turn them."""

    def make(path: Path) -> object:
        lying = np.ascontiguousarray(np.rot90(scene(20, ONE), -quarter_turns, axes=(1, 2)))
        return clips.write_clip(path, frames=lying, rotation=90 * quarter_turns)

    return make


def variable(path: Path) -> object:
    gaps = [0.04, 0.02, 0.06, 0.1, 0.03] * 6
    return clips.write_clip(path, frames=scene(30, ONE), times_s=list(np.cumsum([0.0, *gaps[:-1]])))


def cut(path: Path) -> object:
    """The speaker for two seconds, then a wide picture without anybody."""
    wide = np.random.default_rng(0).integers(0, 255, (12, HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    wide = np.stack([cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST) for picture in wide])
    return clips.write_clip(path, frames=np.concatenate([scene(40, ONE), wide]))


def returns(path: Path) -> object:
    pictures = scene(50, ONE, moves=0.2)
    pictures[18:26] = 90
    return clips.write_clip(path, frames=pictures)


def blinks(path: Path) -> object:
    pictures = scene(40, ONE)
    pictures[:4], pictures[20:23] = 0, 0
    return clips.write_clip(path, frames=pictures)


def wrong_duration(path: Path) -> object:
    clips.write_clip(path.with_suffix(".right.mp4"), frames=scene(20, ONE))
    made = clips.state_wrong_duration(path.with_suffix(".right.mp4"), path, 7.5)
    path.with_suffix(".right.mp4").unlink()
    return made


def truncated(path: Path) -> object:
    clips.write_clip(path.with_suffix(".whole.mp4"), frames=scene(60, ONE), sound=spoken(60, 0, 60))
    clips.truncate(path.with_suffix(".whole.mp4"), path, 0.6)
    return path.with_suffix(".whole.mp4").unlink()


def plain(count: int = 20, people: tuple[tuple[int, int, int], ...] = (ONE,), **options) -> Callable[[Path], object]:
    return lambda path: clips.write_clip(path, frames=scene(count, *people), **options)


GOOD: dict[str, tuple[Callable[[Path], object], int | range]] = {
    "turned 90.mp4": (upside(1), 20),
    "turned 180.mp4": (upside(2), 20),
    "turned 270.mp4": (upside(3), 20),
    "variable rate.mp4": (variable, range(36, 40)),
    "sixty.mp4": (plain(48, fps=60), 20),
    "ntsc.mov": (plain(30, fps=Fraction(30000, 1001)), 25),
    "slow.mkv": (plain(10, fps=12.5), 20),
    "two people.mp4": (plain(20, ((0, 120, 2), (1, 70, 150))), 20),
    "leaves and returns.mp4": (returns, 50),
    "cut.mp4": (cut, 52),
    "black frames.mp4": (blinks, 40),
    "no sound.mp4": (plain(rate=None), 20),
    "long silence.mp4": (plain(100, sound=spoken(100, 80, 90)), 100),
    "sound begins late.mp4": (plain(40, sound=spoken(30, 0, 30), sound_start_s=0.4), 40),
    "sound ends early.mp4": (plain(40, sound=spoken(10, 0, 10)), 40),
    "wrong duration.mp4": (wrong_duration, 20),
    "Überfall - 日本語 🎬 'q' \"d\", 50%.mp4": (plain(), 20),
    "odd.mp4": (lambda p: clips.write_clip(p, frames=scene(20, ONE)[:, :190, :238], pixel_format="yuv420p"), 20),
    "ten bits.mkv": (plain(pixel_format="yuv420p10le"), 20),
    "full chroma.mp4": (plain(pixel_format="yuv444p"), 20),
    "vp8.webm": (plain(video_codec="libvpx", audio_codec="libopus", rate=48000), 20),
    "mpeg2.mpg": (plain(video_codec="mpeg2video", audio_codec="mp2", rate=48000), 20),
    "sub.folder/../dots/a.b.c.avi": (plain(audio_codec="pcm_s16le"), 20),
    "surround.mp4": (plain(channels=6, rate=48000), 20),
    "cut short.mp4": (truncated, range(15, 59)),
}
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.mp4": (lambda p: p.write_bytes(b""), "empty"),
    "text.mp4": (lambda p: p.write_text("not a film"), "not a readable media file"),
    "nobody.mp4": (plain(20, ()), "no face in any frame"),
    "sound alone.mp4": (lambda p: clips.write_clip(p, frames=None), "no video"),
    "hardly seen.mp4": (lambda p: clips.write_clip(p, frames=np.concatenate([scene(9, ONE), scene(40)])), "too rarely"),
    "header lost.mp4": (lambda p: clips.truncate(clips.write_clip(p, frames=scene(9, ONE)), p, 0.01), "no video"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[Path, PrepareReport]:
    root = tmp_path_factory.mktemp("torture")
    for name, (make, _) in {**GOOD, **BAD}.items():
        path = (root / "in" / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        (root / "in" / "sub.folder").mkdir(exist_ok=True)
        make(path)
    return root, prepare(root / "in", root / "store", workers=2, crops="mouth,face")


def clip_id(name: str) -> str:
    return str(Path(name.replace("sub.folder/../", "")).with_suffix(""))


@pytest.mark.parametrize("name", GOOD)
def test_it_comes_out_right(prepared: tuple[Path, PrepareReport], name: str):
    root, report = prepared
    row = next((row for row in report.manifest if row.id == clip_id(name)), None)
    assert row is not None, report.failures.get(clip_id(name))
    frames = read_video(report.manifest.file(row), fps=None).frames
    expected = GOOD[name][1]
    assert len(frames) == row.frames
    assert row.frames == expected if isinstance(expected, int) else row.frames in expected
    assert frames.shape[1:] == (96, 96, 3)
    if name == "no sound.mp4":
        assert not row.samples and row.extra["note"] == "no audio"
    else:
        assert row.samples == row.frames * 640 == len(read_audio(report.manifest.audio_file(row)).samples)
    faces = sorted((root / "store" / row.extra["face_path"]).glob("*.jpg"), key=lambda p: int(p.stem))
    face = read_video(faces[len(faces) // 4], fps=None).frames[0]
    (track,) = track_faces([cv2.copyMakeBorder(face, 60, 60, 60, 60, cv2.BORDER_REPLICATE)])
    points = landmarks4(track.landmarks[0])
    assert points[3, 1] > points[:2, 1].max() + 0.15 * face.shape[0]  # upright: the mouth is below the eyes


@pytest.mark.parametrize("name", BAD)
def test_it_is_named_with_its_reason(prepared: tuple[Path, PrepareReport], name: str):
    root, report = prepared
    assert BAD[name][1] in report.failures[clip_id(name)]
    with (root / "store" / "failures.csv").open(encoding="utf-8", newline="") as file:
        assert any(line["path"].endswith(name) for line in csv.DictReader(file))


def test_nothing_is_lost_and_a_second_run_does_nothing(prepared: tuple[Path, PrepareReport]):
    root, report = prepared
    assert len(report.manifest) == len(GOOD) and len(report.failures) == len(BAD)
    again = prepare(root / "in", root / "store", workers=1, crops="mouth,face")
    assert again.reused == len(GOOD) and again.manifest == report.manifest
    assert not any((root / "store" / ".prepare" / "partial").rglob("*.part*"))


def test_sound_stays_where_its_times_put_it(prepared: tuple[Path, PrepareReport]):
    _, report = prepared

    def heard(name: str) -> tuple[float, float]:
        row = next(row for row in report.manifest if row.id == name)
        loud = np.flatnonzero(np.abs(read_audio(report.manifest.audio_file(row)).samples) > 0.2) / 640
        return float(loud[0]), float(loud[-1])

    assert heard("long silence") == pytest.approx((80, 90), abs=1)
    assert heard("sound begins late") == pytest.approx((10, 40), abs=1)
    assert heard("sound ends early") == pytest.approx((0, 10), abs=1)


def test_the_right_face_and_only_it(prepared: tuple[Path, PrepareReport]):
    """Of two people the larger; a face that returns is the same; after a cut the track has ended."""
    root, report = prepared
    rows = {row.id: row for row in report.manifest}
    numbers = {int(p.stem) for p in (root / "store" / rows["cut"].extra["face_path"]).glob("*.jpg")}
    assert set(range(38)) <= numbers and not numbers & set(range(41, 52))
    assert 6 <= int(rows["leaves and returns"].extra["face_missing_frames"]) <= 10
    assert float(rows["two people"].extra["face_px"]) > 75  # not the small one
    assert 0 < int(rows["black frames"].extra["face_missing_frames"]) <= 9


def test_ids_that_occur_twice_are_refused(tmp_path: Path):
    clips.write_clip(tmp_path / "a.mp4", frames=scene(9, ONE))
    table = "id,path\nx,a.mp4\nx,a.mp4\n"
    (tmp_path / "m.csv").write_text(table)
    with pytest.raises(Exception, match="unique"):
        prepare(tmp_path / "m.csv", tmp_path / "s")


def test_files_of_one_name_in_two_formats_are_two_clips(tmp_path: Path):
    clips.write_clip(tmp_path / "a.mp4", frames=scene(9, ONE))
    shutil.copy(tmp_path / "a.mp4", tmp_path / "a.mov")
    report = prepare(tmp_path, tmp_path / "s", workers=1)
    assert [row.id for row in report.manifest] == ["a.mov", "a.mp4"]
    assert isinstance(report.manifest, Manifest)
