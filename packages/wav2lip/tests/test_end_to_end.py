"""Prepare, check, train, evaluate, sync: the whole way through the command line, on the embedded corpus."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from viseme.core.media import probe, read_audio, read_video, write_audio, write_video
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.training import History
from viseme.core.types import Audio, Video
from viseme.wav2lip.cli import app
from viseme.wav2lip.geometry import face_inputs
from viseme.wav2lip.options import SyncOptions
from viseme.wav2lip.pipeline import PROVENANCE, Wav2Lip
from viseme.wav2lip.train import ALARM_STEPS
from viseme.wav2lip.weights import load_network


def sync(*flags: object) -> dict:
    outcome = run_command(app, ["sync", "--json", "--device", "cpu", *flags])
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


# --------------------------------------------------------------------------------------------------- preparation


def test_preparation_writes_the_published_layout(crops: Path, embedded_corpus: Path) -> None:
    ids = [
        line for name in ("train", "val", "test") for line in (crops / "filelists" / f"{name}.txt").read_text().split()
    ]
    assert len(ids) == len(set(ids)) == 20
    for clip in ids:
        frames = sorted(int(path.stem) for path in (crops / clip).glob("*.jpg"))
        video = read_video(embedded_corpus / f"{clip}.mp4").frames
        assert len(frames) > 0.9 * len(video) and frames[-1] < len(video)
        assert probe(crops / clip / "audio.wav").rate == 16000
        crop = cv2.imread(str(crops / clip / f"{frames[0]}.jpg"))
        assert 0.8 < crop.shape[0] / crop.shape[1] < 1.8


def test_preparation_goes_on_and_names_what_failed(embedded_corpus: Path, crops: Path, tmp_path: Path) -> None:
    source = tmp_path / "videos"
    shutil.copytree(embedded_corpus / "val", source / "val")
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8)
    write_video(source / "nobody.mp4", Video(noise, 25.0), Audio(np.zeros(7680, np.float32), 16000))
    (source / "text.mp4").write_text("not a video")
    outcome = run_command(app, ["prepare", source, tmp_path / "root", "--workers", "1", "--json"])
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["clips"] == 1 and report["reused"] == 0
    reasons = (tmp_path / "root" / "failures.csv").read_text(encoding="utf-8")
    assert "nobody" in reasons and "no face" in reasons
    again = json.loads(run_command(app, ["prepare", source, tmp_path / "root", "--workers", "1", "--json"]).out)
    assert again["reused"] == 1


def test_check_names_what_to_drop(crops: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(crops, root)
    ids = (root / "filelists" / "train.txt").read_text().split()
    write_audio(root / ids[0] / "audio.wav", Audio(np.zeros(48000, np.float32), 16000))
    still = (root / ids[1] / "10.jpg").read_bytes()
    for picture in (root / ids[1]).glob("*.jpg"):
        picture.write_bytes(still)
    (root / ids[2] / "audio.wav").unlink()
    for picture in list((root / ids[3]).glob("*.jpg"))[3:]:
        picture.unlink()
    report = json.loads(run_command(app, ["check", root, "--json"]).out)
    assert set(report["drop"]) == set(ids[:4])
    said = [report["drop"][clip] for clip in ids[:4]]
    for text, word in zip(said, ("silence", "does not move", "no audio.wav", "windows")):
        assert word in text, text
    assert any("few" in text for text in report["warnings"])


# ------------------------------------------------------------------------------------------------------ training


def test_training_leaves_model_directories_and_pictures(run_dir: Path) -> None:
    for kind in ("expert", "generator"):
        loaded = load_network(run_dir / kind / "model", kind)
        assert loaded.settings["synthetic"] is True
        assert "SYNTHETIC" in (run_dir / kind / "model" / "card.md").read_text(encoding="utf-8")
        lines = History.read(run_dir / kind / "history.jsonl")
        assert any("loss_val" in line for line in lines)
    assert "auc_val" in History.read(run_dir / "expert" / "history.jsonl")[-1]
    assert len(list((run_dir / "generator" / "pictures").glob("*.jpg"))) == 2
    losses = [line["loss_l1"] for line in History.read(run_dir / "generator" / "history.jsonl") if "loss_l1" in line]
    assert losses[-1] < losses[0]


def test_resumed_training_is_as_if_never_stopped(crops: Path, run_dir: Path, tmp_path: Path) -> None:
    """With the discriminator, and a sync weight that validation switches on: all of it survives."""
    common = [
        "recipe=tiny",
        f"data.root_dir={crops}",
        "trainer.progress=false",
        f"expert={run_dir / 'expert' / 'model'}",
    ]
    common += ["optim.sync_threshold=1000", "data.windows_per_clip=2", "optim.generator.decay=false"]
    states = []
    for name, stops in (("whole", [2]), ("stopped", [1, 2])):
        for epochs in stops:
            outcome = run_command(app, ["train", *common, f"exp_dir={tmp_path / name}", f"trainer.max_epochs={epochs}"])
            assert outcome.code == 0, outcome.err
        checkpoint = torch.load(tmp_path / name / "tiny" / "generator" / "last.ckpt", weights_only=True)
        assert float(checkpoint["state_dict"]["sync_weight"]) == pytest.approx(0.01)
        states.append(checkpoint["state_dict"])
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


def test_alarm_when_the_expert_only_guesses(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound that has nothing to do with the pictures."""
    monkeypatch.setitem(ALARM_STEPS, "groups", 60)
    root = tmp_path / "root"
    shutil.copytree(crops, root)
    rng = np.random.default_rng(0)
    for audio in root.rglob("audio.wav"):
        write_audio(audio, Audio(rng.normal(0, 0.1, 48000).astype(np.float32), 16000))
    command = [
        "train-sync",
        "recipe=tiny",
        f"data.root_dir={root}",
        f"exp_dir={tmp_path}",
        "sync_trainer.progress=false",
    ]
    command += [
        "sync_trainer.max_steps=70",
        "sync_trainer.max_epochs=100",
        "data.val_list=null",
        "optim.expert.lr=1e-6",
    ]
    check_user_error(app, command, "does not learn", "ln 2")


# -------------------------------------------------------------------------------------------------------- syncing


def test_sync_is_as_long_as_the_sound(model_dir: Path, talking: Path, tmp_path: Path) -> None:
    sound = read_audio(talking).samples
    long = np.concatenate([sound] * 3)[: 5 * 16000 + 123]
    write_audio(tmp_path / "long.wav", Audio(long, 16000))
    made = sync("--face", talking, "--audio", tmp_path / "long.wav", "--model", model_dir, "--out", tmp_path / "o.mp4")
    info = probe(tmp_path / "o.mp4")
    assert info.frames == made["frames"] == int(np.ceil(len(long) * 25 / 16000))
    heard = read_audio(tmp_path / "o.mp4").samples
    assert abs(len(heard) - len(long)) < 2048  # AAC's frames
    assert np.corrcoef(heard[:16000], long[:16000])[0, 1] > 0.95
    assert PROVENANCE in info.tags["comment"] and "SYNTHETIC" in info.tags["comment"]
    assert any("SYNTHETIC" in note for note in made["notes"])


def test_sync_changes_the_mouth_and_nothing_else(model_dir: Path, talking: Path, tmp_path: Path) -> None:
    sync("--face", talking, "--audio", talking, "--model", model_dir, "--out", tmp_path / "o.mp4", "--no-silence-gate")
    before, after = (read_video(path).frames.astype(int) for path in (talking, tmp_path / "o.mp4"))
    count = min(len(before), len(after))
    change = np.abs(after[:count] - before[:count]).mean(axis=(0, 3))
    height = change.shape[0]
    assert change[: height // 3].mean() < 2.5  # only what encoding changes
    assert change[height // 2 :].max() > 12


def test_a_still_picture_speaks(model_dir: Path, talking: Path, tmp_path: Path) -> None:
    frame = read_video(talking).frames[5]
    alpha = np.dstack((frame[..., ::-1], np.full(frame.shape[:2], 255, np.uint8)))
    cv2.imwrite(str(tmp_path / "My Photo.v2.PNG"), alpha)
    face = tmp_path / "My Photo.v2.PNG"
    made = sync("--face", face, "--audio", talking, "--model", model_dir, "--out", tmp_path / "o.mp4", "--fps", 30)
    assert made["fps"] == 30 and made["frames"] == probe(tmp_path / "o.mp4").frames
    assert made["synced"] == made["frames"] and made["passed"] == []


def test_batches_do_not_matter(model_dir: Path, talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither their size nor how many are made at once."""
    made, threads = [], torch.get_num_threads()
    for size, at_once in ((1, 1), (7, 3)):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=at_once: count)
        out = tmp_path / f"{size}.mp4"
        Wav2Lip.from_pretrained(model_dir, device="cpu").sync(
            talking, talking, out, SyncOptions(batch_size=size, crf=0)
        )
        made.append(read_video(out).frames.astype(int))
    monkeypatch.undo()
    torch.set_num_threads(threads)
    assert np.abs(made[0] - made[1]).max() <= 2


@pytest.mark.parametrize("reference", ["same", "rest"])
def test_what_the_generator_is_shown_of_the_face(
    model_dir: Path, talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    shown: list[np.ndarray] = []

    def noting(crops: list, size: int, references: list | None = None) -> np.ndarray:
        made = face_inputs(crops, size, references)
        shown.extend(made[..., 3:])
        return made

    monkeypatch.setattr("viseme.wav2lip.pipeline.face_inputs", noting)
    options = SyncOptions(reference=reference, silence_gate=False)  # type: ignore[arg-type]
    Wav2Lip.from_pretrained(model_dir, device="cpu").sync(talking, talking, tmp_path / "o.mp4", options)
    moves = max(float(np.abs(face - shown[0]).max()) for face in shown)
    assert len(shown) > 20 and (moves == 0.0 if reference == "rest" else moves > 0.05)


def test_track_cache(model_dir: Path, talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--face", talking, "--audio", talking, "--model", model_dir, "--cache", tmp_path / "cache", "--out"]
    first = sync(*flags, tmp_path / "a.mp4")
    monkeypatch.setattr("viseme.wav2lip.plan.FaceTracker", None)  # it is not needed a second time
    second = sync(*flags, tmp_path / "b.mp4")
    assert second["synced"] == first["synced"]
    assert np.array_equal(read_video(tmp_path / "a.mp4").frames, read_video(tmp_path / "b.mp4").frames)


def test_silence_returns_to_the_source_mouth(model_dir: Path, talking: Path, tmp_path: Path) -> None:
    """The figure of the gate: how much the mouth of a still face moves where nobody speaks."""
    cv2.imwrite(str(tmp_path / "face.png"), read_video(talking).frames[0][..., ::-1])
    sound = read_audio(talking).samples[:16000].copy()
    quiet = np.concatenate((sound, np.random.default_rng(0).normal(0, 1e-4, 24000).astype(np.float32)))
    write_audio(tmp_path / "pause.wav", Audio(quiet, 16000))
    energy = []
    for name, flags in (("gate", []), ("none", ["--no-silence-gate"])):
        out = tmp_path / f"{name}.mp4"
        sync(
            "--face",
            tmp_path / "face.png",
            "--audio",
            tmp_path / "pause.wav",
            "--model",
            model_dir,
            "--out",
            out,
            *flags,
        )
        frames = read_video(out).frames[32:60].astype(np.float32)
        original = read_video(tmp_path / "face.png", fps=None).frames[0].astype(np.float32)
        energy.append(float(np.abs(frames - original).mean()))
    assert energy[0] < 0.8 * energy[1]


def test_infer_takes_the_published_flags(model_dir: Path, talking: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "new folder" / "voice.mp4"
    command = ["infer", "--checkpoint_path", model_dir, "--face", talking, "--audio", talking, "--outfile", out]
    flags = ["--static", "False", "--pads", 0, 5, 0, 0, "--resize_factor", 2, "--wav2lip_batch_size", 4]
    outcome = run_command(app, [*command, *flags, "--nosmooth", "--json", "--device", "cpu"])
    assert outcome.code == 0, outcome.err
    info = probe(out)
    assert (info.width, info.height) == (64, 64)
    turned = ["--rotate", "--crop", 0, 100, 0, -1, "--box", 10, 90, 20, 110, "--static", "--device", "cpu"]
    outcome = run_command(app, [*command, *turned])
    assert outcome.code == 0, outcome.err
    info = probe(out)
    assert (info.width, info.height) == (128, 100)
    check_user_error(app, [*command, "--static", "perhaps"], "neither yes nor no")


def test_infer_published_needs_a_detector_or_a_box(model_dir: Path, talking: Path, tmp_path: Path) -> None:
    command = ["infer", "--checkpoint_path", model_dir, "--face", talking, "--audio", talking, "--published"]
    command += ["--outfile", tmp_path / "o.mp4", "--device", "cpu"]
    check_user_error(app, command, "--s3fd_path")
    outcome = run_command(app, [*command, "--box", 20, 110, 20, 100])
    assert outcome.code == 0, outcome.err
    seconds = len(read_audio(talking).samples) / 16000
    columns = int(seconds * 80) + 1
    assert probe(tmp_path / "o.mp4").frames == int((columns - 16) / 3.2) + 2


# ----------------------------------------------------------------------------------------------------- evaluation


def test_evaluate_prints_every_row(run_dir: Path, crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small stand-in for Inception, which takes a second for three faces; the real one, with random weights of
    the published layout, is in core's test_layers_inception.py."""

    class Pooled:
        def __init__(self, state: dict, *, device: torch.device) -> None:
            self.weight = state["weight"].to(device)

        def __call__(self, frames: np.ndarray) -> np.ndarray:
            assert frames.dtype == np.uint8 and frames.shape[-1] == 3
            return (torch.from_numpy(frames[..., ::-1].copy()).float().mean((1, 2)) @ self.weight).numpy()

    torch.save({"weight": torch.eye(3)}, tmp_path / "inception.pth")
    monkeypatch.setattr("viseme.wav2lip.evaluate.InceptionFeatures", Pooled)
    command = ["evaluate", "recipe=tiny", f"data.root_dir={crops}", f"exp_dir={run_dir.parent}", "evaluate.device=cpu"]
    outcome = run_command(
        app, [*command, f"evaluate.out={tmp_path}", f"evaluate.inception={tmp_path / 'inception.pth'}"]
    )
    assert outcome.code == 0, outcome.err
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["synthetic"] is True and "SYNTHETIC" in outcome.out
    rows = {row["row"]: row for row in results["rows"]}
    assert len(rows) == 5
    assert all(name in outcome.out for name in rows)
    made = rows["generated, own sound"]
    assert made["clips"] == 2 and 0 < made["ssim"] <= 1 and made["psnr"] > 5 and made["expert_fd"] > 0
    assert 0 < made["lmd"] < 20 and made["fid"] > 0 and rows["generated, other sound"]["fid"] > 0
    assert "fid" in outcome.out and "fid" not in rows["real, own sound"]
    assert "psnr" not in rows["real, own sound"]
