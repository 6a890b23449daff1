"""Cross-entropy against smoothed labels (Szegedy et al. 2016), reported as a Kullback-Leibler divergence.

Shapes: B batch, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from viseme.core.errors import ConfigError
from viseme.core.losses.targets import IGNORE

__all__ = ["label_smoothed_ce", "linear_label_smoothed_ce"]

Normalize = Literal["batch", "length"]


def label_smoothed_ce(
    logits_BLV: Tensor,
    targets_BL: Tensor,
    smoothing: float = 0.1,
    ignore: int = IGNORE,
    normalize: Normalize = "batch",
) -> Tensor:
    """KL divergence from softmax(logits) to the target with `1 - smoothing` on the label and the rest spread evenly.

    Args:
        logits_BLV: before softmax.
        targets_BL: labels; positions equal to `ignore` count nothing.
        smoothing: mass given to the V-1 other classes together.
        normalize: divide the sum by the number of clips ("batch", the published default) or of tokens ("length").

    Returns:
        A scalar, float32 or better; 0 at a perfect smoothed prediction.

    Raises:
        ConfigError: `smoothing` outside [0, 1) or an unknown normalisation.
    """
    if not 0.0 <= smoothing < 1.0:
        raise ConfigError("label smoothing out of range", expected="0 <= smoothing < 1", got=smoothing)
    if normalize not in ("batch", "length"):
        raise ConfigError("unknown normalisation of the loss", expected="batch or length", got=normalize)
    if logits_BLV.dtype in (torch.float16, torch.bfloat16):
        logits_BLV = logits_BLV.float()
    real_BL = targets_BL != ignore
    logp_BLV = logits_BLV.log_softmax(-1)
    label_logp_BL = logp_BLV.gather(-1, targets_BL.masked_fill(~real_BL, 0).unsqueeze(-1)).squeeze(-1)
    loss_BL = _divergence(label_logp_BL, logp_BLV.sum(-1), logits_BLV.shape[-1], smoothing)
    total = loss_BL.masked_fill(~real_BL, 0.0).sum()
    return total / (len(targets_BL) if normalize == "batch" else real_BL.sum().clamp(min=1))


def linear_label_smoothed_ce(
    hidden_BLD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_BL: Tensor,
    smoothing: float = 0.1,
    ignore: int = IGNORE,
    normalize: Normalize = "batch",
) -> Tensor:
    """`label_smoothed_ce` of `hidden @ weight.T + bias`, so that an implementation need never hold all logits."""
    return label_smoothed_ce(F.linear(hidden_BLD, weight_VD, bias_V), targets_BL, smoothing, ignore, normalize)


def _divergence(label_logp: Tensor, sum_logp: Tensor, classes: int, smoothing: float) -> Tensor:
    """KL divergence per token from the label's log-probability and the sum of all classes' log-probabilities."""
    kept, rest = torch.tensor(1.0 - smoothing, dtype=torch.float64), torch.tensor(smoothing, dtype=torch.float64)
    negative_entropy = torch.xlogy(kept, kept) + torch.xlogy(rest, rest / (classes - 1))
    off = smoothing / (classes - 1)
    return float(negative_entropy) - (1.0 - smoothing - off) * label_logp - off * sum_logp
