"""What a captioner learns: the next unit (GIT's objective, Wang et al., 2022, on the units of Kim et al., ICASSP 2024).

B images, L text tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from viseme.core.losses import IGNORE, token_accuracy

__all__ = ["CaptionLosses", "caption_loss", "next_tokens", "score"]


def next_tokens(tokens_BL: Tensor, lengths_B: Tensor) -> Tensor:
    """What follows each token but the last (B, L - 1), `IGNORE` where nothing does."""
    place_L = torch.arange(1, tokens_BL.shape[1], device=tokens_BL.device)
    return tokens_BL[:, 1:].masked_fill(place_L >= lengths_B[:, None], IGNORE)


def caption_loss(logits_BLV: Tensor, tokens_BL: Tensor, lengths_B: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy of each next token, end included, over all that count in the batch."""
    return F.cross_entropy(
        logits_BLV[:, :-1].flatten(0, 1).float(),
        next_tokens(tokens_BL, lengths_B).flatten(),
        ignore_index=IGNORE,
        label_smoothing=label_smoothing,
    )


@dataclass(frozen=True)
class CaptionLosses:
    """The loss, and how often the next token was right."""

    loss: Tensor
    accuracy: Tensor


def score(logits_BLV: Tensor, tokens_BL: Tensor, lengths_B: Tensor, label_smoothing: float = 0.0) -> CaptionLosses:
    """Loss and accuracy of a teacher-forced pass."""
    loss = caption_loss(logits_BLV, tokens_BL, lengths_B, label_smoothing)
    wanted = next_tokens(tokens_BL, lengths_B)
    return CaptionLosses(loss, token_accuracy(logits_BLV[:, :-1].detach(), wanted, IGNORE))
