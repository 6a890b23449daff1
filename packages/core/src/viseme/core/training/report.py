"""What a training command hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["TrainReport"]


@dataclass(frozen=True)
class TrainReport:
    """What a run left behind.

    Attributes:
        model: the model directory.
        run: the run's folder: checkpoints, history, logs.
        epochs, steps: done in all.
        clips: trained on.
        parameters: of the network.
    """

    model: Path
    run: Path
    epochs: int
    steps: int
    clips: int
    parameters: int
