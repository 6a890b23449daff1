"""Lists, units, noise and batches of a training run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.avsr.data import (
    DataConfig,
    InputConfig,
    make_noise,
    read_list,
    training_loader,
    validation_loader,
)
from viseme.core.data import Manifest, ManifestRow, manifest_to_labels, write_labels
from viseme.core.data.lists import check_disjoint
from viseme.core.errors import ConfigError, DataError
from viseme.core.text import WordUnits, units_of


def config(store: Path, **changes: object) -> DataConfig:
    options: dict[str, object] = {
        "modality": "audiovisual",
        "root_dir": str(store),
        "batching": "dynamic",
        "max_frames": 300,
        "num_workers": 0,
        "frame_size": 48,
        "crop_size": 40,
    }
    return DataConfig(**(options | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clips(store: Path) -> Manifest:
    return read_list(config(store), "manifest.csv", split="trainval")


@pytest.fixture(scope="module")
def units(clips: Manifest) -> WordUnits:
    return WordUnits.from_texts(row.text for row in clips)


def test_a_published_list_and_a_manifest_say_the_same(store: Path, clips: Manifest, units: WordUnits) -> None:
    rows = manifest_to_labels(clips, units)
    write_labels(store / "labels" / "trainval.csv", rows)
    read = read_list(config(store), "trainval.csv", tokenizer=units)
    assert [row.text for row in read] == [row.text for row in clips]
    assert read.lengths() == clips.lengths()
    with pytest.raises(DataError, match="needs its units"):
        read_list(config(store), "trainval.csv")


def test_clips_without_the_stream_are_left_out(store: Path, tmp_path: Path) -> None:
    rows = [ManifestRow("a", "a.mp4", frames=10, samples=0), ManifestRow("b", "b.mp4", frames=10, samples=6400)]
    Manifest(rows, tmp_path).write(tmp_path / "list.csv")
    there = config(tmp_path)
    assert [row.id for row in read_list(there, "list.csv")] == ["b"]
    there.modality = "video"
    assert len(read_list(there, "list.csv")) == 2


def test_overlap_is_seen_by_id_and_by_file(clips: Manifest) -> None:
    other = Manifest([ManifestRow("else", str(clips.file(clips[0]).absolute()))])
    for shared in (clips, other):
        with pytest.raises(DataError, match="also trained on"):
            check_disjoint(clips, shared, "test")
        check_disjoint(clips, shared, "test", allow=True)
    check_disjoint(clips, Manifest([ManifestRow("new", "new.mp4")]), "test")


def test_batches_hold_what_the_network_takes(store: Path, clips: Manifest, units: WordUnits) -> None:
    loader = training_loader(config(store, noise_kinds=["white", "babble"]), clips, units, seed=3)
    seen = []
    for batch in loader:
        video, audio = batch["video"], batch["audio"]
        assert video.shape[1:] == (int(batch["video_lengths"].max()), 1, 40, 40)
        assert (batch["audio_lengths"] == 640 * batch["video_lengths"]).all()
        assert audio.shape[1] == 640 * video.shape[1]
        assert len(video) * video.shape[1] <= 300
        assert [units.decode(row.tolist()) for row in batch["targets"]] == batch["texts"]
        seen += batch["ids"]
    assert sorted(seen) == sorted(row.id for row in clips)


def test_an_epoch_is_drawn_anew_and_the_same_again(store: Path, clips: Manifest, units: WordUnits) -> None:
    def first(epoch: int) -> torch.Tensor:
        loader = training_loader(config(store, noise_kinds=["white"]), clips, units, seed=3)
        loader.batch_sampler.set_epoch(epoch)
        return next(iter(loader))["audio"]

    torch.testing.assert_close(first(1), first(1), rtol=0, atol=0)
    assert first(1).shape != first(2).shape or not torch.equal(first(1), first(2))


def test_ranks_share_the_clips(store: Path, clips: Manifest, units: WordUnits) -> None:
    halves = [
        {
            name
            for batch in training_loader(config(store), clips, units, seed=0, rank=rank, world_size=2)
            for name in batch["ids"]
        }
        for rank in (0, 1)
    ]
    assert halves[0] | halves[1] == {row.id for row in clips}


def test_validation_is_in_order_and_clean(store: Path, clips: Manifest, units: WordUnits) -> None:
    options = config(store, noise_kinds=["white"])
    once, again = (list(validation_loader(options, clips, units)) for _ in range(2))
    for a, b in zip(once, again, strict=True):
        assert a["ids"] == b["ids"]
        assert torch.equal(a["audio"], b["audio"]) and torch.equal(a["video"], b["video"])


@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
def test_noise_has_the_snr_that_was_asked_for(kind: str) -> None:
    voices = [np.sin(np.arange(8000) * hz / 16000).astype(np.float32) for hz in (700, 1300)]
    bank = make_noise([kind], voices, seed=0)
    speech = torch.randn(16000, 1)
    noise = bank.mix(speech, 5.0, torch.Generator().manual_seed(0)) - speech
    snr_db = 10 * torch.log10(speech.square().sum() / noise.square().sum())
    assert snr_db.item() == pytest.approx(5.0, abs=1e-3)


def test_crops_are_averaged_not_sampled() -> None:
    inputs = InputConfig(frame_size=48, crop_size=48)
    checkers = np.indices((96, 96)).sum(0) % 2 * 255
    seen = inputs.video(np.repeat(checkers[None].astype(np.uint8), 3, 0))
    assert seen.shape == (3, 1, 48, 48)
    torch.testing.assert_close(seen, torch.full_like(seen, (127.5 / 255 - 0.421) / 0.165), atol=0.02, rtol=0)
    with pytest.raises(ConfigError, match="crop_size"):
        InputConfig(frame_size=48, crop_size=88)


def test_units_of_every_kind(store: Path, tmp_path: Path) -> None:
    texts = ["BIN BLUE AT A ONE NOW", "SET RED BY B TWO SOON"] * 4
    for kind in ("words", "chars"):
        made = units_of(config(store, units=kind), texts)
        assert made.decode(made.encode(texts[0])) == texts[0]
        made.save(tmp_path / kind)
        assert units_of(config(store, units=str(tmp_path / kind)), None).encode(texts[1]) == made.encode(texts[1])
    pieces = units_of(config(store, units="sentencepiece", units_size=23), texts)
    assert pieces.decode(pieces.encode(texts[0])) == texts[0]
    with pytest.raises(ConfigError, match="no text"):
        units_of(config(store, units="words"), None)
