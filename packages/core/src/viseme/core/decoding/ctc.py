"""Greedy CTC decoding (Graves et al. 2006): the best unit of each frame, repeats merged, blanks dropped."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ctc_greedy"]


def ctc_greedy(logp_BTV: Tensor, lengths_B: Tensor | None = None, blank: int = 0) -> list[list[int]]:
    """Units of each clip.

    Args:
        logp_BTV: (B, T, V) scores per frame, log-probabilities or logits.
        lengths_B: frames of each clip; None when none is padded.
        blank: id of the blank.

    Returns:
        One list of units per clip, empty where every frame is blank.
    """
    best_BT = logp_BTV.argmax(-1)
    first_BT = torch.ones_like(best_BT, dtype=torch.bool)
    first_BT[:, 1:] = best_BT[:, 1:] != best_BT[:, :-1]
    keep_BT = first_BT & (best_BT != blank)
    if lengths_B is not None:
        frames_T = torch.arange(best_BT.shape[1], device=best_BT.device)
        keep_BT &= frames_T < lengths_B.to(best_BT.device).unsqueeze(1)
    return [best_T[keep_T].tolist() for best_T, keep_T in zip(best_BT.cpu(), keep_BT.cpu())]
