"""Batching: what every rule must keep, sharding, and resuming in the middle of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viseme.core.data import BatchSampler, bucket_batches, dynamic_batches, frame_count_batches
from viseme.core.data.batching import BATCHING_RULES
from viseme.core.errors import ConfigError

LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=60)


@given(LENGTHS, st.integers(0, 3), st.booleans())
def test_every_clip_once_and_within_the_budget(lengths: list[int], epoch: int, shuffle: bool) -> None:
    options = {"shuffle": shuffle, "seed": 1, "epoch": epoch}
    made = {
        "dynamic": dynamic_batches(lengths, 900, **options),
        "frame_count": frame_count_batches(lengths, 900, **options),
        "bucket": bucket_batches(lengths, 900, 5),
    }
    for rule, batches in made.items():
        assert sorted(clip for batch in batches for clip in batch) == list(range(len(lengths)))
        for batch in batches:
            inside = [lengths[clip] for clip in batch]
            assert (sum(inside) if rule == "bucket" else max(inside) * len(inside)) <= 900


def test_dynamic_batches_change_and_pad_little() -> None:
    lengths = [20 + (37 * i) % 130 for i in range(500)]
    first, second = (dynamic_batches(lengths, 1800, shuffle=True, seed=0, epoch=epoch) for epoch in (0, 1))
    assert {frozenset(b) for b in first} != {frozenset(b) for b in second}
    padded = sum(len(b) * max(lengths[i] for i in b) for b in first)
    assert sum(lengths) / padded > 0.85


@pytest.mark.parametrize("rule", BATCHING_RULES)
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_the_epoch(rule: str, world_size: int) -> None:
    lengths = [10 + i % 50 for i in range(101)]
    samplers = [
        BatchSampler(lengths, 300, rule=rule, seed=3, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    for sampler in samplers:
        sampler.set_epoch(2)
    dealt = [list(sampler) for sampler in samplers]
    assert {len(batches) for batches in dealt} == {len(samplers[0])}
    clips = [clip for batches in dealt for batch in batches for clip, epoch in batch if epoch == 2]
    assert set(clips) == set(range(len(lengths)))
    repeated = len(clips) - len(lengths)
    assert repeated <= (world_size - 1) * max(len(b) for batches in dealt for b in batches)


def test_epochs_differ_and_repeat() -> None:
    sampler = BatchSampler([10 + i % 30 for i in range(60)], 200, seed=5)
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        epochs.append([[clip for clip, _ in batch] for batch in sampler])
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]


def test_without_shuffling_every_epoch_is_the_same() -> None:
    sampler = BatchSampler([10 + i % 30 for i in range(60)], 200, shuffle=False)
    first = [[clip for clip, _ in batch] for batch in sampler]
    sampler.set_epoch(1)
    assert [[clip for clip, _ in batch] for batch in sampler] == first


@given(st.integers(0, 20), st.integers(0, 3))
def test_resume(position: int, epoch: int) -> None:
    lengths = [10 + i % 30 for i in range(60)]
    sampler = BatchSampler(lengths, 200, seed=5)
    sampler.set_epoch(epoch)
    whole = list(sampler)
    position = min(position, len(whole))
    state = {**sampler.state_dict(), "position": position}
    again = BatchSampler(lengths, 200, seed=5)
    again.load_state_dict(state)
    again.set_epoch(epoch)  # as the trainer does when it takes the epoch up again
    assert list(again) == whole[position:]
    assert list(again) == whole  # the place is used once
    again.load_state_dict(state)
    again.set_epoch(epoch + 1)
    assert len(list(again)) == len(again)


def test_resume_refuses_other_data() -> None:
    state = BatchSampler([10, 20, 30], 60).state_dict()
    for other in (BatchSampler([10, 20, 31], 62), BatchSampler([10, 20, 30], 60, seed=1)):
        with pytest.raises(ConfigError, match="resume"):
            other.load_state_dict(state)


@pytest.mark.parametrize("lengths", [[], [0, 3], [1000]])
def test_clips_that_cannot_be_batched(lengths: list[int]) -> None:
    for make in (
        lambda: bucket_batches(lengths, 900, 3),
        lambda: dynamic_batches(lengths, 900, shuffle=True),
        lambda: frame_count_batches(lengths, 900, shuffle=False),
        lambda: BatchSampler(lengths, 900),
    ):
        with pytest.raises(ConfigError):
            make()


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match="dynamic"):
        BatchSampler([1], 10, rule="random")
    with pytest.raises(ConfigError, match="rank"):
        BatchSampler([1], 10, rank=2, world_size=2)


@pytest.mark.parametrize("rule", ["dynamic", "frame_count", "bucket"])
@pytest.mark.parametrize("clips", [1, 3, 40, 700])
def test_every_epoch_has_equally_many_batches(rule: str, clips: int) -> None:
    """Lightning asks for the number once: one more would be left out, one fewer would skip the validation."""
    lengths = np.random.default_rng(clips).integers(20, 120, clips).tolist()
    sampler = BatchSampler(lengths, 480, rule=rule, seed=3)
    counts = []
    for epoch in range(12):
        sampler.set_epoch(epoch)
        batches = sampler.all_batches()
        counts.append(len(batches))
        assert sorted(clip for batch in batches for clip in batch) == list(range(clips))
        if rule != "bucket":
            assert all(len(batch) * max(lengths[clip] for clip in batch) <= 480 for batch in batches)
    assert len(set(counts)) == 1
