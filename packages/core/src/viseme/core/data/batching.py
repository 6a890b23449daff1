"""Which clips share a batch: both published rules, and the default one.

The published rules are pure functions from lengths to lists of clip numbers. `BatchSampler` serves them, or the
default rule, shuffled, split over ranks, and able to resume in the middle of an epoch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from viseme.core.errors import ConfigError

__all__ = [
    "BATCHING_RULES",
    "BatchSampler",
    "bucket_batches",
    "dynamic_batches",
    "frame_count_batches",
    "frame_count_order",
]

BATCHING_RULES = ("dynamic", "bucket", "frame_count")


def _check(lengths: Sequence[int], max_frames: int) -> None:
    if not len(lengths):
        raise ConfigError("no clips to make batches of")
    if min(lengths) < 1:
        raise ConfigError(
            "clips of no length cannot be batched", got=f"{sum(n < 1 for n in lengths)} of {len(lengths)}"
        )
    if max(lengths) > max_frames:
        raise ConfigError(
            f"{sum(n > max_frames for n in lengths)} of {len(lengths)} clips are longer than a batch may be",
            expected=f"at most max_frames={max_frames} frames",
            got=f"{max(lengths)} frames",
            hint="Raise max_frames, or cut the clips shorter in preparation.",
        )


def bucket_batches(lengths: Sequence[int], max_frames: int, num_buckets: int) -> list[list[int]]:
    """Auto-AVSR's batches since 2025: clips by bucket of length ascending, longest first inside one,
    filled greedily while the SUM of lengths is at most `max_frames` (so the padded size is bounded only by the
    buckets' width).

    Args:
        lengths: frames of each clip.
        max_frames: most frames of a batch, padding not counted.
        num_buckets: equal widths between the shortest and the longest clip.

    Raises:
        ConfigError: no clips, or one longer than `max_frames`.
    """
    _check(lengths, max_frames)
    clips = torch.as_tensor(lengths)
    edges = torch.linspace(int(clips.min()), int(clips.max()), num_buckets)
    bucket = torch.bucketize(clips, edges, right=False)
    order = np.lexsort((-clips.numpy(), bucket.numpy()))
    batches: list[list[int]] = []
    frames = max_frames + 1
    for clip in order.tolist():
        if frames + lengths[clip] > max_frames:
            batches.append([])
            frames = 0
        batches[-1].append(clip)
        frames += lengths[clip]
    return batches


def frame_count_order(lengths: Sequence[int], *, shuffle: bool, seed: int = 0, epoch: int = 0) -> list[int]:
    """Clips longest first; of equal ones the later first, or with `shuffle` in the order of a permutation drawn from
    `seed + epoch`."""
    if shuffle:
        ties = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed + epoch)).numpy()
    else:
        ties = np.arange(len(lengths))
    return np.lexsort((ties, np.asarray(lengths)))[::-1].tolist()


def frame_count_batches(
    lengths: Sequence[int], max_frames: int, *, shuffle: bool, seed: int = 0, epoch: int = 0
) -> list[list[int]]:
    """Auto-AVSR's batches until 2024: clips longest first (`frame_count_order`), filled greedily while the PADDED
    size (clips times longest clip) is at most `max_frames`.

    Raises:
        ConfigError: no clips, or one longer than `max_frames`.
    """
    _check(lengths, max_frames)
    return _fill_padded(frame_count_order(lengths, shuffle=shuffle, seed=seed, epoch=epoch), lengths, max_frames)


def dynamic_batches(
    lengths: Sequence[int], max_frames: int, *, shuffle: bool, seed: int = 0, epoch: int = 0, jitter: float = 0.1
) -> list[list[int]]:
    """The default rule: like `frame_count_batches`, but every epoch mixes other clips, because they are sorted by
    length times a factor drawn from [1 - jitter, 1 + jitter].

    Raises:
        ConfigError: no clips, or one longer than `max_frames`.
    """
    _check(lengths, max_frames)
    keys = np.asarray(lengths, dtype=float)
    if shuffle:
        keys *= np.random.default_rng((seed, epoch, 0)).uniform(1 - jitter, 1 + jitter, size=len(keys))
    return _fill_padded(np.argsort(-keys, kind="stable").tolist(), lengths, max_frames)


def _fill_padded(order: list[int], lengths: Sequence[int], max_frames: int) -> list[list[int]]:
    batches: list[list[int]] = []
    longest = 0
    for clip in order:
        longest = max(longest, lengths[clip])
        if not batches or (len(batches[-1]) + 1) * longest > max_frames:
            batches.append([])
            longest = lengths[clip]
        batches[-1].append(clip)
    return batches


class BatchSampler:
    """Batches of an epoch, for one rank, as lists of `(clip, epoch)`.

    The epoch travels with the clip, so that a data worker that outlives an epoch still draws that epoch's
    augmentation.

    Args:
        lengths: frames of each clip.
        max_frames: most frames of a batch: padded size (`dynamic`, `frame_count`) or sum (`bucket`).
        rule: `dynamic`, `bucket` or `frame_count`.
        shuffle: shuffle the batches (and what the rule draws) anew each epoch.
        seed: the same on every rank.
        rank, world_size: this process among all. Every rank gets equally many batches: where they do not divide
            evenly, the first ones are given out again.
        num_buckets: for `bucket`.

    Raises:
        ConfigError: no such rule or rank, no clips, or one longer than `max_frames`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        max_frames: int,
        *,
        rule: str = "dynamic",
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        num_buckets: int = 400,
    ) -> None:
        if rule not in BATCHING_RULES:
            raise ConfigError("no such batching rule", expected=" | ".join(BATCHING_RULES), got=rule)
        if not 0 <= rank < world_size:
            raise ConfigError("no such rank", expected=f"0..{world_size - 1}", got=rank)
        _check(lengths, max_frames)
        self.lengths, self.max_frames, self.rule = list(lengths), max_frames, rule
        self.shuffle, self.seed, self.rank, self.world_size = shuffle, seed, rank, world_size
        self.num_buckets = num_buckets
        self.epoch = 0
        self.position = 0
        self._cached: tuple[int, list[list[int]]] | None = None

    @property
    def sampler(self) -> BatchSampler:
        """Itself: Lightning calls `set_epoch` on `loader.batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that iterating gives; a position set by `load_state_dict` holds for its own epoch only."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def all_batches(self) -> list[list[int]]:
        """This epoch's batches of all ranks, in the order in which they are dealt out."""
        if self._cached is None or self._cached[0] != self.epoch:
            self._cached = (self.epoch, self._make())
        return self._cached[1]

    def _make(self) -> list[list[int]]:
        options: dict[str, Any] = {"shuffle": self.shuffle, "seed": self.seed, "epoch": self.epoch}
        if self.rule == "bucket":
            batches = bucket_batches(self.lengths, self.max_frames, self.num_buckets)
        elif self.rule == "frame_count":
            batches = frame_count_batches(self.lengths, self.max_frames, **options)
        else:
            batches = self._dynamic(options)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch, 1)).permutation(len(batches))
            batches = [batches[i] for i in order]
        missing = -len(batches) % self.world_size
        return batches + [batches[i % len(batches)] for i in range(missing)]

    def _dynamic(self, options: dict[str, Any]) -> list[list[int]]:
        """Dynamic batches, equally many in every epoch: a trainer asks for the number once, and would leave out what an
        epoch has more, or not notice the end of one that has fewer."""
        fewest = dynamic_batches(self.lengths, self.max_frames, **options | {"shuffle": False})
        if not self.shuffle:
            return fewest
        wanted = math.floor(1.02 * len(fewest))  # the slack buys different neighbours in every epoch
        jitter = 0.1
        while len(batches := dynamic_batches(self.lengths, self.max_frames, **options, jitter=jitter)) > wanted:
            jitter = jitter / 2 if jitter > 1e-3 else 0.0  # without any, these are the fewest
        for _ in range(wanted - len(batches)):
            largest = max(range(len(batches)), key=lambda i: len(batches[i]))
            half = len(batches[largest]) // 2
            batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
        return batches

    def __len__(self) -> int:
        return len(self.all_batches()) // self.world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        start, self.position, epoch = self.position, 0, self.epoch
        for batch in self.all_batches()[self.rank :: self.world_size][start:]:
            yield [(clip, epoch) for clip in batch]

    def state_dict(self) -> dict[str, Any]:
        """Where iterating would start, and a fingerprint of everything that decides what comes."""
        return {"epoch": self.epoch, "position": self.position, "fingerprint": self._fingerprint()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` says.

        Raises:
            ConfigError: the state belongs to other data or other batching options.
        """
        if state["fingerprint"] != self._fingerprint():
            raise ConfigError(
                "cannot resume in the middle of an epoch: the data, the batching options, the seed or the number of "
                "ranks have changed since the checkpoint",
                hint="Restore them, or start a new run from the checkpoint's weights.",
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def _fingerprint(self) -> str:
        options = (self.max_frames, self.rule, self.shuffle, self.seed, self.world_size, self.num_buckets)
        content = np.asarray(self.lengths, dtype=np.int64).tobytes() + repr(options).encode()
        return hashlib.sha256(content).hexdigest()
