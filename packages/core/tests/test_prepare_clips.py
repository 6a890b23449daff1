"""`prepare` on single clips: what the store holds, and what bad inputs give. Faces are generated people on a canvas."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import ConfigError, DataError
from viseme.core.faces import landmarks4, landmarks68, track_faces, write_landmarks
from viseme.core.media import probe, read_audio, read_video, write_audio, write_video
from viseme.core.prepare import prepare
from viseme.core.prepare.crops import LIPS_SHARE
from viseme.core.testing import clips
from viseme.core.types import Audio, Video

HEIGHT, WIDTH = 240, 320


def portrait(number: int, side: int = 160) -> np.ndarray:
    data = (files("viseme.core") / "synthetic" / "identities" / f"{number:02d}.jpg").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


def frames(count: int, *placed: tuple[int, int, int], missing: range = range(0)) -> np.ndarray:
    """`count` pictures with faces (identity, side, left), which drift; without any in `missing`."""
    out = np.full((count, HEIGHT, WIDTH, 3), 90, np.uint8)
    for number, side, left in placed:
        face = portrait(number, side)
        for t in range(count):
            if t not in missing:
                out[t, 40 : 40 + side, left + t % 20 : left + t % 20 + side] = face[: HEIGHT - 40]
    return out


def tone(seconds: float, rate: int = 16000) -> Audio:
    return Audio((0.3 * np.sin(np.arange(round(seconds * rate)) * 0.1)).astype(np.float32), rate)


def record(path: Path, pictures: np.ndarray, fps: float = 25.0, sound: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, Video(pictures, fps), tone(len(pictures) / fps, 44100) if sound else None)
    return path


def failures(store: Path) -> dict[str, str]:
    with (store / "failures.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


def one(tmp_path: Path, path: Path, **options):
    """Prepare a single file; its row."""
    rows = [ManifestRow("clip", path.name)]
    return prepare(Manifest(rows, path.parent), tmp_path / "store", workers=1, **options).manifest[0]


def test_the_store_holds_crops_sound_and_manifest(tmp_path: Path):
    record(tmp_path / "src" / "test" / "é ü" / "00001.mp4", frames(20, (3, 160, 60)))
    (tmp_path / "src" / "test" / "é ü" / "00001.txt").write_text("Text:  HELLO WORLD\nConf:  4\n", encoding="utf-8")
    report = prepare(tmp_path / "src", tmp_path / "store", workers=1)
    (row,) = report.manifest
    assert row.text == "HELLO WORLD"
    assert (row.frames, row.fps, row.samples, row.rate) == (20, 25.0, 20 * 640, 16000)
    assert row.path == "mouth/test/é ü/00001.mp4" and row.audio == "audio/test/é ü/00001.flac"
    crops = read_video(report.store / row.path, fps=None)
    assert crops.frames.shape == (20, 96, 96, 3) and crops.fps == 25
    sound = read_audio(report.store / row.audio)
    assert len(sound.samples) == 20 * 640 and 0.1 < np.abs(sound.samples).max() < 0.5
    assert Manifest.read(report.manifest_file) == report.manifest
    assert failures(report.store) == {} and report.failures == {} and report.frames == 20
    sheet = cv2.imread(str(report.contact_sheet))
    assert sheet.shape == (18 + 96, 12 * 96, 3)


@pytest.mark.parametrize("variant", ["mediapipe", "retinaface"])
def test_crops_are_mouths(tmp_path: Path, variant: str):
    """The mouth of the crop lies where the mean face has it, whatever the size of the face."""
    row = one(tmp_path, record(tmp_path / "a.mp4", frames(12, (3, 190, 60))), variant=variant)
    crop = read_video(tmp_path / "store" / row.path, fps=None).frames[6]
    original = frames(12, (3, 190, 60))[6]
    (track,) = track_faces([original])
    eyes = landmarks4(track.landmarks[0])
    scale = np.linalg.norm(eyes[0] - eyes[1]) / 54.0  # inter-ocular distance of the mean face
    side = round(96 * scale)
    x, y = np.round(eyes[3] - side / 2).astype(int)
    expected = cv2.resize(original[y : y + side, x : x + side], (96, 96), interpolation=cv2.INTER_LINEAR)
    found = cv2.minMaxLoc(cv2.matchTemplate(crop, expected[28:68, 18:78], cv2.TM_CCOEFF_NORMED))
    assert found[1] > 0.8
    assert np.abs(np.subtract(found[3], (18, 28))).max() <= 6


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_other_rates_come_out_at_25(tmp_path: Path, fps: float):
    row = one(tmp_path, record(tmp_path / "a.mp4", frames(round(fps), (3, 160, 60)), fps=fps))
    assert row.frames in (25, 26) and row.samples == row.frames * 640


def test_a_portrait_recording_is_turned_upright(tmp_path: Path):
    """Stored lying, with a rotation in its header, as telephones do."""
    pictures = frames(12, (3, 160, 60))
    lying = np.ascontiguousarray(np.rot90(pictures, -1, axes=(1, 2)))
    clips.write_clip(tmp_path / "a.mp4", frames=lying, rotation=90)
    turned = one(tmp_path, tmp_path / "a.mp4")
    record(tmp_path / "b.mp4", pictures)
    prepare(Manifest([ManifestRow("clip", "b.mp4")], tmp_path), tmp_path / "plain", workers=1)
    a, b = (read_video(s / turned.path, fps=None).frames for s in (tmp_path / "store", tmp_path / "plain"))
    assert turned.frames == 12 and np.abs(a.astype(int) - b).mean() < 6


def test_no_audio_is_said_and_prepared(tmp_path: Path):
    row = one(tmp_path, record(tmp_path / "a.mp4", frames(12, (3, 160, 60)), sound=False))
    assert row.samples == 0 and row.audio == "" and row.extra["note"] == "no audio"


def test_sound_in_a_file_of_its_own(tmp_path: Path):
    record(tmp_path / "src" / "a.mp4", frames(12, (3, 160, 60)), sound=False)
    write_audio(tmp_path / "src" / "a.wav", tone(2.0))
    (row,) = prepare(tmp_path / "src", tmp_path / "store", workers=1).manifest
    assert row.samples == 12 * 640 and "note" not in row.extra


def test_a_part_of_a_file(tmp_path: Path):
    record(tmp_path / "a.mp4", frames(30, (3, 160, 60)))
    rows = [ManifestRow("first", "a.mp4", end_s=0.4), ManifestRow("second", "a.mp4", start_s=0.4, end_s=1.2)]
    report = prepare(Manifest(rows, tmp_path), tmp_path / "store", workers=1)
    assert [(r.frames, r.samples, r.start_s, r.end_s) for r in report.manifest] == [
        (10, 6400, None, None),
        (20, 12800, None, None),
    ]


def test_a_face_lost_for_a_moment_is_interpolated(tmp_path: Path):
    row = one(tmp_path, record(tmp_path / "a.mp4", frames(24, (3, 160, 60), missing=range(10, 15))))
    assert row.frames == 24
    assert 4 <= int(row.extra["face_missing_frames"]) <= 6 and "longest_gap_frames" not in row.extra


def test_all_crops_come_from_one_decode(tmp_path: Path, monkeypatch):
    """Every package's crops at once are what each alone would be, and the video is decoded once."""
    from viseme.core.prepare import clip as module

    decoded = []
    stream = module.stream_pictures
    monkeypatch.setattr(module, "stream_pictures", lambda *a, **k: decoded.append(a) or stream(*a, **k))
    record(tmp_path / "main" / "a.mp4", frames(30, (3, 160, 60)))
    clips_in = Manifest([ManifestRow("main/spk/a", "main/a.mp4", split="val")], tmp_path)
    kinds = ("mouth", "mouth68", "lips", "face")
    row = prepare(clips_in, tmp_path / "store", workers=1, crops=kinds).manifest[0]
    assert len(decoded) == 1
    assert row.path == "mouth/main/spk/a.mp4"
    assert {k: v for k, v in row.extra.items() if k.endswith("_path")} == {
        "mouth68_path": "mouth68/main/spk/a.mp4",
        "lips_path": "lips/main/spk/a.mp4",
        "face_path": "face/main/spk/a",
    }
    for kind in kinds[:3]:
        alone = prepare(clips_in, tmp_path / kind, workers=1, crops=kind).manifest[0]
        assert alone.path == f"{kind}/main/spk/a.mp4"
        assert (tmp_path / "store" / alone.path).read_bytes() == (tmp_path / kind / alone.path).read_bytes()
    assert read_video(tmp_path / "store" / row.extra["lips_path"]).frames.shape == (30, 112, 112, 3)

    faces = tmp_path / "store" / "face" / "main" / "spk" / "a"
    assert sorted(int(p.stem) for p in faces.glob("*.jpg")) == list(range(30))
    assert read_audio(faces / "audio.wav").samples.shape == (30 * 640,)
    assert (tmp_path / "store/face/filelists/val.txt").read_text() == "main/spk/a\n"
    (again,) = track_faces([cv2.copyMakeBorder(read_video(faces / "5.jpg", fps=None).frames[0], *[60] * 4, 1)])
    assert len(again) == 1  # a whole face

    line = (tmp_path / "store/lips/preprocess_main.txt").read_text()
    name, values = line.strip().split(".mp4:")
    centres = np.array(values.split("/"), int).reshape(-1, 2)
    (track,) = track_faces(read_video(tmp_path / "main/a.mp4").frames)
    assert name == "spk/a" and centres.shape == (30, 2)
    assert np.abs(centres - np.stack([landmarks4(mesh)[3] for mesh in track.landmarks])).mean() < 1.5


def test_lips_are_in_the_middle_of_their_crop_at_the_published_scale(tmp_path: Path):
    row = one(tmp_path, record(tmp_path / "a.mp4", frames(20, (5, 180, 40))), crops="lips")
    source = track_faces(read_video(tmp_path / "a.mp4").frames)[0].landmarks[10]
    crop = read_video(tmp_path / "store" / row.path).frames[10]
    side = LIPS_SHARE * float((source.max(0) - source.min(0)).mean())
    left, top = np.round(landmarks4(source)[3] - side / 2).astype(int)
    picture = read_video(tmp_path / "a.mp4").frames[10][top : top + round(side), left : left + round(side)]
    expected = cv2.resize(picture, (112, 112), interpolation=cv2.INTER_LINEAR)
    assert np.abs(crop.astype(int) - expected).mean() < 8
    assert abs(side / (source.max(0) - source.min(0)).mean() - 0.7) < 1e-9


def test_faces_leave_gaps_where_there_is_none(tmp_path: Path):
    one(tmp_path, record(tmp_path / "a.mp4", frames(60, (3, 160, 60), missing=range(20, 40))), crops="face")
    numbers = {int(p.stem) for p in (tmp_path / "store/face/clip").glob("*.jpg")}
    assert set(range(18)) <= numbers and not numbers & set(range(22, 38)) and 58 in numbers


def test_landmarks_made_elsewhere_suit_some_crops_only(tmp_path: Path):
    record(tmp_path / "a.mp4", frames(20, (3, 160, 60)))
    (track,) = track_faces(read_video(tmp_path / "a.mp4").frames)
    write_landmarks(tmp_path / "marks" / "clip.npz", [landmarks68(mesh) for mesh in track.landmarks])
    given = {"landmarks": tmp_path / "marks", "variant": "retinaface"}
    row = one(tmp_path, tmp_path / "a.mp4", crops="mouth,mouth68", **given)
    assert row.path == "mouth/clip.mp4" and row.extra["mouth68_path"] == "mouth68/clip.mp4"
    with pytest.raises(DataError, match="do not suit the face crop"):
        prepare(tmp_path / "a.mp4", tmp_path / "other", crops="face", workers=1, landmarks=named(tmp_path, "a"))


def named(folder: Path, name: str) -> Path:
    (folder / "marks" / f"{name}.npz").write_bytes((folder / "marks" / "clip.npz").read_bytes())
    return folder / "marks"


def test_a_long_gap_is_reported(tmp_path: Path):
    pictures = frames(40, (3, 160, 60), missing=range(15, 27))
    row = one(tmp_path, record(tmp_path / "a.mp4", pictures), long_gap_s=0.4)
    assert 11 <= int(row.extra["longest_gap_frames"]) <= 13


def test_a_face_seen_too_rarely_is_refused(tmp_path: Path):
    path = record(tmp_path / "a.mp4", frames(24, (3, 160, 60), missing=range(8, 24)))
    with pytest.raises(DataError, match="seen too rarely"):
        one(tmp_path, path)
    assert "of 24 frames" in failures(tmp_path / "store")["clip"]


def test_several_people(tmp_path: Path):
    path = record(tmp_path / "a.mp4", frames(8, (0, 150, 0), (1, 90, 200)))
    large = one(tmp_path, path)
    first = read_video(tmp_path / "store" / large.path, fps=None).frames
    second_row = prepare(Manifest([large.__class__("clip", path.name)], tmp_path), tmp_path / "two", workers=1, face=2)
    second = read_video(tmp_path / "two" / second_row.manifest[0].path, fps=None).frames
    assert np.abs(first.astype(int) - second).mean() > 5
    with pytest.raises(DataError, match="from 1 to 2"):
        prepare(Manifest([ManifestRow("clip", path.name)], tmp_path), tmp_path / "three", workers=1, face=3)


def test_given_landmarks_are_used_instead_of_detection(tmp_path: Path):
    pictures = frames(12, (3, 160, 60))
    path = record(tmp_path / "a.mp4", pictures)
    (track,) = track_faces(pictures)
    write_landmarks(tmp_path / "marks" / "clip.npz", [landmarks4(mesh) for mesh in track.landmarks])
    given = one(tmp_path, path, landmarks=tmp_path / "marks")
    found = prepare(Manifest([ManifestRow("clip", "a.mp4")], tmp_path), tmp_path / "found", workers=1, mesh_stride=1)
    a, b = (read_video(s / "mouth" / "clip.mp4", fps=None).frames for s in (tmp_path / "store", tmp_path / "found"))
    assert given.frames == found.manifest[0].frames
    assert np.abs(a.astype(int) - b).mean() < 3


def test_landmarks_that_do_not_fit(tmp_path: Path):
    path = record(tmp_path / "a.mp4", frames(12, (3, 160, 60)))
    write_landmarks(tmp_path / "marks" / "clip.npz", [np.ones((4, 2))] * 30)
    with pytest.raises(DataError, match="landmarks do not fit the video"):
        one(tmp_path, path, landmarks=tmp_path / "marks")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no landmarks for this clip"):
        prepare(
            Manifest([ManifestRow("clip", "a.mp4")], tmp_path), tmp_path / "b", workers=1, landmarks=tmp_path / "none"
        )


def test_a_clip_too_long_to_hold_is_decoded_twice_to_the_same_crops(tmp_path: Path, monkeypatch):
    path = record(tmp_path / "a.mp4", frames(12, (3, 160, 60)))
    one(tmp_path, path)
    monkeypatch.setattr("viseme.core.prepare.clip._HELD_BYTES", 3 * HEIGHT * WIDTH * 3)
    prepare(Manifest([ManifestRow("clip", "a.mp4")], tmp_path), tmp_path / "again", workers=1)
    assert (tmp_path / "again/mouth/clip.mp4").read_bytes() == (tmp_path / "store/mouth/clip.mp4").read_bytes()


def test_the_report_shows_what_is_there(tmp_path: Path):
    """Counts, reasons, distributions, and clips with crops and a plot; names are text, never markup."""
    record(tmp_path / "a & <b>.mp4", frames(30, (3, 160, 60)))
    record(tmp_path / "silent.mp4", frames(30, (5, 160, 60)), sound=False)
    record(tmp_path / "nobody.mp4", frames(20))
    report = prepare(tmp_path, tmp_path / "store", workers=1)
    page = report.report.read_text(encoding="utf-8")
    assert "a &amp; &lt;b&gt;" in page and "<b>.mp4" not in page and "<script" not in page and "http" not in page
    assert "no face in any frame" in page and "<th>clips<td>2" in page and "<th>without sound<td>1" in page
    assert page.count("data:image/jpeg") == 2 and page.count("class=wave") == 1 and page.count("class=lips") == 2
    assert page.count("<figure>") == 4
    row = next(row for row in report.manifest if row.id == "silent")
    assert float(row.extra["face_px"]) == pytest.approx(115, abs=25) and abs(float(row.extra["turn"])) < 0.5
    assert row.extra["source_fps"] == "25" and "mouth_opening" not in row.extra
    again = prepare(tmp_path, tmp_path / "store", workers=1)
    assert again.reused == 2 and again.report.read_text(encoding="utf-8") == page


def test_bad_clips_are_named_and_do_not_stop_the_good_one(tmp_path: Path):
    src = tmp_path / "src"
    good = record(src / "good.mp4", frames(30, (3, 160, 60)))
    record(src / "noface.mp4", frames(8))
    (src / "text.mp4").write_text("no video at all")
    (src / "empty.mp4").write_bytes(b"")
    (src / "broken.mp4").write_bytes(good.read_bytes()[:300])
    write_audio(src / "sound.wav", tone(1.0))
    cv2.imwrite(str(src / "picture.png"), frames(1, (3, 160, 60))[0])
    names = ["good.mp4", "noface.mp4", "text.mp4", "empty.mp4", "broken.mp4", "sound.wav", "picture.png", "absent.mp4"]
    rows = [ManifestRow(Path(name).stem, name) for name in names] + [ManifestRow("../out", "good.mp4")]
    report = prepare(Manifest(rows, src), tmp_path / "store", workers=1)
    assert [row.id for row in report.manifest] == ["good"]
    reasons = failures(tmp_path / "store")
    assert set(reasons) == {row.id for row in rows} - {"good"}
    assert reasons["noface"] == "no face in any frame"
    assert "no video" in reasons["sound"] and "no video" in reasons["picture"]
    assert "no such file" in reasons["absent"]
    assert "cannot be a path" in reasons["../out"]
    assert not any("unexpected" in reason for reason in reasons.values())
    assert not (tmp_path / "out.mp4").exists()


def test_a_truncated_recording_is_prepared_as_far_as_it_goes_and_says_so(tmp_path: Path):
    whole = record(tmp_path / "whole.mp4", frames(60, (3, 160, 60)), sound=False).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    row = one(tmp_path, tmp_path / "cut.mp4")
    assert probe(tmp_path / "cut.mp4").truncated
    assert 10 < row.frames < 60 and "cut short" in row.extra["note"]


@pytest.mark.parametrize(
    "options",
    [
        {"crops": "ears"},
        {"crops": ()},
        {"variant": "dlib"},
        {"stride": 0},
        {"face": 0},
        {"min_visible": 2},
        {"workers": 0},
        {"landmarks": "nowhere"},
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict):
    with pytest.raises(ConfigError):
        prepare(Manifest([ManifestRow("a", "a.mp4")], tmp_path), tmp_path / "store", **options)


def test_what_the_reader_left_out_is_in_the_list_of_failures(tmp_path: Path):
    record(tmp_path / "in" / "a.mp4", frames(12, (3, 160, 60)))
    (tmp_path / "in" / "transcripts.csv").write_text("path,text\na.mp4,hello\nb.mp4,gone\n")
    report = prepare(tmp_path / "in", tmp_path / "store", workers=1)
    assert not report.failures and report.manifest[0].text == "hello"
    assert "no such file" in failures(tmp_path / "store")[""]


def test_nothing_to_prepare(tmp_path: Path):
    with pytest.raises(DataError):
        prepare(Manifest([], tmp_path), tmp_path / "store")
