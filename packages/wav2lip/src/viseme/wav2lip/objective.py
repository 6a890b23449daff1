"""Losses of the three recipes, each one function, and their sum (Prajwal et al., "A lip sync expert is
all you need", ACM MM 2020).

B clips, T frames of a window, S pixels, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from viseme.core.losses import cosine_bce
from viseme.wav2lip.models.discriminator import QualityDiscriminator
from viseme.wav2lip.models.expert import SyncExpert

__all__ = [
    "group_bce",
    "CHANCE_LOSS",
    "adversarial_loss",
    "cosine_bce",
    "cosine_score",
    "discriminator_losses",
    "generator_total",
    "lower_halves",
    "reconstruction_loss",
    "sync_loss",
]

_MOUTH = ((0.54, 0.96), (0.2, 0.8))
"""Top and bottom, left and right of where mouths are in a face crop, in shares of its side."""

CHANCE_LOSS = 0.6931
"""ln 2: the expert's loss when it answers one half to everything."""


def cosine_score(audio_BD: Tensor, face_BD: Tensor) -> Tensor:
    """Cosine of the embeddings, (B,)."""
    return F.cosine_similarity(audio_BD, face_BD)


def group_bce(audio_CGD: Tensor, face_CGD: Tensor) -> Tensor:
    """Cosine BCE over all pairs of windows of the same clip: the G that belong together and the G (G - 1) that do not
    count half each, so that chance is ln 2 as with single pairs.

    C clips, G windows of each. Ours: each forward pass teaches with G times as many pairs as the published draw of one.
    """
    score = torch.einsum("cgd,chd->cgh", audio_CGD.float(), face_CGD.float()).clamp(0.0, 1.0)
    same = torch.eye(score.shape[1], device=score.device).expand_as(score)
    losses = F.binary_cross_entropy(score, same, reduction="none")
    matching = losses.diagonal(dim1=1, dim2=2).mean()
    others = (losses * (1 - same)).sum() / (1 - same).sum()
    return (matching + others) / 2


def lower_halves(faces_B3TSS: Tensor) -> Tensor:
    """Lower halves of a window, frames stacked on channels frame by frame: (B,3T,S/2,S)."""
    half = faces_B3TSS[:, :, :, faces_B3TSS.shape[3] // 2 :]
    return half.transpose(1, 2).flatten(1, 2)


def sync_loss(expert: SyncExpert, mel_B1MT: Tensor, generated_B3TSS: Tensor) -> Tensor:
    """How far the expert is from calling the generated window in sync. The expert's mode is the caller's choice: in
    train mode, as published, it uses the batch's statistics and moves its running ones."""
    audio_BD, face_BD = expert(mel_B1MT, lower_halves(generated_B3TSS))
    return cosine_bce(audio_BD, face_BD, audio_BD.new_ones(len(audio_BD), 1))


def reconstruction_loss(generated: Tensor, target: Tensor, mouth_weight: float = 1.0) -> Tensor:
    """Mean absolute error over all pixels (..., S, S) of all frames.

    Args:
        mouth_weight: how many times as much as another pixel one of the mouth's place counts. Published: 1, where the
            mouth is less than 4 % of what counts (Prajwal et al., section 3.1), and the expert has to do the rest.
    """
    if mouth_weight == 1.0:
        return F.l1_loss(generated, target)
    error = (generated - target).abs().flatten(0, -3).mean(0)
    return (error * _mouth_weights(error, mouth_weight)).mean()


def _mouth_weights(like_SS: Tensor, weight: float) -> Tensor:
    """Weights (S, S) of mean 1."""
    weights = torch.ones_like(like_SS)
    (top, bottom), (left, right) = ((round(len(weights) * edge) for edge in edges) for edges in _MOUTH)
    weights[top:bottom, left:right] = weight
    return weights / weights.mean()


def _bce(probabilities: Tensor, value: float) -> Tensor:
    return F.binary_cross_entropy(probabilities.float(), probabilities.new_full(probabilities.shape, value).float())


def adversarial_loss(discriminator: QualityDiscriminator, generated_B3TSS: Tensor) -> Tensor:
    """How far the discriminator is from calling the generated frames photographs."""
    return _bce(discriminator(generated_B3TSS), 1.0)


def discriminator_losses(
    discriminator: QualityDiscriminator, target_B3TSS: Tensor, generated_B3TSS: Tensor
) -> tuple[Tensor, Tensor]:
    """(real, fake): the discriminator's own losses; the generated frames get no gradient."""
    return _bce(discriminator(target_B3TSS), 1.0), _bce(discriminator(generated_B3TSS.detach()), 0.0)


def generator_total(
    reconstruction: Tensor,
    sync: Tensor | float,
    adversarial: Tensor | float,
    sync_weight: float,
    adversarial_weight: float,
) -> Tensor:
    """sync_weight * sync + adversarial_weight * adversarial + the rest * reconstruction."""
    rest = 1.0 - sync_weight - adversarial_weight
    return sync_weight * sync + adversarial_weight * adversarial + rest * reconstruction
