"""Normalisation of a waveform before a network sees it, as published systems do it.

S samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["layer_norm", "peak_normalise"]


def layer_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Zero mean and unit variance over the whole clip, whatever its shape; no learned scale.

    `eps` is added to the (population) variance: 0 gives what the 2022 model zoo did, and not-a-number on digital
    silence; the default gives the same otherwise, and zeros on silence.
    """
    return F.layer_norm(x, x.shape, eps=eps)


def peak_normalise(x: Tensor, peak: float = 0.9) -> Tensor:
    """Scale each signal of (..., S) so that its largest magnitude is `peak`; digital silence stays as it is."""
    largest = x.abs().amax(dim=-1, keepdim=True)
    return torch.where(largest > 0, x / largest.clamp(min=torch.finfo(x.dtype).tiny) * peak, x)
