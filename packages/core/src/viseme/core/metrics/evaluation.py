"""An evaluation on disk: the table with its provenance, every clip's figures, and both as a page to read.

results.json   rows, one a condition; chance; provenance
clips.csv      one line a clip and condition
results.html   the same, to be read
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viseme.core.errors import DataError
from viseme.core.files import write_text_atomic
from viseme.core.metrics.bootstrap import bootstrap_interval
from viseme.core.metrics.rates import count_errors
from viseme.core.metrics.report import evaluation_page
from viseme.core.metrics.results import Provenance, write_clip_csv, write_results

__all__ = ["CLIPS", "PAGE", "RESULTS", "EvaluationFiles", "read_evaluation", "write_evaluation"]

RESULTS, CLIPS, PAGE = "results.json", "clips.csv", "results.html"
CONDITION = ("modality", "noise", "snr_db", "dataset", "speech", "row", "by")
"""Columns that say under what a figure was taken, where a table has them."""

Clips = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class EvaluationFiles:
    """An evaluation that was read back.

    Attributes:
        path: its folder.
        rows: of the table.
        clips: of `clips.csv`, as text.
        provenance: as `results.Provenance` holds it.
        synthetic: whether the data were rendered.
    """

    path: Path
    rows: list[dict[str, Any]]
    clips: list[dict[str, str]]
    provenance: dict[str, Any]
    synthetic: bool


def write_evaluation(folder: str | Path, rows: Clips, clips: Clips, provenance: Provenance) -> None:
    """Write the three files.

    Where clips have a reference and a hypothesis, the error rate of chance is added: every clip's hypothesis against
    another clip's reference, half the list away.

    Args:
        rows: of the table: conditions and figures.
        clips: of every clip and condition; `id`, the condition, figures.

    Raises:
        DataError: no rows, no clips, or values that JSON cannot hold.
    """
    folder = Path(folder)
    chance = _chance(clips)
    write_results(folder / RESULTS, rows, provenance, chance=chance)
    write_clip_csv(folder / CLIPS, clips)
    content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    write_text_atomic(folder / PAGE, evaluation_page(content, clips))


def read_evaluation(path: str | Path) -> EvaluationFiles:
    """Read what `write_evaluation` wrote: its folder, or the `results.json` in it.

    Raises:
        DataError: there is none, or the files are something else.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    results = folder / RESULTS if path.is_dir() else path
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
        with (folder / CLIPS).open(encoding="utf-8", newline="") as lines:
            clips = list(csv.DictReader(lines))
        rows, provenance = content["rows"], content["provenance"]
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows) and isinstance(provenance, dict)):
            raise TypeError("rows must be a list of objects")
    except FileNotFoundError as error:
        raise DataError("no evaluation is here", path=error.filename, expected=f"{RESULTS} and {CLIPS}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            "not the results of an evaluation", path=results, got=f"{type(error).__name__}: {error}"
        ) from error
    if any(None in clip or None in clip.values() for clip in clips):
        raise DataError("lines of unequal length", path=folder / CLIPS)
    return EvaluationFiles(folder, rows, clips, provenance, bool(content.get("synthetic")))


def condition_of(clip: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Under what a row or a clip's figures were taken."""
    return tuple((name, str(clip[name])) for name in CONDITION if clip.get(name) not in (None, ""))


def _chance(clips: Clips) -> list[dict[str, Any]]:
    """Word error rate of each condition with hypotheses given to the wrong clips."""
    by_condition: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    for clip in clips:
        if {"reference", "hypothesis"} <= clip.keys():
            by_condition.setdefault(condition_of(clip), []).append(clip)
    found = []
    for condition, some in by_condition.items():
        if len(some) < 2:
            continue
        step = len(some) // 2
        counts = [
            count_errors(str(clip["reference"]).lower().split(), str(other["hypothesis"]).lower().split())
            for clip, other in zip(some, [*some[step:], *some[:step]], strict=True)
        ]
        errors, words = [count.errors for count in counts], [count.length for count in counts]
        if sum(words):
            low, high = bootstrap_interval(errors, words)
            found.append({**dict(condition), "wer": sum(errors) / sum(words), "low": low, "high": high})
    return found
