"""The loader of a training run: workers, and a place in the epoch that a checkpoint can keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from viseme.core.data.batching import BatchSampler

__all__ = ["ClipLoader"]


class ClipLoader(DataLoader):
    """A `DataLoader` over a `BatchSampler` with `state_dict`/`load_state_dict`, which Lightning finds and keeps in its
    checkpoints: a run that was cut off resumes with the very batch that would have come next.

    The trainer must leave the sampler alone (`use_distributed_sampler=False`).

    Args:
        dataset: a `ClipDataset`.
        sampler: the batches.
        collate: makes a batch of a list of items.
        workers: processes that read; 0 reads in this one (best with a filled cache).
        pin_memory: for copies to a CUDA device.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: BatchSampler,
        collate: Callable[[list[Any]], Any],
        *,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
        )
        self._batches = sampler
        self._given = (0, 0)  # epoch, and batches of it that the consumer has had; workers read ahead of it

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch, position = self._batches.epoch, self._batches.position
        for number, batch in enumerate(super().__iter__(), start=position + 1):
            self._given = (epoch, number)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch handed out; after an epoch's last one, the start of the next epoch."""
        state = self._batches.state_dict()
        if self._given[0] == state["epoch"]:
            state["position"] = max(self._given[1], state["position"])
        if state["position"] >= len(self._batches):
            state |= {"epoch": state["epoch"] + 1, "position": 0}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` says; see `BatchSampler.load_state_dict`."""
        self._batches.load_state_dict(state)
        self._given = (0, 0)
