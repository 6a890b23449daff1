"""Progress on standard error: a live bar for a person, a plain line now and then for a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["track"]

T = TypeVar("T")


def track(
    items: Iterable[T], what: str, *, total: int | None = None, unit: str = "clips", every_s: float = 10.0
) -> Iterator[T]:
    """Pass `items` through and show how far they are.

    Args:
        items: what is worked on.
        what: a word or two for it, e.g. `preparing`.
        total: how many there are; taken from `len(items)` where that exists.
        unit: what they are.
        every_s: seconds between the lines where standard error is not a terminal.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    if sys.stderr.isatty():
        yield from _bar(items, what, total, unit)
    else:
        yield from _lines(items, what, total, unit, every_s)


def _bar(items: Iterable[T], what: str, total: int | None, unit: str) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=what)


def _lines(items: Iterable[T], what: str, total: int | None, unit: str, every_s: float) -> Iterator[T]:
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            _say(what, done, total, unit, now - start)
    _say(what, done, total, unit, time.monotonic() - start)


def _say(what: str, done: int, total: int | None, unit: str, seconds: float) -> None:
    of = f"/{total}" if total is not None else ""
    print(f"{what}: {done}{of} {unit} in {seconds:.1f} s", file=sys.stderr, flush=True)
