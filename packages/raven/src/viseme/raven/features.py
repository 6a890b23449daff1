"""Feature files, and the list of published weights: what `raven features` and `raven models` print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from viseme.core.checkpoint import WeightRecord, available_models
from viseme.core.files import atomic_path
from viseme.raven import records as _records  # noqa: F401  (registers the published weights)
from viseme.raven.pipeline import RAVEn
from viseme.raven.transcript import Features

__all__ = ["WrittenFeatures", "known_models", "write_features"]


@dataclass(frozen=True)
class WrittenFeatures:
    """A feature file."""

    path: Path
    features: Features

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), **self.features.to_dict()}

    def __str__(self) -> str:
        frames, channels = self.features.frames.shape
        return f"{self.path}: {frames} frames x {channels} channels ({self.features.modality})"


def write_features(
    model: RAVEn, path: str | Path, out_dir: str | Path, *, layer: int | None = None, face: int | None = None
) -> WrittenFeatures:
    """Encode a file and write `out_dir/<name>.npy`, (frames, channels) float32; raises as `RAVEn.features`."""
    found = model.features(path, layer, face=face)
    target = Path(out_dir) / f"{Path(path).stem}.npy"
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        np.save(stream, found.frames)
    return WrittenFeatures(target, found)


@dataclass(frozen=True)
class KnownModel:
    """A record of published weights, as a line or as JSON."""

    record: WeightRecord

    def to_dict(self) -> dict[str, Any]:
        record = self.record
        return {
            "name": record.name,
            "file": record.file,
            "source": record.source,
            "licence": record.licence,
            "paper": record.paper,
            "trained_on": record.trained_on,
            "claims": dict(record.claims),
        }

    def __str__(self) -> str:
        claims = ", ".join(f"{metric} {value:g}" for metric, value in self.record.claims.items())
        return f"{self.record.name}: {claims or self.record.trained_on}"


def known_models() -> Iterator[KnownModel]:
    """Every record of this package, by name."""
    return (KnownModel(record) for record in available_models("raven"))
