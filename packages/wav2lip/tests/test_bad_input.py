"""What users give by mistake: one clear error and exit code 2, or a documented way to go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from viseme.core.data import Manifest
from viseme.core.media import probe, read_audio, read_video, write_video
from viseme.core.testing.clips import truncate, write_clip, write_sound
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.types import Audio, Video
from viseme.wav2lip.cli import app
from viseme.wav2lip.models import GeneratorConfig, Wav2LipGenerator
from viseme.wav2lip.weights import save_network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained: whether it runs is all that matters here."""
    config = GeneratorConfig((4, 6, 8, 16), (0, 0, 0, 0), (16, 12, 10, 8, 8), (0, 0, 0, 0, 0), (4, 4, 8, 8, 16), 4)
    return save_network(tmp_path_factory.mktemp("model") / "model", "generator", Wav2LipGenerator(config))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound(tmp_path_factory.mktemp("sound") / "talk.wav", duration_s=1.0)


def command(face: Path, audio: Path, model: Path, out: Path, *flags: object) -> list[object]:
    common = ["sync", "--face", face, "--audio", audio, "--model", model, "--out", out]
    return [*common, "--device", "cpu", "--no-silence-gate", *flags]


def report(*words: object) -> dict:
    outcome = run_command(app, [*command(*words), "--json"])  # type: ignore[arg-type]
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


# ----------------------------------------------------------------------------------------------------------- faces


def test_no_face(model: Path, sound: Path, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "no face.mp4", frames=20)
    check_user_error(app, command(path, sound, model, tmp_path / "o.mp4"), "no face.mp4", "no face in any frame")
    assert not (tmp_path / "o.mp4").exists() and not list(tmp_path.glob(".*"))


def test_face_that_leaves_is_passed_through(model: Path, talking: Path, tmp_path: Path) -> None:
    frames = read_video(talking).frames[:45].copy()
    frames[20:40] = 90
    write_video(tmp_path / "leaves.mp4", Video(frames, 25.0), Audio(read_audio(talking).samples[:28800], 16000))
    made = report(tmp_path / "leaves.mp4", tmp_path / "leaves.mp4", model, tmp_path / "o.mp4")
    assert made["passed"] and made["passed"][0][0] <= 21 and made["passed"][0][1] >= 38
    assert 0 < made["synced"] < made["frames"]
    assert any("no face" in note for note in made["notes"])
    grey = read_video(tmp_path / "o.mp4").frames[25:35]
    assert np.abs(grey.astype(int) - 90).max() < 6  # as it was


def test_face_lost_for_a_moment_is_followed(model: Path, talking: Path, tmp_path: Path) -> None:
    frames = read_video(talking).frames[:30].copy()
    frames[12:15] = frames[12:15] // 8 + 100
    write_video(tmp_path / "blink.mp4", Video(frames, 25.0), Audio(read_audio(talking).samples[:19200], 16000))
    made = report(tmp_path / "blink.mp4", tmp_path / "blink.mp4", model, tmp_path / "o.mp4")
    assert made["synced"] == made["frames"]


def test_several_faces(model: Path, sound: Path, embedded_corpus: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    speakers = {row.speaker: manifest.file(row) for row in manifest}
    left, right = (read_video(path).frames[:26] for path in list(speakers.values())[:2])
    write_video(tmp_path / "two.mp4", Video(np.concatenate([left, right], axis=2), 25.0))
    changed = []
    for number in (1, 2):
        out = tmp_path / f"{number}.mp4"
        made = report(tmp_path / "two.mp4", sound, model, out, "--speaker", number)
        assert any("2 faces" in note for note in made["notes"])
        before, after = (read_video(path).frames[:25].astype(int) for path in (tmp_path / "two.mp4", out))
        change = np.abs(after - before).mean(axis=(0, 3))
        changed.append(int(change[:, : change.shape[1] // 2].max() > change[:, change.shape[1] // 2 :].max()))
    assert sorted(changed) == [0, 1]  # each time the other one
    check_user_error(
        app, command(tmp_path / "two.mp4", sound, model, tmp_path / "o.mp4", "--speaker", 7), "no such face"
    )


# ----------------------------------------------------------------------------------------------------------- sound


def test_video_without_sound(model: Path, talking: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "mute.mp4", read_video(talking))
    check_user_error(app, command(talking, tmp_path / "mute.mp4", model, tmp_path / "o.mp4"), "mute.mp4", "no sound")


def test_sound_without_pictures(model: Path, sound: Path, tmp_path: Path) -> None:
    check_user_error(app, command(sound, sound, model, tmp_path / "o.mp4"), "talk.wav", "no pictures")


def test_empty_sound(model: Path, talking: Path, tmp_path: Path) -> None:
    empty = write_sound(tmp_path / "empty.wav", sound=np.zeros(0, np.float32))
    check_user_error(app, command(talking, empty, model, tmp_path / "o.mp4"), "empty.wav")
    tick = write_sound(tmp_path / "tick.wav", duration_s=0.005)
    check_user_error(app, command(talking, tick, model, tmp_path / "o.mp4"), "tick.wav", "too short")


def test_sound_shorter_than_a_window(model: Path, talking: Path, tmp_path: Path) -> None:
    short = write_sound(tmp_path / "short.wav", duration_s=0.1)
    assert report(talking, short, model, tmp_path / "o.mp4")["frames"] == 3


def test_silent_sound(model: Path, talking: Path, tmp_path: Path) -> None:
    silence = write_sound(tmp_path / "silence.wav", sound=np.zeros(16000, np.float32))
    made = report(talking, silence, model, tmp_path / "o.mp4")
    assert made["frames"] == 25 and any("silent" in note for note in made["notes"])


def test_samples_that_are_not_numbers(model: Path, talking: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    samples[5000:5010] = np.nan
    path = write_sound(tmp_path / "nan.wav", sound=samples, subtype="FLOAT")
    made = report(talking, path, model, tmp_path / "o.mp4")
    assert any("not numbers" in note for note in made["notes"])


@pytest.mark.parametrize("shape", [{"rate": 44100, "channels": 2}, {"rate": 8000, "subtype": "PCM_U8"}])
def test_any_sound_format(model: Path, talking: Path, tmp_path: Path, shape: dict) -> None:
    path = write_sound(tmp_path / "talk.wav", duration_s=0.6, **shape)
    assert report(talking, path, model, tmp_path / "o.mp4")["frames"] == 15
    assert probe(tmp_path / "o.mp4").rate == shape["rate"]  # the sound itself stays as good as it was


@pytest.mark.parametrize(
    ("loop", "frames"), [("pingpong", 50), ("loop", 50), ("hold", 50), ("stop", 12), ("spread", 50)]
)
def test_sound_longer_than_the_video(model: Path, talking: Path, tmp_path: Path, loop: str, frames: int) -> None:
    write_video(tmp_path / "short.mp4", Video(read_video(talking).frames[:12], 25.0))
    path = write_sound(tmp_path / "long.wav", duration_s=2.0)
    made = report(tmp_path / "short.mp4", path, model, tmp_path / "o.mp4", "--loop", loop)
    assert made["frames"] == probe(tmp_path / "o.mp4").frames == frames
    assert read_audio(tmp_path / "o.mp4").duration_s == pytest.approx(frames / 25, abs=0.1)


# -------------------------------------------------------------------------------------------------------- pictures


def test_odd_sizes(model: Path, sound: Path, talking: Path, tmp_path: Path) -> None:
    frame = read_video(talking).frames[0][:127, :125]
    cv2.imwrite(str(tmp_path / "odd.png"), frame[..., ::-1])
    report(tmp_path / "odd.png", sound, model, tmp_path / "o.mp4")
    info = probe(tmp_path / "o.mp4")
    assert (info.width, info.height) == (126, 128)


def test_huge_picture_is_scaled_down(model: Path, talking: Path, tmp_path: Path) -> None:
    frame = cv2.resize(read_video(talking).frames[0], (4200, 4200))
    cv2.imwrite(str(tmp_path / "huge.jpg"), frame[..., ::-1])
    tick = write_sound(tmp_path / "tick.wav", duration_s=0.04)
    report(tmp_path / "huge.jpg", tick, model, tmp_path / "o.mp4")
    assert probe(tmp_path / "o.mp4").width == 3840


def test_transparent_picture(model: Path, sound: Path, talking: Path, tmp_path: Path) -> None:
    frame = read_video(talking).frames[0]
    alpha = np.full(frame.shape[:2], 255, np.uint8)
    alpha[:10] = 0
    cv2.imwrite(str(tmp_path / "cut out.png"), np.dstack((frame[..., ::-1], alpha)))
    assert report(tmp_path / "cut out.png", sound, model, tmp_path / "o.mp4")["synced"] == 25


def test_variable_frame_rate(model: Path, talking: Path, tmp_path: Path) -> None:
    frames = read_video(talking).frames[:40]
    kept = [index for index in range(40) if index % 3 != 1]
    path = write_clip(tmp_path / "vfr.mp4", frames=frames[kept], times_s=[index / 25 for index in kept], rate=None)
    made = report(path, talking, model, tmp_path / "o.mp4", "--loop", "stop")
    assert made["fps"] == 25 and made["frames"] == pytest.approx(40, abs=2)
    assert any("varies" in note for note in made["notes"])


def test_rotated_video(model: Path, talking: Path, tmp_path: Path) -> None:
    frames = read_video(talking).frames[:20]
    turned = np.ascontiguousarray(np.rot90(frames, -1, (1, 2)))
    path = write_clip(tmp_path / "portrait.mp4", frames=turned, rotation=90, rate=None)
    assert report(path, talking, model, tmp_path / "o.mp4", "--loop", "stop")["synced"] == 20


def test_video_broken_in_the_middle(model: Path, talking: Path, tmp_path: Path) -> None:
    whole = read_video(talking).frames
    frames = np.concatenate([whole] * 3)
    write_clip(tmp_path / "whole.mp4", frames=frames, rate=None)
    path = truncate(tmp_path / "whole.mp4", tmp_path / "cut.mp4", 0.6)
    long = write_sound(tmp_path / "long.wav", duration_s=len(frames) / 25)
    made = report(path, long, model, tmp_path / "o.mp4", "--loop", "stop")
    assert 0.2 * len(frames) < made["frames"] < 0.95 * len(frames)
    assert any("cut short" in note for note in made["notes"])


def test_names_with_blanks_and_quotes(model: Path, sound: Path, talking: Path, tmp_path: Path) -> None:
    path = tmp_path / "le café à 5 €; rm -rf 'x'.mp4"
    shutil.copyfile(talking, path)
    assert report(path, sound, model, tmp_path / 'o "1".mp4')["frames"] == 25


# ------------------------------------------------------------------------------------------------- models, outputs


def test_output_that_cannot_be_written(model: Path, sound: Path, talking: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    check_user_error(app, command(talking, sound, model, tmp_path / "file" / "o.mp4"), "o.mp4")
    check_user_error(app, command(talking, sound, model, tmp_path / "o.gif"), "o.gif", ".mp4")
    (tmp_path / "folder.mp4").mkdir()
    check_user_error(app, command(talking, sound, model, tmp_path / "folder.mp4"), "is a folder")


def test_output_that_is_there_stays_if_the_run_fails(model: Path, sound: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    out.write_bytes(b"of yesterday")
    face = write_clip(tmp_path / "nobody.mp4", frames=5)
    check_user_error(app, command(face, sound, model, out), "no face")
    assert out.read_bytes() == b"of yesterday"


def test_no_model(sound: Path, talking: Path, tmp_path: Path) -> None:
    check_user_error(app, command(talking, sound, tmp_path / "none", tmp_path / "o.mp4"), "no such model directory")


@pytest.mark.parametrize("flags", [("--fps", 0), ("--batch-size", 0), ("--smooth", -1)])
def test_options_that_make_no_sense(model: Path, sound: Path, talking: Path, tmp_path: Path, flags: tuple) -> None:
    check_user_error(app, command(talking, sound, model, tmp_path / "o.mp4", *flags), "positive")


# -------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    ("override", "mention"),
    [
        ("optim.expert_mode=frozen", "expert_mode"),
        ("optim.sync_weight=1.5", "loss weights"),
        ("data.min_distance=0", "min_distance"),
        ("data.train_list=none.txt", "no such list"),
        ("expert=/no/such/expert", "no such expert"),
        ("trainer.gradient_clip_val=1.0", "clipping"),
        ("init.generator=none.pth", "none.pth"),
    ],
)
def test_training_options_that_make_no_sense(
    run_dir: Path, crops: Path, tmp_path: Path, override: str, mention: str
) -> None:
    common = ["train", "recipe=tiny", f"data.root_dir={crops}", f"exp_dir={tmp_path}", "trainer.progress=false"]
    check_user_error(app, [*common, f"expert={run_dir / 'expert' / 'model'}", override], mention)


def test_training_without_an_expert(crops: Path, tmp_path: Path) -> None:
    command = ["train", "recipe=tiny", f"data.root_dir={crops}", f"exp_dir={tmp_path}"]
    check_user_error(app, command, "no such expert", "train-sync")


def test_expert_of_another_size(run_dir: Path, crops: Path, tmp_path: Path) -> None:
    command = ["train", "recipe=tiny", "model=small", f"data.root_dir={crops}", f"exp_dir={tmp_path}"]
    check_user_error(app, [*command, f"expert={run_dir / 'expert' / 'model'}"], "different picture sizes")


def test_bad_clips_are_left_out_and_named(run_dir: Path, crops: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(crops, root)
    ids = (root / "filelists" / "train.txt").read_text().split()
    (root / ids[0] / "audio.wav").write_bytes(b"RIFF")
    with (root / "filelists" / "train.txt").open("a") as lines:
        lines.write("no/such/clip NF\n")
    command = ["train-sync", "recipe=tiny", f"data.root_dir={root}", f"exp_dir={tmp_path}", "sync_trainer.max_steps=2"]
    outcome = run_command(app, [*command, "sync_trainer.progress=false"])
    assert outcome.code == 0, outcome.err
    assert f"left out: {ids[0]}" in outcome.err and "left out: no/such/clip" in outcome.err


def test_one_clip_alone_and_clips_in_two_lists(crops: Path, tmp_path: Path) -> None:
    one = tmp_path / "lists"
    one.mkdir()
    ids = (crops / "filelists" / "train.txt").read_text().split()
    (one / "train.txt").write_text(ids[0])
    (one / "val.txt").write_text("\n".join(ids))
    command = ["train-sync", "recipe=tiny", f"data.root_dir={crops}", f"exp_dir={tmp_path}", f"data.filelists={one}"]
    check_user_error(app, command, "also trained on", "allow_overlap")
    check_user_error(app, [*command, "allow_overlap=true"], "at least two clips")
