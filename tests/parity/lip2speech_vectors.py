"""How the lip-to-speech vectors are read: their `vectors.json` says kinds by names and slices in prose, so both are
spelt out here once. Everything else (shapes, options, keys, inputs, answers) comes from the entries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import harness
import numpy as np
import pytest
import torch
from torch import Tensor

SYSTEM = "lip2speech"
FOLDER = harness.folder(SYSTEM)

# Longest first: a further vector of a kind is named after it.
KINDS = [
    "vca_visual_front",
    "vca_generator",
    "vca_postnet",
    "vca_discriminators",
    "vca_sync_discriminator",
    "vca_full",
    "vca_losses",
    "vca_train_step",
    "stft",
    "griffin_lim",
    "mt_conformer_small",
    "mt_visual_front",
    "mt_heads",
    "mt_asr",
    "mt_full",
    "mt_losses",
    "mt_train_step",
    "asr_grid",
    "asr_lrw",
    "crop_vca",
    "item_vca",
    "crop_mt",
    "item_mt",
    "metrics",
    "grid_align",
]


def kind(name: str, entry: dict) -> str:
    """The entry's own kind, or the one its name begins with."""
    found = entry.get("kind") or max((k for k in KINDS if name.startswith(k)), key=len, default="")
    assert found in KINDS, f"{name}: no test runs vectors of this kind"
    return found


def entries(*kinds: str) -> list[Any]:
    """The entries of these kinds as pytest parameters `(name, entry)`."""
    found = vectors()
    return [pytest.param(name, entry, id=name) for name, entry in found.items() if kind(name, entry) in kinds]


def vectors() -> dict[str, dict]:
    """All entries by name."""
    return harness.vectors(SYSTEM)


def arrays(name: str, entry: dict) -> dict[str, np.ndarray]:
    """Everything stored for an entry: answers, and inputs that no fill can make."""
    with np.load(FOLDER / entry.get("file", f"{name}.npz")) as stored:
        return {key: stored[key] for key in stored.files}


def make_input(entry: dict, name: str) -> Any:
    """One input: a tensor of a fill, uint8 pictures, or the literal value."""
    spec = entry["inputs"][name]
    if not isinstance(spec, dict) or "fill" not in spec:
        return spec
    x = harness.fill.fill_input(spec["fill"], tuple(spec["shape"]), spec.get("low", -1.0), spec.get("high", 1.0))
    if "then" not in spec:
        return torch.from_numpy(x)
    times = int(spec["then"].partition("every pixel ")[2].split("x")[0])
    return np.floor(x).astype(np.uint8).repeat(times, axis=-3).repeat(times, axis=-2)


def fills(entry: dict) -> dict[str, Any]:
    """All inputs of an entry."""
    return {name: make_input(entry, name) for name in entry["inputs"]}


def state(keys: str) -> dict[str, Tensor]:
    """Weights of one sub-dictionary, without stored constants."""
    listing = json.loads((FOLDER / f"{keys}.keys.json").read_text())
    made = harness.fill.fill_state(FOLDER / f"{keys}.keys.json")
    return {
        name: torch.from_numpy(np.asarray(value)) for name, value in made.items() if "constant" not in listing[name]
    }


def lengths(values: Sequence[int]) -> Tensor:
    return torch.tensor(values)


class Comparison:
    """Collects the answers of one entry and insists that each one was compared and agreed."""

    def __init__(self, name: str, entry: dict) -> None:
        self.entry, self.stored = entry, arrays(name, entry)
        self.left = set(self.stored)
        self.wrong: list[str] = []

    def given(self, *names: str) -> None:
        """These stored arrays are inputs."""
        self.left -= set(names)

    def has(self, name: str) -> bool:
        return name in self.stored

    def check(
        self,
        name: str,
        answer: Any,
        *,
        rtol: float = 1e-4,
        atol: float | None = None,
        fraction: float = 1.0,
        atol_rest: float | None = None,
        mean: float | None = None,
    ) -> None:
        """Compare with the stored array, if there is one.

        Args:
            rtol: of the largest stored magnitude, as the vectors' README states tolerances.
            atol: instead of `rtol`.
            fraction: share of elements that must keep the tolerance; the rest keep `atol_rest`.
            mean: largest mean error.
        """
        if name not in self.stored:
            return
        got = answer.detach().cpu().numpy() if hasattr(answer, "detach") else np.asarray(answer)
        want = self.stored[name]
        self.left.discard(name)
        if got.shape != want.shape:
            self.wrong.append(f"{name}: shape {got.shape}, expected {want.shape}")
            return
        got, want = got.astype(np.float64), want.astype(np.float64)
        error = np.abs(got - want)
        limit = atol if atol is not None else rtol * max(float(np.abs(want).max(initial=0)), 1e-12)
        if error.size and (error <= limit).mean() < fraction:
            self.wrong.append(f"{name}: error up to {error.max():.3g}, limit {limit:.3g}")
        if atol_rest is not None and error.max(initial=0) > atol_rest:
            self.wrong.append(f"{name}: error up to {error.max():.3g}, never more than {atol_rest}")
        if mean is not None and error.mean() > mean:
            self.wrong.append(f"{name}: mean error {error.mean():.3g}, limit {mean}")

    def finish(self) -> None:
        assert not self.wrong, "\n".join(self.wrong)
        assert not self.left, f"never compared: {sorted(self.left)}"
