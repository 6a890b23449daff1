"""Losses of embeddings' angles: regression to a teacher (RAVEn), in sync or not (Wav2Lip), which frame of the clip it
was (VCA-GAN).

B clips, T frames, D embedding, N rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from viseme.core.losses.kernels import pick
from viseme.core.losses.linear import score_dtype

__all__ = ["contrastive_sync_loss", "cosine_bce", "cosine_sync_loss", "masked_cosine"]


def masked_cosine(prediction_BTD: Tensor, target_BTD: Tensor, counted_BT: Tensor) -> Tensor:
    """Minus the mean cosine over the frames that count (Haliassos et al., RAVEn, 2023, equation 1); 0 where none does.

    The mean is over the whole batch, not clip by clip. Frames that do not count are not even read.
    """
    cosine_N = _rows(prediction_BTD, target_BTD, counted_BT.bool())
    return -cosine_N.sum() / counted_BT.sum().clamp(min=1)


def cosine_bce(audio_BD: Tensor, video_BD: Tensor, target_B: Tensor) -> Tensor:
    """Binary cross-entropy of the embeddings' cosine (Prajwal et al., Wav2Lip, 2020, section 3.1), mean over the batch.

    The cosine of embeddings without negative components is a probability; what leaves [0, 1] is clamped. Logarithms are
    not below -100.

    Args:
        target_B: 1 in sync, 0 out of it; (B,) or (B, 1).
    """
    probability_B = _rows(audio_BD, video_BD, None).clamp(0, 1)
    return F.binary_cross_entropy(probability_B, target_B.reshape(-1).to(probability_B))


def cosine_sync_loss(local_BTD: Tensor, audio_BTD: Tensor) -> Tensor:
    """5 - mean |cosine| over frames (Kim et al., VCA-GAN, 2021, equation 7 with its published offset): (B,)."""
    return 5 - _rows(local_BTD, audio_BTD, None).view(local_BTD.shape[:2]).abs().mean(1)


def contrastive_sync_loss(local_BTD: Tensor, audio_BTD: Tensor, temperature: float = 1.0) -> Tensor:
    """Which frame of the clip was it? Asked from both sides (VCA-GAN, equation 6): (B,)."""
    dtype = score_dtype(local_BTD)
    local_BTD, audio_BTD = (F.normalize(x.to(dtype), dim=-1) for x in (local_BTD, audio_BTD))
    return pick(local_BTD, "contrastive", _contrast)(local_BTD, audio_BTD, temperature)


def _rows(x: Tensor, y: Tensor, counted: Tensor | None) -> Tensor:
    """Cosines (N,) of the vectors on the last axis."""
    width = x.shape[-1]
    counted_N = None if counted is None else counted.reshape(-1)
    return pick(x, "cosine", _cosine_rows)(x.reshape(-1, width), y.reshape(-1, width), counted_N)


def _cosine_rows(x_ND: Tensor, y_ND: Tensor, counted_N: Tensor | None) -> Tensor:
    """Cosine of each pair of rows in float32 or better, 0 where it does not count. Norms are at least 1e-8."""
    dtype = score_dtype(x_ND)
    cosine_N = F.cosine_similarity(x_ND.to(dtype), y_ND.to(dtype), dim=-1, eps=1e-8)
    return cosine_N if counted_N is None else cosine_N.masked_fill(~counted_N, 0)


def _contrast(x_BTD: Tensor, y_BTD: Tensor, temperature: float) -> Tensor:
    """-1/2 the mean over frames of log softmax of the similarities at the frame itself, over x's and over y's: (B,)."""
    similarity_BTT = torch.bmm(x_BTD, y_BTD.transpose(1, 2)) / temperature
    over_y = similarity_BTT.log_softmax(2).diagonal(dim1=1, dim2=2).mean(1)
    over_x = similarity_BTT.log_softmax(1).diagonal(dim1=1, dim2=2).mean(1)
    return -(over_y + over_x) / 2
