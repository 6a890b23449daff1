"""Whether a state dict has exactly the keys and shapes that a network wants, said in one line where it has not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from viseme.core.errors import CheckpointError

__all__ = ["check_keys", "some"]


def check_keys(
    state: Mapping[str, Tensor],
    expected: nn.Module | Mapping[str, Tensor],
    what: str,
    *,
    path: str | Path | None = None,
) -> None:
    """Insist on the keys and shapes of `expected` (a module, on the meta device as well, or its state dict).

    Raises:
        CheckpointError: missing, unknown or misshapen entries; each kind is named with examples.
    """
    wanted = expected.state_dict() if isinstance(expected, nn.Module) else expected
    problems = []
    if missing := wanted.keys() - state.keys():
        problems.append(f"missing: {some(missing)}")
    if unknown := state.keys() - wanted.keys():
        problems.append(f"unknown: {some(unknown)}")
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if wrong:
        problems.append(f"of another shape: {some(wrong)}")
    if problems:
        raise CheckpointError(f"keys of {what} do not fit", path=path, got="; ".join(problems))


def some(names: Iterable[str], count: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = sorted(names)
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
