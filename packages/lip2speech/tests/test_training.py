"""Training: both systems and the recogniser, resumed runs, losses, data, evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from viseme.core.errors import ConfigError, DataError
from viseme.core.testing.commands import check_user_error, run_command
from viseme.lip2speech.batches import MultitaskBatch, mask_spans
from viseme.lip2speech.cli import app
from viseme.lip2speech.corpora import grid_manifest, lrs_manifest, unseen_split
from viseme.lip2speech.models import VCAGAN, VCAConfig
from viseme.lip2speech.objective import VCAObjective, VCAStep, reconstruction
from viseme.lip2speech.optim import vca_optimizers
from viseme.lip2speech.pipeline import Lip2Speech

TINY = ["data.size=48", "data.window_size=20", "data.batch_size=4", "data.workers=0", "trainer.progress=false"]


def train(recipe: str, store: Path, out: Path, *more: str) -> Path:
    model = f"model={recipe.split('_')[0]}_tiny"
    command = ["train", f"recipe={recipe}", model, f"data.data={store}", f"checkpoint_dir={out}", *TINY, *more]
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    return out / "model"


def test_gan_trains_and_is_evaluated(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    out = tmp_path / "run"
    model = train("vca_demo", store, out, "trainer.max_epochs=1")
    assert Lip2Speech.from_pretrained(model, device="cpu").domain
    command = ["evaluate", "recipe=vca_demo", f"data.data={store}", f"checkpoint_dir={out}", "data.size=48"]
    outcome = run_command(app, [*command, "evaluate.save_wav=true"])
    assert outcome.code == 0, outcome.err
    assert "SYNTHETIC" in outcome.out and "real, same vocoder" in outcome.out and "chance" in outcome.out
    assert (out / "evaluation" / "results.json").is_file() and list((out / "evaluation" / "wav").rglob("*.wav"))
    real = next(line for line in outcome.out.splitlines() if line.startswith("real"))
    assert float(real.split()[3]) > 0.9  # STOI of what makes no mistake


def test_resumed_equals_uninterrupted(store: Path, tmp_path: Path) -> None:
    """The GAN's two optimisers, their schedules and the place in the data."""
    straight = train("vca_demo", store, tmp_path / "a", "trainer.max_epochs=2")
    train("vca_demo", store, tmp_path / "b", "trainer.max_epochs=1")
    resumed = train("vca_demo", store, tmp_path / "b", "trainer.max_epochs=2")
    states = [Lip2Speech.from_pretrained(path, device="cpu").model.state_dict() for path in (straight, resumed)]
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


def test_content_supervision(store: Path, tmp_path: Path) -> None:
    recogniser = train("content_demo", store, tmp_path / "content", "trainer.max_steps=2")
    more = ["objective.output_content_loss=true", f"asr_checkpoint={recogniser}", "trainer.max_steps=2"]
    train("multitask_demo", store, tmp_path / "mt", *more, "trainer.log_every_n_steps=1")
    assert "g_ctc_loss" in (tmp_path / "mt" / "history.jsonl").read_text()
    command = ["train", "recipe=multitask_demo", "model=multitask_tiny", f"data.data={store}", *TINY]
    check_user_error(app, [*command, f"checkpoint_dir={tmp_path / 'x'}", more[0]], "asr_checkpoint")
    check_user_error(
        app, [*command, f"checkpoint_dir={tmp_path / 'y'}", f"asr_checkpoint={tmp_path / 'mt' / 'model'}"], "recogniser"
    )


def test_starting_from_a_model_directory(store: Path, tmp_path: Path) -> None:
    """The voice that a multi-task model was saved with is no weight; the other system's weights are refused."""
    first = train("multitask_demo", store, tmp_path / "a", "trainer.max_steps=1")
    again = train("multitask_demo", store, tmp_path / "b", "trainer.max_steps=1", "optim.lr=0", f"checkpoint={first}")
    weights = [Lip2Speech.from_pretrained(path, device="cpu").model.mel_head.state_dict() for path in (first, again)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    command = ["train", "recipe=vca_demo", "model=vca_tiny", f"data.data={store}", f"checkpoint={first}", *TINY]
    check_user_error(app, [*command, f"checkpoint_dir={tmp_path / 'c'}"], "do not fit", str(first))


def test_windows_too_short_for_the_critics(store: Path, tmp_path: Path) -> None:
    command = ["train", "recipe=vca_demo", "model=vca_tiny", f"data.data={store}", *TINY, "data.window_size=19"]
    check_user_error(app, [*command, f"checkpoint_dir={tmp_path / 'x'}"], "at least 20 frames", "window_size=19")


def test_a_step_moves_what_it_should() -> None:
    torch.manual_seed(0)
    model = VCAGAN(VCAConfig.preset("tiny")).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    speaking, judging = vca_optimizers(model)
    mel = torch.rand(2, 1, 80, 80) * 2 - 1
    step = VCAStep(model, VCAObjective(), torch.randn(2, 1, 20, 48, 48), mel, torch.rand(2, 1, 321, 80))
    step.discriminators()["d_loss"].backward()
    assert all(weight.grad is None for part in model.speaking() for weight in part.parameters())
    judging.step()
    judging.zero_grad()
    step.generator()["g_loss"].backward()
    assert all(weight.grad is None for part in model.judging() for weight in part.parameters())
    step.visual().backward()
    speaking.step()
    still = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert not still


def test_padding_can_be_left_out() -> None:
    generated, target = torch.zeros(2, 1, 3, 8), torch.ones(2, 1, 3, 8)
    target[1, ..., 4:] = 9
    assert reconstruction(generated, target) == 3
    assert reconstruction(generated, target, torch.tensor([8, 4])) == 1


def test_masked_spans_lie_inside_windows() -> None:
    video = torch.ones(8, 1, 30, 2, 2)
    numbers = {"lengths": [30] * 8, "columns": [40] * 8, "window_starts": [5] * 8, "window_sizes": [10] * 8}
    tensors = {name: torch.tensor(value) for name, value in numbers.items()}
    empty = torch.zeros(8, 0, dtype=torch.long)
    batch = MultitaskBatch(
        video=video,
        mel=torch.zeros(8, 1, 80, 40),
        prompt=torch.zeros(8, 1, 80, 100),
        targets=empty,
        target_lengths=torch.zeros(8, dtype=torch.long),
        audio=[],
        names=[],
        texts=[],
        **tensors,
    )
    masked = mask_spans(batch, 1.0, torch.Generator().manual_seed(0)).video[:, 0, :, 0, 0] == 0
    assert masked.any(1).all() and not masked[:, :5].any() and not masked[:, 15:].any()
    assert int(masked.sum(1).max()) <= 7
    assert torch.equal(mask_spans(batch, 0.0).video, video)


def test_no_sound_to_learn_from(store: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from viseme.core.data import Manifest

    rows = [replace(row, samples=0) for row in Manifest.read(store / "manifest.csv")]
    Manifest(rows, store).write(store / "silent.csv")
    command = ["train", "recipe=vca_demo", "model=vca_tiny", f"data.data={store}", "data.manifest=silent.csv", *TINY]
    check_user_error(app, [*command, f"checkpoint_dir={tmp_path / 'x'}"], "no sound")


# -------------------------------------------------------------------------------------------------------- corpora


@pytest.fixture
def lrs2(tmp_path: Path) -> Path:
    """The layout of LRS2, without its content."""
    root = tmp_path / "LRS2-BBC"
    lists = tmp_path / "data" / "LRS2"
    (lists / "LRS2_crop").mkdir(parents=True)
    for folder, name in (("main", "1/00001"), ("main", "1/00002"), ("pretrain", "2/00001")):
        path = root / folder / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        path.with_suffix(".txt").write_text("Text:  SOME WORDS\nConf:  1\n")
    sound = tmp_path / "LRS2-BBC_audio" / "main" / "1" / "00001.wav"
    sound.parent.mkdir(parents=True)
    sound.write_bytes(b"")
    (lists / "train.txt").write_text("1/00001\n1/00002\n9/00001\n")
    (lists / "pretrain.txt").write_text("2/00001\n")
    (lists / "LRS2_crop" / "preprocess_main.txt").write_text("1/00001.mp4:80/100/81/101\n9/00001.mp4:80/100\n")
    (lists / "LRS2_crop" / "preprocess_pretrain.txt").write_text("2/00001.mp4:80/100/81/101/82/102\n")
    return root


def test_lrs_lists(lrs2: Path) -> None:
    lists = lrs2.parent / "data" / "LRS2"
    manifest, centres = lrs_manifest(lrs2, "LRS2", "train", lists, texts=True)
    assert [row.id for row in manifest] == ["pretrain/2/00001", "main/1/00001"]
    assert [row.frames for row in manifest] == [3, 2] and manifest[1].text == "SOME WORDS"
    assert manifest[1].audio.endswith("LRS2-BBC_audio/main/1/00001.wav")
    assert centres["main/1/00001"].tolist() == [[80, 100], [81, 101]]
    assert dict(manifest.skipped) == {"main/1/00002": "no lip centres", "main/9/00001": "no such video"}
    with pytest.raises(DataError, match=r"val\.txt"):
        lrs_manifest(lrs2, "LRS2", "val", lists)
    with pytest.raises(ConfigError, match="LRS2 or LRS3"):
        lrs_manifest(lrs2, "LRS4", "train", lists)
    with pytest.raises(DataError, match="preprocess"):
        lrs_manifest(lrs2, "LRS3", "train", lists)


def test_unseen_speakers() -> None:
    ids = [f"trainval/v{i}/{clip}" for i in range(200) for clip in range(2)] + ["test/t1/1", "trainval/t1/2"]
    split = unseen_split(ids, val_share=0.1)
    videos = {name: {clip.split("/")[1] for clip in clips} for name, clips in split.items()}
    assert not (videos["train"] & videos["val"] | videos["train"] & videos["test"] | videos["val"] & videos["test"])
    assert split["test"] == ["test/t1/1"] and 5 < len(videos["val"]) < 40
    assert sum(map(len, split.values())) == len(ids) - 1


def test_lrs3_without_lists(tmp_path: Path) -> None:
    root, crop = tmp_path / "LRS3", tmp_path / "LRS3_crop"
    crop.mkdir()
    for folder, video in (("trainval", "a"), ("trainval", "b"), ("pretrain", "c"), ("test", "b")):
        path = root / folder / video / "00001.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        with (crop / f"preprocess_{folder}.txt").open("a") as file:
            file.write(f"{video}/00001.mp4:80/100\n")
    found = {}
    for split in ("train", "val", "test"):
        try:
            found[split] = [row.id for row in lrs_manifest(root, "LRS3", split, tmp_path)[0]]
        except DataError:
            found[split] = []  # the hashes of two names put none there
    assert found["test"] == ["test/b/00001"]
    assert sorted(found["train"] + found["val"]) == ["pretrain/c/00001", "trainval/a/00001"]
    (tmp_path / "lrs3_unseen_test.txt").write_text("test/b/00001\n")
    with pytest.raises(DataError, match="lrs3_unseen_train"):  # lists are used as soon as there are any
        lrs_manifest(root, "LRS3", "train", tmp_path)


def test_grid_speakers(tmp_path: Path) -> None:
    for speaker in ("s1", "s2", "s9"):
        for folder, ending in (("video", "mp4"), ("audio", "flac")):
            path = tmp_path / speaker / folder / f"a.{ending}"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
    for split, speaker in (("train", "s1"), ("val", "s9"), ("test", "s2")):
        assert [row.speaker for row in grid_manifest(tmp_path, "unseen", split)] == [speaker]
    with pytest.raises(DataError, match="overlap_train"):
        grid_manifest(tmp_path, "overlap", "train", tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("system", ["vca", "multitask"])
def test_lrs_layout_trains_and_is_evaluated(system: str, embedded_corpus: Path, tmp_path: Path) -> None:
    """From face videos, lip centres and lists as the releases bring them."""
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    lists = tmp_path / "lists"
    (lists / "LRS3_crop").mkdir(parents=True)
    names = {split: [] for split in ("train", "val", "test")}
    for path in sorted(embedded_corpus.rglob("*.mp4")):
        folder, speaker = path.parts[-3:-1]
        with (lists / "LRS3_crop" / f"preprocess_{folder}.txt").open("a") as file:
            file.write(f"{speaker}/{path.name}:" + "/".join(["64/84"] * 100) + "\n")
        split = {"trainval": "train"}.get(folder, folder)
        names[split].append(f"{folder}/{speaker}/{path.stem}")
    for split, found in names.items():
        (lists / f"lrs3_unseen_{split}.txt").write_text("\n".join(found))
    common = [f"recipe={system}_lrs3", f"model={system}_tiny", "trainer=cpu", f"checkpoint_dir={tmp_path / 'run'}"]
    common += ["--data", str(embedded_corpus), f"data.lists={lists}", "data.units=chars", "data.size=48"]
    more = [
        "--window_size",
        "20",
        "--batch_size",
        "4",
        "--workers",
        "0",
        "trainer.max_steps=2",
        "trainer.progress=false",
    ]
    outcome = run_command(app, ["train", *common, *more])
    assert outcome.code == 0, outcome.err
    outcome = run_command(app, ["evaluate", *common, "evaluate.limit=2", "evaluate.published_padding=true"])
    assert outcome.code == 0, outcome.err
    assert "generated" in outcome.out
