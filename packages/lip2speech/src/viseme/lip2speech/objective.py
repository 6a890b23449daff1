"""Losses of both systems, and VCA-GAN's step of two optimisers in the published order.

Kim, Hong, Ro (NeurIPS 2021), section 3.5; R1 of Mescheder et al. (ICML 2018); Kim, Hong, Ro (ICASSP 2023), section 2.

B clips, T frames, S = 4T mel columns, D features, V units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.losses import linear_ctc_loss
from viseme.core.signal import LogRange
from viseme.lip2speech.models import VCAGAN, ContentRecogniser, GeneratedMels, MultitaskModel

__all__ = [
    "MultitaskObjective",
    "MultitaskStep",
    "VCAObjective",
    "VCAStep",
    "adversarial_loss",
    "content_loss",
    "gradient_penalty",
    "mel_targets",
    "reconstruction",
]

_SCALE = LogRange()


def adversarial_loss(logits: Tensor, *, real: bool) -> Tensor:
    """Mean softplus of the logits, signed: small where they say `real` (or not)."""
    return F.softplus(-logits if real else logits).mean()


def gradient_penalty(logits_B1: Tensor, inputs_B: Tensor) -> Tensor:
    """R1: the squared norm of the gradient of each clip's logit with respect to its input, (B,), differentiable."""
    (gradient,) = torch.autograd.grad(logits_B1.sum(), inputs_B, create_graph=True)
    return gradient.flatten(1).square().sum(1)


def mel_targets(mel_B1FS: Tensor) -> GeneratedMels:
    """The real mel at the three scales that are generated: bilinear, without antialiasing."""

    def scaled(factor: float) -> Tensor:
        return F.interpolate(mel_B1FS, scale_factor=factor, mode="bilinear", align_corners=False)

    return GeneratedMels(scaled(0.25), scaled(0.5), mel_B1FS)


def reconstruction(generated: Tensor, target: Tensor, columns_B: Tensor | None = None) -> Tensor:
    """Mean absolute difference over (B, 1, F, S); over each clip's own first columns where these are given."""
    difference = (generated - target).abs()
    if columns_B is None:
        return difference.mean()
    own = (torch.arange(difference.shape[-1], device=difference.device) < columns_B[:, None])[:, None, None]
    return (difference * own).sum() / (own.sum() * difference.shape[-2]).clamp(min=1)


@dataclass
class VCAObjective:
    """Weights and choices of VCA-GAN's losses.

    Attributes:
        sync_weight: of the contrastive loss (0.5 on LRS, 1.0 on GRID).
        reconstruction_weight: 50.
        log_mels: mels are compared on the natural-log scale (GRID) rather than normalised (LRS).
        mask_padding: what pads short clips does not count (the published loss counts it).
        adversarial_after: steps before the critics of the mels join, by which time there is something to criticise
            (published: 0); -1: they never do. The sync discriminator is there from the start.
    """

    sync_weight: float = 0.5
    reconstruction_weight: float = 50.0
    log_mels: bool = False
    mask_padding: bool = True
    adversarial_after: int = 0

    def adversarial(self, step: int) -> bool:
        """Whether the critics have joined by that step."""
        return 0 <= self.adversarial_after <= step

    def reconstruct(
        self,
        generated: GeneratedMels,
        targets: GeneratedMels,
        spectrogram: Tensor,
        spectrogram_target: Tensor,
        columns_B: Tensor | None = None,
    ) -> Tensor:
        """L1 of the mels, mean over scales, and of the linear spectrogram."""
        total = spectrogram.new_zeros(())
        for mine, theirs, share in zip(generated, targets, (4, 2, 1)):
            pair = (_SCALE.unscale(mine), _SCALE.unscale(theirs)) if self.log_mels else (mine, theirs)
            total = total + reconstruction(*pair, None if columns_B is None else columns_B // share) / 3
        return total + reconstruction(spectrogram, spectrogram_target, columns_B)


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """No gradients for the weights of `modules`, as long as this lasts."""
    held = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
    for weight in held:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in held:
            weight.requires_grad_(True)


class VCAStep:
    """One step: `discriminators()`, backward, their optimiser; `generator()`, `visual()`, both backward, the other one.

    The published step runs backwards through the visual front twice: once for the sync discriminator's contrastive
    loss, whose gradient the visual front keeps, and once for the generator's. Here both stop at the visual features,
    and their sum goes through the front once.

    Args:
        model: in train mode.
        objective: weights.
        video: (B, 1, T, H, W).
        mel, spectrogram: targets (B, 1, 80, 4T), (B, 1, F, 4T).
        lengths: (B,) video frames, for the attention.
        columns: (B,) mel columns that are not padding.
        noise: (B, channels, 20, T); drawn where None.
        adversarial: whether the critics of the mels take part.
    """

    def __init__(
        self,
        model: VCAGAN,
        objective: VCAObjective,
        video: Tensor,
        mel: Tensor,
        spectrogram: Tensor,
        lengths: Tensor | None = None,
        columns: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        adversarial: bool = True,
    ) -> None:
        self.model, self.objective = model, objective
        self.critics = list(model.discriminators) if adversarial else []
        self.targets = mel_targets(mel)
        self.spectrogram = spectrogram
        self.columns = columns if objective.mask_padding else None
        self.features = model.visual_front(video)
        self.local, self.context = (feature.detach().requires_grad_() for feature in self.features)
        self.mels = model.generator(self.local, self.context, lengths, noise)

    def discriminators(self) -> dict[str, Tensor]:
        """Losses of the critics; `d_loss` is to be minimised. Its gradient also reaches the local feature."""
        context = self.context.detach()
        real = fake = penalty = self.local.new_zeros(())
        penalties = []
        for critic, mine, theirs in zip(self.critics, self.mels, self.targets):
            theirs = theirs.detach().requires_grad_()
            alone, given = critic(theirs, context)
            real = real + (adversarial_loss(alone, real=True) + adversarial_loss(given, real=True)) / 3
            penalties.append(gradient_penalty(alone, theirs).mean())
            alone, given = critic(mine.detach(), context)
            fake = fake + (adversarial_loss(alone, real=False) + adversarial_loss(given, real=False)) / 3
        if penalties:
            penalty = torch.stack(penalties)
            real = real + penalty.mean()
        sync = self.model.sync_discriminator.contrastive(self.local, self.targets.fine).mean()
        total = real + fake + self.objective.sync_weight * sync
        return {"d_loss": total, "real_loss": real, "fake_loss": fake, "r1": penalty, "d_sync_loss": sync}

    def generator(self) -> dict[str, Tensor]:
        """Losses of what speaks, with the critics as they are now; `g_loss` is to be minimised."""
        adversarial = self.local.new_zeros(())
        with frozen(self.model.judging()):
            for critic, mine in zip(self.critics, self.mels):
                alone, given = critic(mine, self.context.detach())
                adversarial = (
                    adversarial + (adversarial_loss(alone, real=True) + adversarial_loss(given, real=True)) / 3
                )
            sync = self.model.sync_discriminator.generator_loss(self.local.detach(), self.mels.fine).mean()
        self.generated_spectrogram = self.model.postnet(self.mels.fine)
        recon = self.objective.reconstruct(
            self.mels, self.targets, self.generated_spectrogram, self.spectrogram, self.columns
        )
        total = adversarial + sync + self.objective.reconstruction_weight * recon
        return {"g_loss": total, "adv_loss": adversarial, "g_sync_loss": sync, "recon_loss": recon}

    def visual(self) -> Tensor:
        """A scalar whose gradient is what all losses so far ask of the visual front."""
        total = self.local.new_zeros(())
        for feature, leaf in zip(self.features, (self.local, self.context)):
            if leaf.grad is not None:
                total = total + (feature * leaf.grad).sum()
        return total


# ------------------------------------------------------------------------------------------------------- multi-task


@dataclass
class MultitaskObjective:
    """Weights and choices of the multi-task losses.

    Attributes:
        reconstruction_weight, ctc_weight, content_weight: 100, 1 and 1.
        mask_probability: share of clips of which a span of frames is blanked.
        mask_padding: what pads short windows does not count (the published loss counts it).
        output_content_loss: content supervision from the start; else it comes on by itself.
        output_content_on: mean reconstruction loss of an epoch below which content supervision comes on.
        output_content_after: epochs before which it never does.
    """

    reconstruction_weight: float = 100.0
    ctc_weight: float = 1.0
    content_weight: float = 1.0
    mask_probability: float = 0.5
    mask_padding: bool = True
    output_content_loss: bool = False
    output_content_on: float = 0.7
    output_content_after: int = 4


class MultitaskStep(NamedTuple):
    """What one pass gives: named losses (`total` is to be minimised), the mel, its target, and the features."""

    losses: dict[str, Tensor]
    mel: Tensor
    target: Tensor
    features: Tensor

    @classmethod
    def run(
        cls,
        model: MultitaskModel,
        objective: MultitaskObjective,
        batch: Any,
        recogniser: ContentRecogniser | None = None,
    ) -> MultitaskStep:
        """Forward pass and losses of a batch (`data.MultitaskBatch`, its video already masked).

        Args:
            recogniser: for content supervision, frozen and in eval mode; none where None.
        """
        speaker = model.speaker(batch.prompt)
        features = model.visual_front(batch.video, batch.lengths)
        ctc = linear_ctc_loss(
            features,
            model.ctc.classifier.weight,
            model.ctc.classifier.bias,
            batch.targets,
            batch.lengths,
            batch.target_lengths,
        )
        mel = model.mel_head(_windows(features, batch.window_starts, batch.window_sizes), speaker)
        own = torch.arange(mel.shape[-1], device=mel.device) < batch.columns[:, None]
        mel = mel * own[:, None, None]
        mask = batch.columns if objective.mask_padding else None
        losses = {"recon_loss": reconstruction(_SCALE.unscale(mel), _SCALE.unscale(batch.mel), mask), "ctc_loss": ctc}
        total = objective.reconstruction_weight * losses["recon_loss"] + objective.ctc_weight * ctc
        if recogniser is not None:
            losses["content_loss"] = content_loss(recogniser, mel, batch.mel, batch.window_sizes)
            total = total + objective.content_weight * losses["content_loss"]
        return cls({"total": total, **losses}, mel, batch.mel, features)


def content_loss(recogniser: ContentRecogniser, generated: Tensor, real: Tensor, frames_B: Tensor) -> Tensor:
    """Mean squared difference of a recogniser's features of the two mels (B, 1, 80, S)."""
    with torch.no_grad():
        wanted = recogniser.features(real, frames_B)
    return F.mse_loss(recogniser.features(generated, frames_B), wanted)


def _windows(x_BTD: Tensor, starts_B: Tensor, sizes_B: Tensor) -> Tensor:
    """The window of each clip, zero-padded to the largest: (B, W, D)."""
    offsets_W = torch.arange(int(sizes_B.max()), device=x_BTD.device)
    inside_BW = offsets_W < sizes_B[:, None]
    index_BW = (starts_B[:, None] + offsets_W).clamp(max=x_BTD.shape[1] - 1)
    return x_BTD.gather(1, index_BW[..., None].expand(-1, -1, x_BTD.shape[2])) * inside_BW[..., None]
