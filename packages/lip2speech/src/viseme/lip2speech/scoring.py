"""The published recognisers of GRID and LRW, to score speech with: `grid:DIR` and `lrw:DIR`, beside core's.

DIR is what `lip2speech convert` made of their checkpoints. And the network that says how well lips and sound fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from viseme.core.checkpoint import check_keys, load_model_dir, read_published
from viseme.core.errors import CheckpointError
from viseme.core.layers.syncnet import SyncNetV2
from viseme.core.metrics.recogniser import Recogniser, load_recogniser
from viseme.core.metrics.sync import SyncNetScorer
from viseme.core.signal import VCA_GRID_MEL, VCA_LRS_MEL, peak_normalise
from viseme.lip2speech.models.recognisers import GRID_COLUMNS, LRW_COLUMNS, grid_text
from viseme.lip2speech.published import RECOGNISER_PARTS, convert_grid_recogniser, convert_lrw_recogniser

__all__ = ["WORDS_FILE", "load_scorer", "load_sync_scorer"]

WORDS_FILE = "words.txt"
"""The LRW recogniser's classes in order, a line each, in its model directory."""


def load_scorer(spec: str) -> Recogniser:
    """The recogniser of that name: `grid:DIR`, `lrw:DIR`, one of core's, or a bare folder: one of viseme-avsr's.

    Raises:
        CheckpointError: not such a model directory.
        ConfigError: no such kind.
    """
    kind, colon, name = spec.partition(":")
    if kind in ("grid", "lrw") and colon:
        return _Published(kind, Path(name))
    return load_recogniser(spec if colon else f"avsr:{spec}")


def load_sync_scorer(path: str | Path, *, device: str | torch.device = "cpu") -> SyncNetScorer:
    """SyncNet v2, for LSE-D and LSE-C: its published file (`syncnet_v2.model`), or a model directory made of it (by
    viseme-wav2lip).

    Raises:
        CheckpointError: unreadable, or another network.
    """
    state = load_model_dir(path).state if Path(path).is_dir() else read_published(path)
    with torch.device("meta"):
        model = SyncNetV2()
    check_keys(state, model, "SyncNet v2", path=path)
    model.load_state_dict(dict(state), assign=True)
    return SyncNetScorer(model, device=device)


class _Published:
    def __init__(self, kind: str, directory: Path) -> None:
        folder = load_model_dir(directory)
        if folder.config.get("kind") != f"{kind}_recogniser":
            raise CheckpointError(
                f"not the recogniser of {kind.upper()}", path=directory, got=folder.config.get("kind")
            )
        parts = {
            name: {key.removeprefix(prefix): value for key, value in folder.state.items() if key.startswith(prefix)}
            for name, prefix in RECOGNISER_PARTS.items()
        }
        self.name, self.grid = f"{kind} recogniser", kind == "grid"
        self._model: Any = convert_grid_recogniser(parts) if self.grid else convert_lrw_recogniser(parts)
        self._words = [] if self.grid else folder.file(WORDS_FILE).read_text(encoding="utf-8").split()

    @torch.inference_mode()
    def __call__(self, recordings: Sequence[np.ndarray]) -> list[str]:
        return [self._read(torch.from_numpy(np.ascontiguousarray(samples))) for samples in recordings]

    def _read(self, samples: torch.Tensor) -> str:
        spec, columns = (VCA_GRID_MEL, GRID_COLUMNS) if self.grid else (VCA_LRS_MEL, LRW_COLUMNS)
        log = spec.compression.log(spec.mel_magnitude(peak_normalise(samples)))  # type: ignore[attr-defined]
        if not self.grid:
            log = log[:, :columns]
        logits = self._model(F.pad(log, (0, max(0, columns - log.shape[-1])))[None, None])[0]
        best = logits.argmax(-1)
        return grid_text(best.tolist()).lower() if self.grid else self._words[int(best)].lower()
