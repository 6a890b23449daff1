"""Normalisation of a waveform before a network sees it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["layer_norm"]


def layer_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Zero mean and unit variance over the whole clip, whatever its shape; no learned scale.

    `eps` is added to the (population) variance: 0 gives what the 2022 model zoo did, and not-a-number on digital
    silence; the default gives the same otherwise, and zeros on silence.
    """
    return F.layer_norm(x, x.shape, eps=eps)
