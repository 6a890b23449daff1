"""Items put together: everything padded to the batch, with the lengths that say what is real.

B clips, T frames, S = 4T mel columns, L units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from viseme.lip2speech.items import PROMPT_PADDED, MultitaskItem, VCAItem

__all__ = ["MultitaskBatch", "VCABatch", "collate_multitask", "collate_vca", "mask_spans"]


class _Batch:
    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """With all tensors on a device."""
        moved = {
            field.name: value.to(device, non_blocking=non_blocking)
            for field in fields(self)  # type: ignore[arg-type]
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True)
class VCABatch(_Batch):
    """Of the GAN system: video (B, 1, T, H, W), mel (B, 1, 80, S), spectrogram (B, 1, F, S), `lengths` (B,) frames and
    `columns` (B,) mel columns that are real."""

    video: Tensor
    mel: Tensor
    spectrogram: Tensor
    lengths: Tensor
    columns: Tensor
    audio: list[Tensor]
    names: list[str]


@dataclass(frozen=True)
class MultitaskBatch(_Batch):
    """Of the multi-task system: as `VCABatch`; mels are of windows, the prompt is (B, 1, 80, 100), targets (B, L)."""

    video: Tensor
    mel: Tensor
    prompt: Tensor
    lengths: Tensor
    columns: Tensor
    targets: Tensor
    target_lengths: Tensor
    window_starts: Tensor
    window_sizes: Tensor
    audio: list[Tensor]
    names: list[str]
    texts: list[str]
    spectrogram: Tensor | None = None


def _stack(tensors: Sequence[Tensor], axis: int, value: float = 0.0) -> Tensor:
    """Padded at the end of one axis (counted from the back) to the longest, and stacked."""
    longest = max(x.shape[axis] for x in tensors)
    after = [0, 0] * (-axis - 1)
    return torch.stack([F.pad(x, (*after, 0, longest - x.shape[axis]), value=value) for x in tensors])


def collate_vca(items: Sequence[VCAItem], floor: float = -1.0) -> VCABatch:
    """`floor`: what pads spectrograms: their softest value."""
    return VCABatch(
        _stack([item.video for item in items], -3),
        _stack([item.mel for item in items], -1, -1.0),
        _stack([item.spectrogram for item in items], -1, floor),
        torch.tensor([item.frames for item in items]),
        torch.tensor([item.columns for item in items]),
        [item.audio for item in items],
        [item.name for item in items],
    )


def collate_multitask(items: Sequence[MultitaskItem]) -> MultitaskBatch:
    """Everything is padded with 0, the prompt to 100 columns, as published."""
    prompts = [F.pad(item.prompt, (0, PROMPT_PADDED - item.prompt.shape[-1])) for item in items]
    targets = [torch.tensor(item.target, dtype=torch.long) for item in items]
    linear = [item.spectrogram for item in items if item.spectrogram is not None]
    return MultitaskBatch(
        _stack([item.video for item in items], -3),
        _stack([item.mel for item in items], -1),
        torch.stack(prompts),
        torch.tensor([item.frames for item in items]),
        torch.tensor([item.columns for item in items]),
        _stack(targets, -1),
        torch.tensor([len(target) for target in targets]),
        torch.tensor([item.window_start for item in items]),
        torch.tensor([item.window_size for item in items]),
        [item.audio for item in items],
        [item.name for item in items],
        [item.text for item in items],
        _stack(linear, -1) if len(linear) == len(items) else None,
    )


def mask_spans(batch: MultitaskBatch, probability: float, generator: torch.Generator | None = None) -> MultitaskBatch:
    """Blank a span of up to 7 frames inside the window of some clips, on all pixels (training)."""
    video = batch.video.clone()

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    starts, sizes, lengths = (x.tolist() for x in (batch.window_starts, batch.window_sizes, batch.lengths))
    for row, (start, size, length) in enumerate(zip(starts, sizes, lengths)):
        span = min(draw(2, 7), length - start - 1)
        if float(torch.rand((), generator=generator)) < probability and 0 < span <= size:
            begin = draw(start, start + size - span)
            video[row, :, begin : begin + span] = 0
    return replace(batch, video=video)
