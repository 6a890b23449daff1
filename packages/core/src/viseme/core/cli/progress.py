"""Progress on standard error: a live bar for a person, a plain line now and then for a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

__all__ = ["Counter", "track"]

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
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from _bar(items, what, total, unit)
    else:
        yield from _lines(items, what, total, unit, every_s)


def _bar(items: Iterable[T], what: str, total: int | None, unit: str) -> Iterator[T]:
    with _rich_bar(unit) as bar:
        yield from bar.track(items, total=total, description=what)


def _rich_bar(unit: str) -> Any:
    from rich import progress as rich
    from rich.console import Console

    text = rich.TextColumn("{task.description}")
    columns = (text, rich.BarColumn(), rich.MofNCompleteColumn(), rich.TextColumn(unit), rich.TimeElapsedColumn())
    return rich.Progress(*columns, rich.TimeRemainingColumn(), console=Console(stderr=True))


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


class Counter:
    """Progress of work that reports `(done, total)` itself: `with Counter("rendering") as c: work(c.update)`."""

    def __init__(self, what: str, *, unit: str = "clips", every_s: float = 10.0) -> None:
        self.what, self.unit, self.every_s = what, unit, every_s
        self._start = self._last = time.monotonic()
        self._done, self._total = 0, 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Counter:
        if sys.stderr.isatty():
            self._bar = _rich_bar(self.unit)
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=None)
        return self

    def update(self, done: int, total: int) -> None:
        """So many are done, of so many."""
        self._done, self._total = done, total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif (now := time.monotonic()) - self._last >= self.every_s:
            self._last = now
            _say(self.what, done, total, self.unit, now - self._start)

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._total:
            _say(self.what, self._done, self._total, self.unit, time.monotonic() - self._start)
