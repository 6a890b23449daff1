"""Two evaluations on the same clips, compared clip by clip: paired bootstrap, the same draws for both systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from viseme.core.errors import DataError
from viseme.core.metrics.bootstrap import paired_bootstrap
from viseme.core.metrics.evaluation import EvaluationFiles, condition_of

__all__ = ["Change", "Comparison", "compare"]

HIGHER_IS_BETTER = {
    "stoi": True,
    "estoi": True,
    "pesq": True,
    "dnsmos": True,
    "cosine": True,
    "lse_c": True,
    "expert_c": True,
    "psnr": True,
    "ssim": True,
    "mouth_correlation": True,
    "lse_d": False,
    "expert_d": False,
    "mouth_distance": False,
    "uer": False,
}
"""Figures of clips whose mean is compared; word error rates are errors over words instead."""


@dataclass(frozen=True)
class Change:
    """One figure under one condition.

    Attributes:
        condition: e.g. `modality video`.
        figure: `wer`, `stoi`, ...
        a, b: of the first and the second evaluation, on the clips that both have.
        difference: b minus a.
        low, high: its 95 % interval.
        probability_better: share of the resamples in which b is the better one.
        clips: compared.
    """

    condition: str
    figure: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    probability_better: float
    clips: int

    @property
    def clear(self) -> bool:
        """The interval does not contain nought."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """What changed from a to b, and what a reader must know of it."""

    changes: list[Change]
    notes: list[str]
    synthetic: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "synthetic": self.synthetic,
            "changes": [{**asdict(change), "clear": change.clear} for change in self.changes],
            "notes": self.notes,
        }

    def __str__(self) -> str:
        lines = ["SYNTHETIC data"] if self.synthetic else []
        lines.append(f"{'condition':34} {'figure':18} {'a':>8} {'b':>8} {'b - a':>8} {'95 % interval':>19}  b better")
        for change in self.changes:
            interval = f"{change.low:+.4f} to {change.high:+.4f}"
            lines.append(
                f"{change.condition or 'all':34} {change.figure:18} {change.a:8.4f} {change.b:8.4f} "
                f"{change.difference:+8.4f} {interval:>19}  {change.probability_better:6.1%}"
                f"{'' if change.clear else '  (could be chance)'}"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def compare(a: EvaluationFiles, b: EvaluationFiles, *, anyway: bool = False) -> Comparison:
    """Compare two evaluations.

    Args:
        anyway: compare on the clips that both have, although data or conventions differ.

    Raises:
        DataError: other test data, another normaliser, recogniser or PESQ convention; or nothing in common.
    """
    notes = _differences(a, b)
    if notes and not anyway:
        raise DataError(
            f"these evaluations cannot be compared: {'; '.join(notes)}",
            hint="--anyway compares the clips that both have, for what it is worth.",
        )
    mine, theirs = _by_condition(a), _by_condition(b)
    changes = []
    for condition in mine:
        if condition in theirs:
            changes += _changes(
                " ".join(f"{name} {value}" for name, value in condition), mine[condition], theirs[condition]
            )
    if not changes:
        raise DataError("nothing in common: no clip has the same figure under the same condition in both")
    alone = sorted(" ".join(value for _, value in c) for c in mine.keys() ^ theirs.keys())
    if alone:
        notes.append(f"in one of them only: {'; '.join(alone)}")
    return Comparison(changes, notes, a.synthetic or b.synthetic)


def _differences(a: EvaluationFiles, b: EvaluationFiles) -> list[str]:
    """What makes figures of the two incomparable."""
    found = []
    if {clip.get("id") for clip in a.clips} != {clip.get("id") for clip in b.clips}:
        found.append("other clips")
    elif a.provenance.get("data_sha256") != b.provenance.get("data_sha256"):
        found.append("the test data are not the same")
    if a.synthetic != b.synthetic:
        found.append("one is SYNTHETIC")
    for name in ("normaliser", "recogniser", "pesq"):
        one, other = _option(a, name), _option(b, name)
        if one != other:
            found.append(f"{name} {one or 'none'} and {other or 'none'}")
    return found


def _option(evaluation: EvaluationFiles, name: str) -> Any:
    config = evaluation.provenance.get("config")
    return evaluation.provenance.get(name) or (config.get(name) if isinstance(config, dict) else None)


def _by_condition(evaluation: EvaluationFiles) -> dict[tuple[tuple[str, str], ...], dict[str, Mapping[str, str]]]:
    found: dict[tuple[tuple[str, str], ...], dict[str, Mapping[str, str]]] = {}
    for clip in evaluation.clips:
        found.setdefault(condition_of(clip), {})[clip.get("id", "")] = clip
    return found


def _changes(condition: str, a: Mapping[str, Mapping[str, str]], b: Mapping[str, Mapping[str, str]]) -> list[Change]:
    shared = [name for name in a if name in b]
    found = []
    figures: list[tuple[str, str, str | None, bool]] = [("wer", "errors", "words", False)]
    figures += [(name, name, None, higher) for name, higher in HIGHER_IS_BETTER.items()]
    for figure, column, length, higher in figures:
        triples = [
            (x, y, size)
            for name in shared
            if (x := _number(a[name], column)) is not None
            and (y := _number(b[name], column)) is not None
            and (size := _number(a[name], length) if length else 1.0) is not None
        ]
        if not triples or not sum(size for *_, size in triples):
            continue
        xs, ys, sizes = ([triple[k] for triple in triples] for k in range(3))
        pair = paired_bootstrap(ys, xs, sizes)
        total = sum(sizes)
        fewer = pair.probability_better
        found.append(
            Change(
                condition,
                figure,
                sum(xs) / total,
                sum(ys) / total,
                pair.difference,
                pair.low,
                pair.high,
                1 - fewer if higher else fewer,
                len(triples),
            )
        )
    return found


def _number(clip: Mapping[str, str], column: str) -> float | None:
    try:
        return float(clip.get(column) or "")
    except ValueError:  # left blank: this clip has no such figure
        return None
