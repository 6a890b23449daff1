"""Lists, roots, budgets, batches, and what is said about clips that do not fit."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import ConfigError, DataError
from viseme.core.text import CharUnits, ListedUnits, UnitList, WordUnits, load_tokenizer
from viseme.core.types import Audio, Clip, Video
from viseme.raven.data import (
    DataConfig,
    InputConfig,
    RavenTransform,
    fitting,
    limited,
    read_list,
    training_loader,
    validation_loader,
)

UNITS = UnitList(["<unk>", "'", "\u2581A", "B", "\u2581AB", "C"])


def rows(*frames: int) -> Manifest:
    return Manifest(
        [ManifestRow(str(n), f"{n}.mp4", frames=count, samples=640 * count, text="A") for n, count in enumerate(frames)]
    )


def published(tmp_path: Path, *lines: str) -> DataConfig:
    (tmp_path / "data_paths").mkdir()
    (tmp_path / "data_paths" / "train.csv").write_text("\n".join(lines) + "\n")
    return DataConfig(root_dir=str(tmp_path), train_file="train.csv")


class TestPublishedLists:
    def test_files_lie_below_the_roots_of_their_tag(self, tmp_path: Path) -> None:
        config = published(tmp_path, "lrs3,test/spk/a.avi,41,3 4", "vox2,x/b.avi,50,")
        config.roots = {"lrs3": {"video": "/v", "audio": "/a"}, "vox2": {"video": None, "audio": None}}
        first, second = read_list(config, "train.csv")
        assert (first.path, first.audio) == ("/v/test/spk/a.avi", "/a/test/spk/a.wav")
        assert (first.frames, first.samples, first.extra["tokens"]) == (41, 41 * 640, "3 4")
        assert second.path == str(tmp_path / "vox2" / "x" / "b.avi") and second.text == ""

    def test_token_ids_are_taken_as_they_are(self, tmp_path: Path) -> None:
        tokenizer = ListedUnits(UNITS)
        row = ManifestRow("x", "x.avi", frames=2, text="AB", extra={"tokens": "3 4"})
        clip = Clip(Video(np.zeros((2, 96, 96), np.uint8), 25.0), None)
        item = RavenTransform(InputConfig(), tokenizer)(clip, row, torch.Generator())
        assert item.targets.tolist() == [3, 4]
        bad = ManifestRow("x", "x.avi", extra={"tokens": "3 900"})
        with pytest.raises(DataError, match=r"token ids that the units do not have.*900"):
            RavenTransform(InputConfig(), tokenizer)(clip, bad, torch.Generator())

    def test_text_comes_with_a_tokenizer(self, tmp_path: Path) -> None:
        config = published(tmp_path, "lrs3,a.avi,41,3 4 6")
        assert read_list(config, "train.csv", tokenizer=ListedUnits(UNITS))[0].text == "ABC"


class TestListedUnits:
    def test_the_fewest_units(self, tmp_path: Path) -> None:
        units = ListedUnits(UNITS)
        assert units.pieces("ABC AB") == ["\u2581AB", "C", "\u2581AB"]
        assert units.decode(units.encode("ABC AB")) == "ABC AB"
        assert units.pieces("AXB") == ["\u2581A", "<unk>", "B"]
        units.save(tmp_path)
        assert load_tokenizer(tmp_path) == units


class TestBudgets:
    def test_a_smaller_budget_is_part_of_a_larger_one(self) -> None:
        every = rows(*range(10, 60))
        small, large = ({row.id for row in limited(every, count, 3)} for count in (5, 20))
        assert len(small) == 5 and small < large
        assert limited(every, None, 3) is every
        assert {row.id for row in limited(every, 5, 4)} != small
        with pytest.raises(ConfigError):
            limited(every, 0, 0)

    def test_clips_that_do_not_fit_are_left_out_and_named(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            kept = fitting(rows(3, 20, 900), 500, shortest=4)
        assert [row.id for row in kept] == ["1"]
        assert "2 of 3 clips left out" in caplog.text and "0, 2" in caplog.text
        with pytest.raises(DataError, match="no clip fits"):
            fitting(rows(900), 500)


class TestBatches:
    def test_both_streams_are_padded_together(self, store: Path) -> None:
        config = DataConfig("audiovisual", str(store), train_file="manifest.csv", frames_per_gpu=200, num_workers=0)
        manifest = read_list(config, "manifest.csv")
        for batch in training_loader(config, manifest, None, seed=0, pretraining=True):
            clips, frames = batch["video"].shape[:2]
            assert batch["audio"].shape == (clips, 640 * frames, 1)
            assert int(batch["lengths"].max()) == frames and clips * frames <= 200
            assert batch["targets"].shape == (clips, 0)
            for row, length in enumerate(batch["lengths"].tolist()):
                assert not batch["video"][row, length:].any() and not batch["audio"][row, 640 * length :].any()

    def test_sound_is_not_normalised(self, store: Path) -> None:
        config = DataConfig("audio", str(store), frames_per_gpu_val=500, num_workers=0)
        manifest = read_list(config, "manifest.csv")
        batch = next(iter(validation_loader(config, manifest, None)))
        assert 0 < float(batch["audio"].abs().max()) <= 1.0

    def test_every_clip_is_validated_on_each_rank_once(self, store: Path) -> None:
        config = DataConfig("video", str(store), frames_per_gpu_val=150, num_workers=0)
        manifest = read_list(config, "manifest.csv")
        seen: list[str] = []
        for rank in range(2):
            for batch in validation_loader(config, manifest, None, rank=rank, world_size=2):
                seen += batch["ids"]
        assert set(seen) == {row.id for row in manifest}

    def test_a_clip_without_sound_is_replaced_and_named(self, store: Path, tmp_path: Path) -> None:
        good = Manifest.read(store / "manifest.csv")
        silent = ManifestRow("silent", str(tmp_path / "silent.wav"), frames=50, samples=32000)
        (tmp_path / "silent.wav").write_bytes(b"")
        every = Manifest(
            [*(ManifestRow(r.id, str(good.file(r)), str(good.audio_file(r)), r.frames) for r in good), silent]
        )
        config = DataConfig("audiovisual", ".", frames_per_gpu=400, num_workers=0)
        batches = list(training_loader(config, every, None, seed=0, pretraining=True))
        replaced = [entry for batch in batches for entry in batch["replaced"]]
        assert [name for name, _ in replaced] == ["silent"]

    def test_unlabelled_clips_can_be_pretrained_on_but_not_fine_tuned_on(self, store: Path) -> None:
        clip = Clip(None, Audio(np.zeros(1280, np.float32), 16000))
        row, words = ManifestRow("x", "x.wav"), WordUnits.from_texts(["A"])
        with pytest.raises(DataError, match="without a transcript"):
            RavenTransform(InputConfig(), words, train=True)(clip, row, torch.Generator())
        item = RavenTransform(InputConfig(), None, train=True, labelled=False)(clip, row, torch.Generator())
        assert item.audio is not None and len(item.audio) == 1280

    def test_sound_shorter_than_a_frame(self) -> None:
        clip = Clip(None, Audio(np.zeros(639, np.float32), 16000))
        with pytest.raises(DataError, match="shorter than a video frame"):
            RavenTransform(InputConfig(), CharUnits.from_texts(["A"]))(clip, ManifestRow("x", "x"), torch.Generator())


def test_inputs_that_make_no_sense() -> None:
    with pytest.raises(ConfigError):
        InputConfig(frame_size=40, crop_size=44)
    with pytest.raises(ConfigError):
        DataConfig(modality="lips")
