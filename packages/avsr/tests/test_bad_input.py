"""What users give by mistake: one clear error and exit code 2, or a documented way to go on."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.avsr.cli import app
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.pipeline import AVSR
from viseme.core.data import Manifest
from viseme.core.media import read_clip, read_video, write_video
from viseme.core.testing.clips import truncate, write_clip, write_sound
from viseme.core.testing.commands import Outcome, check_user_error, run_command
from viseme.core.text import CharUnits, load_tokenizer
from viseme.core.types import Audio, Video


@pytest.fixture(scope="module")
def talking(embedded_corpus: Path) -> Path:
    """A video with a face and sound."""
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    return manifest.file(manifest[0])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained models of each modality, and one that reads from either (`any`)."""
    folder, units = tmp_path_factory.mktemp("models"), CharUnits.from_texts(["A B C"])
    made = {}
    for name, modality in (("video", "video"), ("audio", "audio"), ("both", "audiovisual"), ("any", "audiovisual")):
        torch.manual_seed(0)
        config = AVSRConfig.preset("tiny", modality, vocabulary=units.size, optional_modalities=name == "any")
        made[name] = AVSR(AVSRModel(config), units, device="cpu").save(folder / name)
    return made


def transcribe(path: Path, model: Path, *flags: str) -> Outcome:
    return run_command(app, command(path, model, *flags))


def command(path: Path, model: Path, *flags: str) -> list[object]:
    return ["transcribe", path, "--model", model, "--greedy", "--device", "cpu", *flags]


def notes(path: Path, model: Path, *flags: str) -> tuple[dict, str]:
    """The transcript of a file, and its notes as one text."""
    outcome = transcribe(path, model, "--json", *flags)
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    return found, " ".join(found["notes"])


# --------------------------------------------------------------------------------------------------------- streams


def test_video_without_sound(models: dict[str, Path], talking: Path, tmp_path: Path) -> None:
    silent = tmp_path / "silent.mp4"
    write_video(silent, read_video(talking))
    found, said = notes(silent, models["any"])
    assert found["modality"] == "video" and "no audio" in said
    check_user_error(app, command(silent, models["audio"]), "silent.mp4", "no audio")
    check_user_error(app, command(silent, models["both"]), "no audio", "optional modalities")
    check_user_error(app, command(silent, models["any"], "--modality", "audiovisual"), "no audio", "--modality auto")


def test_sound_without_video(models: dict[str, Path], tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "talk.wav", duration_s=1.0)
    found, said = notes(sound, models["any"])
    assert found["modality"] == "audio" and "no video" in said
    check_user_error(app, command(sound, models["video"]), "talk.wav", "no video")
    assert notes(sound, models["audio"])[1].find("alone") < 0  # nothing was left out


def test_model_of_another_modality(models: dict[str, Path], talking: Path) -> None:
    check_user_error(app, command(talking, models["video"], "--modality", "audio"), "does not read audio", "video")


@pytest.mark.parametrize(
    "shape", [{"rate": 44100, "channels": 2}, {"rate": 8000, "subtype": "PCM_U8"}, {"rate": 48000, "subtype": "FLOAT"}]
)
def test_any_sound_format(models: dict[str, Path], tmp_path: Path, shape: dict) -> None:
    sound = write_sound(tmp_path / "talk.wav", duration_s=1.0, **shape)
    assert notes(sound, models["audio"])[0]["duration_s"] == pytest.approx(1.0, abs=0.04)


def test_sound_too_short_to_read(models: dict[str, Path], tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "tick.wav", duration_s=0.01)
    check_user_error(app, command(sound, models["audio"]), "tick.wav", "too short")


def test_silence_has_no_confidence_problem(models: dict[str, Path], tmp_path: Path) -> None:
    silence = write_sound(tmp_path / "silence.wav", sound=np.zeros(16000, np.float32))
    assert 0 <= notes(silence, models["audio"])[0]["confidence"] <= 1


# ----------------------------------------------------------------------------------------------------------- faces


def test_no_face(models: dict[str, Path], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "no face.mp4", frames=20)
    check_user_error(app, command(path, models["video"]), "no face.mp4", "no face in any frame")
    found, said = notes(path, models["any"])
    assert found["modality"] == "audio" and "no face" in said


def test_face_lost_for_a_while(models: dict[str, Path], talking: Path, tmp_path: Path) -> None:
    frames = read_video(talking).frames.copy()
    frames[10:16] = 128
    path = tmp_path / "gap.mp4"
    write_video(path, Video(frames, 25.0))
    found, said = notes(path, models["video"])
    assert found["duration_s"] == pytest.approx(len(frames) / 25)
    assert "not seen in" in said and "interpolated" in said


def test_several_people(models: dict[str, Path], embedded_corpus: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    speakers = {row.speaker: manifest.file(row) for row in manifest}
    left, right = (read_video(path).frames[:40] for path in list(speakers.values())[:2])
    path = tmp_path / "two.mp4"
    write_video(path, Video(np.concatenate([left, right], axis=2), 25.0))
    _, said = notes(path, models["video"])
    assert "2 faces" in said and "number 1" in said
    assert "number 2" in notes(path, models["video"], "--face", "2")[1]
    check_user_error(app, command(path, models["video"], "--face", "5"), "no such face", "two.mp4")


# ------------------------------------------------------------------------------------------------- rates, rotation


@pytest.mark.parametrize("fps", [30, 60])
def test_other_frame_rates(models: dict[str, Path], talking: Path, tmp_path: Path, fps: int) -> None:
    frames = read_video(talking).frames
    picked = frames[np.minimum((np.arange(len(frames) * fps // 25) * 25 / fps).round().astype(int), len(frames) - 1)]
    path = tmp_path / "fast.mp4"
    write_video(path, Video(picked, float(fps)))
    found, said = notes(path, models["video"])
    assert f"from {fps} to 25" in said
    assert found["duration_s"] == pytest.approx(len(frames) / 25, abs=0.08)


def test_variable_frame_rate(models: dict[str, Path], talking: Path, tmp_path: Path) -> None:
    frames = read_video(talking).frames[:40]
    kept = [index for index in range(40) if index % 3 != 1]
    path = write_clip(tmp_path / "vfr.mp4", frames=frames[kept], times_s=[index / 25 for index in kept], rate=None)
    found, _ = notes(path, models["video"])
    assert found["duration_s"] == pytest.approx(40 / 25, abs=0.08)


def test_rotated_video(models: dict[str, Path], talking: Path, tmp_path: Path) -> None:
    frames = read_video(talking).frames[:30]
    path = write_clip(
        tmp_path / "portrait.mp4", frames=np.ascontiguousarray(np.rot90(frames, -1, (1, 2))), rotation=90, rate=None
    )
    assert notes(path, models["video"])[0]["modality"] == "video"


def test_truncated_video_is_read_as_far_as_it_goes(models: dict[str, Path], talking: Path, tmp_path: Path) -> None:
    whole = read_clip(talking)
    assert whole.video is not None and isinstance(whole.audio, Audio)
    frames = np.concatenate([whole.video.frames] * 3)
    write_clip(tmp_path / "whole.mp4", frames=frames, rate=None)  # the index in front, as a stream has it
    path = truncate(tmp_path / "whole.mp4", tmp_path / "cut.mp4", 0.6)
    found, said = notes(path, models["video"])
    assert 0.2 * len(frames) / 25 < found["duration_s"] < 0.95 * len(frames) / 25
    assert "cut short" in said


def test_names_with_blanks_and_unicode(models: dict[str, Path], talking: Path, tmp_path: Path) -> None:
    path = tmp_path / "le café à 5 €; rm -rf.mp4"
    shutil.copyfile(talking, path)
    assert notes(path, models["any"])[0]["name"] == path.name


def test_one_bad_file_among_good_ones(models: dict[str, Path], talking: Path, tmp_path: Path) -> None:
    outcome = run_command(
        app, ["transcribe", talking, tmp_path / "none.mp4", talking, *command(talking, models["any"])[2:]]
    )
    assert outcome.code == 2
    assert len(outcome.out.splitlines()) == 2
    assert "none.mp4" in outcome.err and "Traceback" not in outcome.err


# ------------------------------------------------------------------------------------------------ models, checkpoints


def _remove_weights(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    return "model.safetensors"


def _alter_config(folder: Path) -> str:
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(text.replace("dim: 32", "dim: 64", 1), encoding="utf-8")
    return "altered"


def _remove_units(folder: Path) -> str:
    (folder / "units.txt").unlink()
    return "units.txt"


def _remove_list(folder: Path) -> str:
    (folder / "checksums.json").unlink()
    return "not a model directory"


@pytest.mark.parametrize("damage", [_remove_weights, _alter_config, _remove_units, _remove_list])
def test_damaged_model_directory(
    models: dict[str, Path], talking: Path, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["any"], folder)
    mention = damage(folder)
    check_user_error(app, command(talking, folder), mention)


def test_no_model_directory(talking: Path, tmp_path: Path) -> None:
    check_user_error(app, command(talking, tmp_path / "none"), "no such model directory")


class _Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (Path.write_text, (self.mark, "executed"))


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_hostile_checkpoint_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    path, mark = tmp_path / "model.pth", tmp_path / "executed"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"model": _Hostile(mark)}))
    else:
        torch.save({"model": _Hostile(mark)}, path)
    check_user_error(app, ["convert", path, tmp_path / "out"], "model.pth")
    assert not mark.exists() and not (tmp_path / "out").exists()


def test_checkpoint_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    check_user_error(app, ["convert", path, tmp_path / "out"], "weight")


def test_units_that_do_not_match_the_checkpoint(models: dict[str, Path], tmp_path: Path) -> None:
    config = AVSRConfig.preset("tiny", "video", vocabulary=40)
    torch.save(AVSRModel(config).state_dict(), tmp_path / "tiny.pth")
    check_user_error(app, ["convert", tmp_path / "tiny.pth", tmp_path / "out"], "does not hold its units")


# ------------------------------------------------------------------------------------------------------- training


def test_training_without_data(tmp_path: Path) -> None:
    command = ["train", "recipe=tiny", f"data.root_dir={tmp_path / 'none'}", f"exp_dir={tmp_path}"]
    check_user_error(app, command, "no such list")


@pytest.mark.heavy
def test_mixed_languages(store: Path, tmp_path: Path) -> None:
    """Units are made of all languages' text; units of one language keep what they cannot spell visible; error rates
    come for each language apart."""
    whole = Manifest.read(store / "manifest.csv")
    greek = str.maketrans("ABEHIKMNOPTXYZ", "ΑΒΕΗΙΚΜΝΟΡΤΧΥΖ")
    seen: Counter[str] = Counter()
    rows = []
    for row in whole:
        seen[row.split] += 1
        other = replace(row, text=row.text.translate(greek), language="el")
        rows.append(row if seen[row.split] % 2 else other)
    Manifest(rows, whole.root).write(store / "both.csv")
    lists = [f"data.{split}_file=both.csv" for split in ("train", "val", "test")]
    train = ["train", "recipe=tiny", f"data.root_dir={store}", f"exp_dir={tmp_path}", "trainer.progress=false"]
    train += ["trainer.max_steps=1", "data.units=chars", "average=1"]
    assert run_command(app, [*train, *lists, "exp_name=both"]).code == 0
    units = load_tokenizer(tmp_path / "both" / "units")
    assert all(units.decode(units.encode(row.text)) == row.text for row in rows if row.split == "trainval")

    english = tmp_path / "english"
    CharUnits.from_texts([row.text for row in whole]).save(english)
    narrow = load_tokenizer(english)
    assert all(narrow.decode(narrow.encode(row.text)).count("<unk>") > 3 for row in rows if row.language == "el")
    assert narrow.unknown_rate > 0.05  # type: ignore[attr-defined] - of which core warns

    rates = ["evaluate", "recipe=tiny", f"data.root_dir={store}", f"evaluate.model={tmp_path / 'both' / 'model'}"]
    rates += ["data.test_file=both.csv", "evaluate.by=language", "evaluate.modalities=[audio]", "evaluate.greedy=true"]
    done = run_command(app, [*rates, f"evaluate.out={tmp_path}", "allow_overlap=true"])
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {"en", "el"} <= {row["group"] for row in found["rows"]}


def test_training_on_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "empty.csv").write_text("", encoding="utf-8")
    lists = ["data.train_file=empty.csv", "data.val_file=null", "data.test_file=null", "data.train_split=null"]
    command = ["train", "recipe=tiny", f"data.root_dir={tmp_path}", f"exp_dir={tmp_path}", *lists]
    check_user_error(app, command, "empty.csv")


@pytest.mark.parametrize(
    ("override", "mention"),
    [
        ("data.modality=smell", "modality"),
        ("optim.ctc_weight=2", "ctc_weight"),
        ("data.noise_kinds=[pop]", "white | pink | babble"),
        ("data.crop_size=97", "crop_size"),
        ("data.modality_dropout.video=-1", "modality"),
        ("data.batching=random", "batching"),
        ("model.dim=33", "heads"),
        ("data.units_model=some.model", "units file"),
        ("pretrained_model_path=none.pth", "none.pth"),
    ],
)
def test_options_that_make_no_sense(store: Path, tmp_path: Path, override: str, mention: str) -> None:
    command = ["train", "recipe=tiny", f"data.root_dir={store}", f"exp_dir={tmp_path}", "trainer.progress=false"]
    check_user_error(app, [*command, override], mention)
