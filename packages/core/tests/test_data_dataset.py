"""The clip dataset: reading, caching, replacing, batches, and a loader that resumes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.data import (
    BatchSampler,
    ClipDataset,
    ClipLoader,
    Manifest,
    ManifestRow,
    NoiseBank,
    RecognitionTransform,
    collate_recognition,
)
from viseme.core.errors import DataError, MediaError
from viseme.core.media import write_audio, write_video
from viseme.core.text import CharUnits
from viseme.core.types import Audio, Clip, Video

UNITS = CharUnits.from_texts(["ABCDEFGH "])
FRAMES = (6, 9, 12, 7, 10, 8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Six clips as preparation leaves them: mp4 crops, and flac beside."""
    root = tmp_path_factory.mktemp("store")
    draw = np.random.default_rng(0)
    rows = []
    for i, n in enumerate(FRAMES):
        frames = np.repeat(draw.integers(0, 256, (n, 12, 12), dtype=np.uint8), 8, axis=1).repeat(8, axis=2)
        write_video(root / f"clip {i}.mp4", Video(np.repeat(frames[..., None], 3, axis=-1), 25.0))
        write_audio(root / f"clip {i}.flac", Audio(draw.uniform(-0.5, 0.5, 640 * n).astype(np.float32), 16000))
        files, text = (f"clip {i}.mp4", f"clip {i}.flac"), "ABC"[: i % 3 + 1]
        row = ManifestRow(f"c{i}", *files, frames=n, fps=25.0, samples=640 * n, rate=16000, text=text)
        rows.append(row)
    return Manifest(rows, root)


def broken(store: Manifest, *ids: str) -> Manifest:
    """The same manifest with files that are not there for some clips."""
    rows = [ManifestRow(**{**vars(row), "path": "gone.mp4"}) if row.id in ids else row for row in store]
    return Manifest(rows, store.root)


def dataset(manifest: Manifest, train: bool = True, **options) -> ClipDataset:
    noise = NoiseBank(np.random.default_rng(1).normal(size=4000).astype(np.float32))
    return ClipDataset(manifest, RecognitionTransform(UNITS, train=train, noise=noise), seed=3, **options)


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key] for key in a
    )


def test_items_have_the_published_shapes(store: Manifest) -> None:
    item = dataset(store)[2]
    assert item.row.id == "c2" and item.replaced == ()
    assert item.value.video.shape == (12, 1, 88, 88) and item.value.audio.shape == (12 * 640, 1)
    assert UNITS.decode(item.value.targets.tolist()) == "ABC"


@pytest.mark.parametrize("streams", [{"video": False}, {"audio": False}])
def test_single_streams(store: Manifest, streams: dict[str, bool]) -> None:
    batch = collate_recognition([dataset(store, **streams)[i] for i in range(3)])
    assert ("video" in batch) == streams.get("video", True)
    assert ("audio" in batch) == streams.get("audio", True)


def test_collate_pads(store: Manifest) -> None:
    batch = collate_recognition([dataset(store)[i] for i in (0, 2, 1)])
    assert batch["video"].shape == (3, 12, 1, 88, 88) and batch["video_lengths"].tolist() == [6, 12, 9]
    assert batch["audio"].shape == (3, 7680, 1) and batch["audio_lengths"].tolist() == [3840, 7680, 5760]
    assert batch["targets"].shape == (3, 3) and batch["targets"][0].tolist()[1:] == [-1, -1]
    assert batch["target_lengths"].tolist() == [1, 3, 2]
    assert batch["video"][0, 6:].abs().max() == 0 and batch["audio"][0, 3840:].abs().max() == 0
    assert batch["ids"] == ["c0", "c2", "c1"] and batch["texts"] == ["A", "ABC", "AB"]


def test_draws_depend_on_clip_and_epoch_alone(store: Manifest) -> None:
    first, second = dataset(store), dataset(store)
    second[0], second[(1, 5)]
    assert torch.equal(first[(2, 1)].value.video, second[(2, 1)].value.video)
    assert torch.equal(first[(2, 1)].value.audio, second[(2, 1)].value.audio)
    assert not torch.equal(first[(2, 1)].value.audio, first[(2, 2)].value.audio)


def test_cache_changes_nothing_and_keeps_its_limit(store: Manifest) -> None:
    plain, cached = dataset(store), dataset(store, cache_bytes=10**9)
    seen: list[tuple[int, int]] = []
    assert cached.fill_cache(threads=2, progress=lambda done, total: seen.append((done, total))) == len(store)
    assert seen[-1] == (6, 6) and len(seen) == 6
    for i in range(len(store)):
        assert torch.equal(plain[i].value.video, cached[i].value.video)
        torch.testing.assert_close(plain[i].value.audio, cached[i].value.audio, atol=1e-3, rtol=0)
    one_clip = 6 * 96 * 96 + 6 * 640 * 2
    small = dataset(store, cache_bytes=one_clip + 10)
    assert small.fill_cache() == 1
    assert torch.equal(plain[4].value.video, small[4].value.video)


def test_cached_clips_need_no_file(store: Manifest, tmp_path: Path) -> None:
    for path in store.root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    moved = dataset(Manifest(store.rows, tmp_path), cache_bytes=10**9)
    moved.fill_cache()
    for path in tmp_path.iterdir():
        path.unlink()
    assert moved[0].value.video.shape[0] == 6


def test_bad_clips_are_replaced_reported_and_counted(store: Manifest, caplog: pytest.LogCaptureFixture) -> None:
    data = dataset(broken(store, "c4", "c1"), on_error="replace")
    with caplog.at_level(logging.WARNING):
        batch = collate_recognition([data[4], data[4], data[0]])
    assert batch["ids"] == ["c5", "c5", "c0"]  # 10 and 9 frames are broken: the next shorter has 8
    assert [name for name, _ in batch["replaced"]] == ["c4", "c1", "c4", "c1"]
    assert "gone.mp4" in batch["replaced"][0][1]
    assert len(caplog.records) == 2


def test_a_broken_data_set_is_an_error(store: Manifest) -> None:
    data = dataset(broken(store, *(row.id for row in store)), on_error="replace")
    with pytest.raises(DataError, match="6 clips"):
        data[0]


def test_evaluation_raises(store: Manifest) -> None:
    data = dataset(broken(store, "c1"), train=False)
    assert data[0].value.video is not None
    with pytest.raises(MediaError, match="gone"):
        data[1]


def test_missing_stream_and_missing_text(store: Manifest) -> None:
    silent = Manifest([ManifestRow("a", store[0].path, text="A")], store.root)
    with pytest.raises(MediaError):
        dataset(silent)[0]
    with pytest.raises(DataError, match="transcript"):
        dataset(Manifest([ManifestRow("a", store[0].path)], store.root), audio=False)[0]
    with pytest.raises(DataError, match="no clips"):
        dataset(Manifest([]))


def test_evaluation_noise_is_the_same_every_time(store: Manifest) -> None:
    noise = NoiseBank(np.random.default_rng(1).normal(size=4000).astype(np.float32))
    clean, noisy = (RecognitionTransform(UNITS, noise=noise, snr_db=snr) for snr in (None, 0.0))
    first, second = (ClipDataset(store, noisy)[1].value.audio for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, ClipDataset(store, clean)[1].value.audio)


def test_segments_of_a_longer_file(store: Manifest) -> None:
    whole = ClipDataset(store, lambda clip, row, generator: clip)
    part_row = ManifestRow("part", store[2].path, store[2].audio, start_s=0.16, end_s=0.4, frames=6)
    part = ClipDataset(Manifest([part_row], store.root), lambda clip, row, generator: clip)[0].value
    full: Clip = whole[2].value
    assert np.array_equal(part.video.frames, full.video.frames[4:10])
    assert np.array_equal(part.audio.samples, full.audio.samples[2560:6400])


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_resumes_with_the_next_batch(store: Manifest, workers: int) -> None:
    def loader() -> ClipLoader:
        sampler = BatchSampler(store.lengths(), 20, seed=1)
        return ClipLoader(dataset(store), sampler, collate_recognition, workers=workers)

    whole, states = [], []
    straight = loader()
    for epoch in (0, 1):
        straight.batch_sampler.set_epoch(epoch)
        for batch in straight:
            whole.append(batch)
            states.append(straight.state_dict())
    assert len(whole) == 2 * len(straight)
    for at in (0, 1, len(straight) - 1, len(straight)):
        resumed = loader()
        resumed.load_state_dict(states[at])
        rest = []
        for epoch in range(states[at]["epoch"], 2):
            resumed.batch_sampler.set_epoch(epoch)
            rest += list(resumed)
        assert len(rest) == len(whole) - at - 1
        assert all(equal(a, b) for a, b in zip(rest, whole[at + 1 :]))


def test_state_of_a_new_epoch_is_its_start(store: Manifest) -> None:
    loader = ClipLoader(dataset(store), BatchSampler(store.lengths(), 20), collate_recognition)
    list(loader)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 0)
    loader.batch_sampler.set_epoch(1)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 0)
