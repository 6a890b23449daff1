"""Token accuracy of teacher-forced logits."""

from __future__ import annotations

from torch import Tensor

from viseme.core.losses.targets import IGNORE

__all__ = ["token_accuracy"]


def token_accuracy(logits_BLV: Tensor, targets_BL: Tensor, ignore: int = IGNORE) -> Tensor:
    """Share of the positions other than `ignore` whose largest logit is the target: float64, 0 where there are none."""
    real_BL = targets_BL != ignore
    right_BL = (logits_BLV.argmax(-1) == targets_BL) & real_BL
    return right_BL.sum().double() / real_BL.sum().clamp(min=1)
