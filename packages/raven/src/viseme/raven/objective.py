"""The losses: of pre-training (negative cosine to the teachers), its probes, and fine-tuning (hybrid CTC/attention).
Haliassos et al., "Jointly learning visual and auditory speech representations from raw data", ICLR 2023, section 3.

B clips, T frames, D channels, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from viseme.core.errors import ConfigError
from viseme.core.losses import IGNORE, decoder_targets, masked_cosine
from viseme.core.losses.hybrid import HybridLosses, hybrid_losses
from viseme.raven.models.pretraining import PretrainConfig, Pretrained, Student
from viseme.raven.models.recogniser import Recogniser

__all__ = ["PretrainLosses", "RecognitionObjective", "masked_cosine", "pretrain_losses", "probe_losses"]


class PretrainLosses(NamedTuple):
    """The four losses of a pass, unweighted (None where one has no weight), and each student's weighted sum."""

    v2a: Tensor | None
    v2v: Tensor | None
    a2a: Tensor | None
    a2v: Tensor | None
    video: Tensor
    audio: Tensor

    def named(self) -> dict[str, Tensor]:
        """Those that there are, under the published names."""
        pairs = {"loss_v2a": self.v2a, "loss_v2v": self.v2v, "loss_a2a": self.a2a, "loss_a2v": self.a2v}
        return {name: value for name, value in pairs.items() if value is not None}


def pretrain_losses(
    made: Pretrained, config: PretrainConfig, masked_video_BT: Tensor, masked_audio_BT: Tensor
) -> PretrainLosses:
    """Score a pass: cross-modal losses over all valid frames (masked ones only with `masked_only`), within-modal ones
    over masked frames."""
    valid_BT = made.mask[:, 0]

    def score(prediction: Tensor | None, target: Tensor, counted_BT: Tensor) -> Tensor | None:
        return None if prediction is None else masked_cosine(prediction, target, counted_BT)

    v2a = score(made.v2a, made.target_audio, masked_video_BT if config.masked_only else valid_BT)
    v2v = score(made.v2v, made.target_video, masked_video_BT)
    a2a = score(made.a2a, made.target_audio, masked_audio_BT)
    a2v = score(made.a2v, made.target_video, masked_audio_BT if config.masked_only else valid_BT)

    def weigh(*terms: tuple[float, Tensor | None]) -> Tensor:
        return torch.stack([weight * loss for weight, loss in terms if loss is not None]).sum()

    return PretrainLosses(
        v2a, v2v, a2a, a2v, weigh((config.v2a, v2a), (config.v2v, v2v)), weigh((config.a2a, a2a), (config.a2v, a2v))
    )


def probe_losses(
    student: Student,
    features_BTD: Tensor,
    mask: Tensor,
    targets_BL: Tensor,
    *,
    label_smoothing: float = 0.1,
) -> HybridLosses:
    """What the online probe makes of a student's features, which it does not change: CTC and attention, unweighted sum.

    Raises:
        ConfigError: the student has no probe.
    """
    backbone = student.backbone
    if not hasattr(backbone, "ctc"):
        raise ConfigError("no probe in this pre-training", expected="probe_vocabulary above 0")
    features_BTD = features_BTD.detach()
    eos = backbone.decoder.vocabulary - 1
    tokens_BL, wanted_BL = decoder_targets(targets_BL, eos, eos, IGNORE)
    made = hybrid_losses(
        features_BTD,
        mask[:, 0].sum(1),
        backbone.decoder.hidden(tokens_BL, features_BTD, mask),
        wanted_BL,
        targets_BL,
        (targets_BL != IGNORE).sum(1),
        backbone.ctc,
        backbone.decoder.output_layer,
        label_smoothing=label_smoothing,
    )
    return made._replace(loss=made.ctc + made.att)


@dataclass(frozen=True)
class RecognitionObjective:
    """Fine-tuning's objective with its weights; called with a model and a batch.

    Attributes:
        ctc_weight: share of CTC, 0 to 1 (published `mtlalpha`: 0.1).
        label_smoothing: mass that the attention loss spreads over the wrong units.
        normalize: divide the attention loss by clips (`batch`, published) or by tokens (`length`).
    """

    ctc_weight: float = 0.1
    label_smoothing: float = 0.1
    normalize: str = "batch"

    def __post_init__(self) -> None:
        if not 0 <= self.ctc_weight <= 1:
            raise ConfigError("ctc_weight out of range", expected="0 to 1", got=self.ctc_weight)
        if self.normalize not in ("batch", "length"):
            raise ConfigError("normalize", expected="batch | length", got=self.normalize)

    def __call__(
        self, model: nn.Module, x: Tensor, lengths_B: Tensor, targets_BL: Tensor, target_lengths_B: Tensor
    ) -> HybridLosses:
        """Run the recogniser teacher-forced and score it.

        Args:
            model: a `Recogniser`, possibly wrapped (DDP, compile): only its call is used for the forward pass.
            x, lengths_B: as `Recogniser.encode`.
            targets_BL: (B, L) labels padded with -1.
            target_lengths_B: (B,) labels of each clip.
        """
        network = _unwrap(model)
        eos = network.config.eos
        tokens_BL, wanted_BL = decoder_targets(targets_BL, eos, eos, IGNORE)
        encoded, hidden_BLD = model(tokens_BL, x, lengths_B)
        return hybrid_losses(
            encoded.memory,
            encoded.lengths,
            hidden_BLD,
            wanted_BL,
            targets_BL,
            target_lengths_B,
            network.ctc,
            network.decoder.output_layer,
            ctc_weight=self.ctc_weight,
            label_smoothing=self.label_smoothing,
            normalize=self.normalize,  # type: ignore[arg-type]
            blank=network.config.blank,
        )


def _unwrap(model: nn.Module) -> Recogniser:
    """The network below DDP's and compile's wrappers."""
    while not isinstance(model, Recogniser):
        inner = getattr(model, "module", None) or getattr(model, "_orig_mod", None)
        if inner is None:
            raise TypeError(f"no Recogniser inside {type(model).__name__}")
        model = inner
    return model
