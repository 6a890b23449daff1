"""Which frames a student is not to see: spans drawn as in wav2vec 2.0.

B clips, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from viseme.core.errors import ConfigError

__all__ = ["span_mask"]


def span_mask(
    lengths: Sequence[int],
    mask_prob: float,
    mask_length: int,
    *,
    frames: int | None = None,
    min_spans: int = 1,
    equal_counts: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw masked frames for a batch.

    A clip of n frames gets floor(mask_prob * n / mask_length + u) spans, u uniform in [0, 1); their starts are drawn
    without replacement, spans may overlap. So `mask_prob` is the masked share BEFORE overlap: 0.2 with spans of 3
    masks 18.9 % of a long clip. (The paper's words, every frame a start with probability 0.2, would mask about half;
    published code is followed.)

    Args:
        lengths: frames of each clip.
        mask_prob: share of frames, before overlap.
        mask_length: frames of a span. A clip not longer than a span is masked in part as far as it goes.
        frames: T; the longest clip's where None.
        min_spans: at least so many in each clip.
        equal_counts: cut every clip down to the smallest count of the batch, as published, by drawing among its masked
            frames. Batches of clips of one length hardly notice; in mixed ones a short clip unmasks the others.
        generator: of all draws; torch's global one where None.

    Returns:
        (B, T) bool on the CPU, True where masked; never in padding.

    Raises:
        ConfigError: a share outside [0, 1], or a span below one frame.
    """
    if not 0 <= mask_prob <= 1 or mask_length < 1:
        raise ConfigError("masking", expected="mask_prob 0..1, mask_length >= 1", got=f"{mask_prob}, {mask_length}")
    width = max(lengths) if frames is None else frames
    masked_BT = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        drawn = int(mask_prob * length / mask_length + float(torch.rand((), generator=generator)))
        spans = max(min_spans, drawn)
        places = length - mask_length
        if places <= spans:
            places = min(spans + 1, length)  # a start beyond the clip would mask nothing
        starts_N = torch.randperm(places, generator=generator)[:spans]
        for start in starts_N.tolist():
            masked_BT[row, start : min(start + mask_length, length)] = True
    if equal_counts and len(lengths) > 1:
        fewest = int(masked_BT.sum(1).min())
        for row_T in masked_BT:
            chosen_N = row_T.nonzero().squeeze(1)
            spared_N = chosen_N[torch.randperm(len(chosen_N), generator=generator)[fewest:]]
            row_T[spared_N] = False
    return masked_BT
