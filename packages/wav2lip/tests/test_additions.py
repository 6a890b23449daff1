"""Random looks and voices, the enhancer's hook, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.errors import ConfigError
from viseme.core.media import read_video
from viseme.core.testing.commands import check_user_error, run_command
from viseme.wav2lip.augment import draw_augmentation
from viseme.wav2lip.cli import app
from viseme.wav2lip.data import CropClip, DataConfig, WindowDataset
from viseme.wav2lip.enhance import enhanced, load_enhancer
from viseme.wav2lip.objective import reconstruction_loss
from viseme.wav2lip.task import OptimConfig


def darker(face: np.ndarray) -> np.ndarray:
    """An enhancer: half as bright, twice as large."""
    return np.repeat(np.repeat(face // 2, 2, 0), 2, 1)


# -------------------------------------------------------------------------------------------- pictures first


def test_the_mouth_counts_more() -> None:
    target = torch.zeros(2, 3, 5, 48, 48)
    mouth, cheek = target.clone(), target.clone()
    mouth[..., 36, 24], cheek[..., 36, 2] = 1.0, 1.0
    assert reconstruction_loss(mouth, target) == reconstruction_loss(cheek, target)
    ratio = reconstruction_loss(mouth, target, 6.0) / reconstruction_loss(cheek, target, 6.0)
    assert float(ratio) == pytest.approx(6.0)
    even = torch.full_like(target, 0.3)
    assert float(reconstruction_loss(even, target, 6.0)) == pytest.approx(0.3)


def test_single_frames_and_references_far_away() -> None:
    clip = CropClip("a", Path("a"), list(range(40)), np.full((80, 140), 1.0, np.float32))
    clip.pictures = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 48, 48, 3), np.uint8)
    config = DataConfig(root_dir=".", reference_distance=12)
    data = WindowDataset([clip], config, "generator", items=30, size=48, seed=0, frames=1)
    for number in range(30):
        item = data[number]
        assert item["x"].shape == (6, 1, 48, 48) and item["indiv_mels"].shape == (1, 1, 80, 16)
        here, there = round(item["y"][0, 0, 0, 0] * 255), round(item["x"][3, 0, 0, 0] * 255)
        assert abs(here - there) >= 12


def test_single_frames_have_no_sync_loss() -> None:
    assert OptimConfig(generator_frames=1, sync_weight=0.0).generator_frames == 1
    with pytest.raises(ConfigError, match=r"5, or 1 with optim\.sync_weight=0"):
        OptimConfig(generator_frames=1, sync_weight=0.01)
    with pytest.raises(ConfigError, match="more than 0"):
        OptimConfig(mouth_weight=0.0)


# ------------------------------------------------------------------------------------------------ augmentation


def smooth_picture() -> np.ndarray:
    y, x = np.mgrid[:48, :48]
    return np.stack((x * 4, y * 4, x + y), axis=-1).astype(np.uint8)


def test_strength_nothing_changes_nothing() -> None:
    look = draw_augmentation(0.0, torch.Generator().manual_seed(0))
    picture, mel = smooth_picture(), np.random.default_rng(0).uniform(-4, 4, (80, 30)).astype(np.float32)
    assert np.array_equal(look.picture(picture, 48), picture)
    np.testing.assert_allclose(look.mel(mel), mel, atol=1e-6)


def test_looks_and_voices_differ_and_stay_in_range() -> None:
    picture, mel = smooth_picture(), np.linspace(-4, 4, 80, dtype=np.float32)[:, None].repeat(20, 1)
    mirrored, seen = 0, []
    for seed in range(40):
        look = draw_augmentation(1.0, torch.Generator().manual_seed(seed))
        made, sound = look.picture(picture, 48), look.mel(mel)
        assert made.shape == picture.shape and made.dtype == np.uint8
        assert sound.shape == mel.shape and sound.min() >= -4 and sound.max() <= 4
        mirrored += int(made[24, 40, 0]) < int(made[24, 8, 0])
        seen.append(made)
        # A vocal tract up to 12 % shorter or longer, 6 dB nearer or farther.
        assert np.abs(sound - mel).mean() < 0.9
    assert 10 < mirrored < 30
    assert np.std([frame.mean() for frame in seen]) > 5


def test_one_draw_for_all_that_belongs_together() -> None:
    """A clip of the same picture and a steady sound gives the same windows throughout an item, whatever was drawn; the
    same item and epoch give it again, and another epoch gives another."""
    clip = CropClip("a", Path("a"), list(range(40)), np.full((80, 140), 1.0, np.float32))
    clip.pictures = np.repeat(smooth_picture()[None], 40, 0)
    config = DataConfig(root_dir=".", augment=1.0)
    data = WindowDataset([clip], config, "expert", items=4, size=48, seed=0, group=4, augment=1.0)
    item = data[(1, 0)]
    assert all(np.array_equal(item["x"][0], window) for window in item["x"][1:])
    assert all(np.array_equal(item["mel"][0], window) for window in item["mel"][1:])
    assert np.array_equal(data[(1, 0)]["x"], item["x"]) and not np.array_equal(data[(1, 1)]["x"], item["x"])
    pair = WindowDataset([clip], config, "generator", items=4, size=48, seed=0, augment=1.0)[(0, 0)]
    np.testing.assert_array_equal(pair["x"][3:], pair["y"])  # reference and target look alike here
    with pytest.raises(ConfigError, match=r"data\.augment"):
        DataConfig(root_dir=".", augment=3)


# -------------------------------------------------------------------------------------------------- enhancer


def test_enhancers_by_name() -> None:
    assert load_enhancer("numpy:flipud") is np.flipud
    assert load_enhancer("operator:itemgetter=0")({"0": 3}) == 3  # type: ignore[arg-type,comparison-overlap]
    for name in ("nowhere:f", "numpy:nothing", "numpy", ""):
        with pytest.raises(ConfigError, match="no such enhancer"):
            load_enhancer(name)
    face = np.full((8, 6, 3), 101.4, np.float32)
    assert enhanced(face, darker).shape == (16, 12, 3) and enhanced(face, darker)[0, 0, 0] == 50
    with pytest.raises(ConfigError, match="does not return a picture"):
        enhanced(face, lambda picture: picture.mean(-1))


def test_enhancer_reaches_the_face_and_nothing_else(
    model_dir: Path, talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "restoration.py").write_text(
        "def whiten(face):\n    assert face.dtype == 'uint8' and face.shape[2] == 3\n    return face // 8 + 220\n"
    )
    frames = []
    for name, flags in (("plain", []), ("white", ["--enhancer", "restoration:whiten"])):
        command = [
            "sync",
            "--face",
            talking,
            "--audio",
            talking,
            "--model",
            model_dir,
            "--out",
            tmp_path / f"{name}.mp4",
        ]
        outcome = run_command(
            app, [*command, "--device", "cpu", "--no-silence-gate", "--no-colour-match", "--static", *flags]
        )
        assert outcome.code == 0, outcome.err
        frames.append(read_video(tmp_path / f"{name}.mp4").frames[10].astype(int))
    change = (frames[1] - frames[0]).mean(-1)
    assert change[: len(change) // 3].max() < 12  # the upper third is encoding only
    assert change[len(change) // 2 :].max() > 60
    check_user_error(app, [*command, "--enhancer", "restoration:none"], "no such enhancer")


# ---------------------------------------------------------------------------------------------------- refused


def test_half_floats_do_not_go_with_the_discriminator(run_dir: Path, crops: Path, tmp_path: Path) -> None:
    command = ["train", "recipe=tiny", f"data.root_dir={crops}", f"exp_dir={tmp_path}", "trainer.precision=16-mixed"]
    check_user_error(app, [*command, f"expert={run_dir / 'expert' / 'model'}"], "discriminator", "bf16-mixed")
