"""Averaging of weights over checkpoints (Auto-AVSR: the mean of the last 10 epochs is the model that is tested)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from viseme.core.errors import CheckpointError

from .reading import read_published

__all__ = ["average_states", "last_epochs"]


def last_epochs(directory: str | Path, count: int = 10) -> list[Path]:
    """The checkpoints `epoch=N*.ckpt` of the last `count` epochs, oldest first; fewer where there are fewer.

    Raises:
        CheckpointError: there is none.
    """
    if count < 1:
        raise CheckpointError("nothing to average", expected="count >= 1", got=count)
    numbered = {}
    for path in Path(directory).glob("epoch=*.ckpt"):
        if match := re.match(r"epoch=(\d+)", path.name):
            numbered[int(match[1])] = path
    if not numbered:
        raise CheckpointError("no checkpoints to average", path=Path(directory), expected="epoch=N.ckpt")
    return [numbered[epoch] for epoch in sorted(numbered)[-count:]]


def average_states(
    sources: Sequence[str | Path] | Iterable[Mapping[str, Tensor]],
    *,
    unwrap: str | Sequence[str] = "state_dict",
    prefix: str = "model.",
) -> dict[str, Tensor]:
    """The arithmetic mean of state dicts; integer entries (counters) are summed and divided with floor, as published.

    Args:
        sources: checkpoint files (read one at a time: memory holds two models, whatever their number), or state dicts.
        unwrap, prefix: where a file keeps the weights, as in `read_published`; the defaults are Lightning's layout.

    Returns:
        Keys without the prefix; each tensor in its own dtype (halves are summed in float32).

    Raises:
        CheckpointError: nothing given, or a source has other keys or shapes than the first.
    """
    total: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    count = 0
    for source in sources:
        state = source if isinstance(source, Mapping) else read_published(source, unwrap=unwrap, prefix=prefix)
        path = None if isinstance(source, Mapping) else Path(source)
        if not count:
            dtypes = {key: value.dtype for key, value in state.items()}
            total = {key: value.to(_sum_dtype(value.dtype), copy=True) for key, value in state.items()}
        else:
            odd = set(state) ^ set(total) | {k for k in set(state) & set(total) if state[k].shape != total[k].shape}
            if odd:
                raise CheckpointError(
                    "the checkpoints do not belong together", path=path, got=f"differing keys {sorted(odd)[:5]}"
                )
            for key, value in state.items():
                total[key] += value
        count += 1
    if not count:
        raise CheckpointError("nothing to average")
    return {
        key: (value / count if value.is_floating_point() else value // count).to(dtypes[key])
        for key, value in total.items()
    }


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_floating_point:
        return torch.float32 if dtype.itemsize < 4 else dtype
    return torch.int64  # counters, and flags, which a sum would overflow
