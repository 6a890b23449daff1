"""What a benchmark is, and the list of them.

A topic's file declares cases with `@case`. The decorated function is the set-up, which is not timed; it returns the
function to time, whose answer is the row's quality figure.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CASES", "Case", "append_rows", "case"]

Work = Callable[[], str]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        task: what is done; rows of one task are alternatives to one another.
        size: of the input and the model.
        variant: who does it: `viseme`, or the alternative by name.
        setup: makes the work to time.
        items: clips (or the like) that one run handles: times are also given per item.
        runs: timed runs, after one that warms up.
        full_only: left out of the quick table.
    """

    task: str
    size: str
    variant: str
    setup: Callable[[], Work]
    items: int = 1
    runs: int = 5
    full_only: bool = False

    @property
    def name(self) -> str:
        return f"{self.task} | {self.size} | {self.variant}"


CASES: list[Case] = []


def case(
    task: str, size: str, variant: str = "viseme", *, items: int = 1, runs: int = 5, full_only: bool = False
) -> Callable[[Callable[[], Work]], Callable[[], Work]]:
    """Enter a set-up function into the table."""

    def enter(setup: Callable[[], Work]) -> Callable[[], Work]:
        CASES.append(Case(task, size, variant, setup, items, runs, full_only))
        return setup

    return enter


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add results to a CSV that keeps those of earlier runs; its first line names the columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        if fresh:
            writer.writeheader()
        writer.writerows(rows)
