"""What a model directory says about how its model came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from viseme.core.data import Manifest

__all__ = ["training_card"]

FRAMES_PER_HOUR = 25 * 3600


def training_card(
    name: str,
    description: str,
    model: torch.nn.Module,
    clips: Manifest,
    *,
    epochs: int,
    steps: int,
    figures: Mapping[str, Any],
    facts: Sequence[str] = (),
    domain: str = "",
) -> str:
    """Markdown.

    Args:
        name: of the run.
        description: one or two sentences.
        model: whose parameters are counted.
        clips: trained on, with lengths in frames at 25 fps.
        epochs, steps: done.
        figures: last logged values by name; those of validation (`..._val`) are told.
        facts: further lines, after the clips.
        domain: a warning, where the model knows only a part of the world.
    """
    hours = sum(clips.lengths()) / FRAMES_PER_HOUR
    corpora = ", ".join(sorted({row.dataset for row in clips if row.dataset})) or "an unnamed corpus"
    validated = {name: float(value) for name, value in figures.items() if name.endswith("_val")}
    lines = [
        f"# {name}",
        "",
        description,
        "",
        f"- parameters: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M",
        f"- trained on: {len(clips)} clips, {hours:.2f} h, of {corpora} (manifest sha256 {clips.sha256()[:16]})",
        f"- epochs: {epochs}, steps: {steps}",
        *(f"- {fact}" for fact in facts),
        *(f"- {figure}: {value:.4f}" for figure, value in sorted(validated.items())),
    ]
    if domain:
        lines += ["", f"**{domain}**"]
    return "\n".join(lines) + "\n"
