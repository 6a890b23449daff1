"""The pre-training pair: a video and an audio student, each with its teacher (a moving average of itself).

    video, masked -> student_v -> predictor_cross  -> p_va  ~  teacher_a(audio)
    audio, masked -> student_a -> predictor_within -> p_aa  ~  teacher_a(audio)
                              '-> predictor_cross  -> p_av  ~  teacher_v(video)

Keys are those of the published training checkpoints: `model_{video,audio}.{backbone.{encoder,ctc,decoder},
target_backbone,predictor_cross,predictor_within}.*`.

B clips, T frames, D channels, L tokens.
Sources: RAVEn (ICLR 2023), section 3; BRAVEn (ICASSP 2024) for `block_mean` targets.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from viseme.core.errors import ConfigError
from viseme.core.layers.frontends import SAMPLES_PER_FRAME
from viseme.core.layers.masks import padding_mask
from viseme.raven.models.block import DropPath
from viseme.raven.models.encoder import Encoder, EncoderConfig, from_fields
from viseme.raven.models.predictor import Predictor
from viseme.raven.models.recogniser import RecogniserConfig, build_heads, decoder_preset

__all__ = [
    "Backbone",
    "PretrainConfig",
    "Pretrained",
    "Pretrainer",
    "Student",
    "block_mean",
    "instance_normalise",
    "whiten",
]

Targets = Literal["output", "block_mean"]
TargetNorm = Literal["none", "instance", "whiten"]
NORM_EPS = 1e-5
WHITEN_EPS = 0.03


@dataclass(frozen=True)
class PretrainConfig:
    """All that shapes a pre-training pair; the defaults are RAVEn Base.

    Attributes:
        video, audio: the students' encoders.
        predictor_dim, predictor_heads, predictor_units: of the predictors' Transformers.
        video_predictor_blocks, audio_predictor_blocks: their depths (RAVEn: 2 and 2; BRAVEn: 1 and 2).
        v2a, a2a, a2v, v2v: weights of the losses, `x2y`: student of x regresses teacher of y. A weight of 0 leaves the
            predictor out.
        masked_only: cross-modal losses too are over masked frames only (published: over all valid frames).
        targets: the teacher's `output` after its final norm (RAVEn), or the mean of all its blocks' outputs
            (`block_mean`, BRAVEn).
        target_norm: `instance` normalises targets per channel over a clip's time (BRAVEn, as inferred); `whiten` then
            decorrelates the channels too (see `whiten`), for short runs.
        target_norm_margin: frames at either end of a clip whose targets do not enter those statistics: convolutions
            meet padding there, which in clips of a second or two is half of all variance, and targets then say little
            but where a clip ends.
        teacher_drop_path: leave the teacher's stochastic depth on, as published; off by default, as its successor.
        probe_vocabulary: units of the online probe (CTC head and attention decoder on detached features); 0 for none.
        probe_decoder: its decoder, as `RecogniserConfig.preset` names it, or its width, heads, units and blocks.
    """

    video: EncoderConfig
    audio: EncoderConfig
    predictor_dim: int = 512
    predictor_heads: int = 8
    predictor_units: int = 2048
    video_predictor_blocks: int = 2
    audio_predictor_blocks: int = 2
    v2a: float = 1.0
    a2a: float = 1.0
    a2v: float = 1.0
    v2v: float = 0.0
    masked_only: bool = False
    targets: Targets = "output"
    target_norm: TargetNorm = "none"
    target_norm_margin: int = 0
    teacher_drop_path: bool = False
    probe_vocabulary: int = 0
    probe_decoder: str | tuple[int, ...] = "narrow"

    def __post_init__(self) -> None:
        for name in ("video", "audio"):
            if isinstance(getattr(self, name), dict):  # from a file
                object.__setattr__(self, name, from_fields(EncoderConfig, getattr(self, name)))
            if getattr(self, name).modality != name:
                raise ConfigError(f"the {name} student's encoder reads {getattr(self, name).modality}")
        if self.targets not in get_args(Targets) or self.target_norm not in get_args(TargetNorm):
            raise ConfigError(
                "unknown targets",
                expected="output | block_mean, none | instance | whiten",
                got=(self.targets, self.target_norm),
            )
        if self.target_norm_margin < 0:
            raise ConfigError("target_norm_margin", expected="0 or more frames", got=self.target_norm_margin)
        weights = (self.v2a, self.a2a, self.a2v, self.v2v)
        if min(weights) < 0 or self.v2a + self.v2v == 0 or self.a2a + self.a2v == 0:
            raise ConfigError("each student needs a loss, and no weight may be negative", got=weights)

    @classmethod
    def preset(cls, name: str, *, drop_path: float | None = None, **changes: Any) -> PretrainConfig:
        """Both encoders of a named geometry, with predictors to match where they are small."""
        own = {} if drop_path is None else {"drop_path": drop_path}
        sizes: dict[str, Any] = {
            "small": {"predictor_dim": 128, "predictor_heads": 4, "predictor_units": 512},
            "tiny": {"predictor_dim": 32, "predictor_heads": 2, "predictor_units": 64},
        }.get(name, {})
        made = {kind: EncoderConfig.preset(name, kind, **own) for kind in ("video", "audio")}  # type: ignore[arg-type]
        return from_fields(cls, {**made, **sizes, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a configuration file."""
        return {**dataclasses.asdict(self), "video": self.video.to_dict(), "audio": self.audio.to_dict()}


class Pretrained(NamedTuple):
    """What one pass of both pairs gives; (B, T, D) each, None where its loss has no weight.

    Attributes:
        target_video, target_audio: of the teachers, without gradient.
        v2a, v2v, a2a, a2v: predictions.
        video, audio: the students' features of the masked input.
        mask: (B, 1, T) True on valid frames.
    """

    target_video: Tensor
    target_audio: Tensor
    v2a: Tensor | None
    v2v: Tensor | None
    a2a: Tensor | None
    a2v: Tensor | None
    video: Tensor
    audio: Tensor
    mask: Tensor


class Backbone(nn.Module):
    """A student's encoder, and the probe on its detached features where there is one."""

    def __init__(self, encoder: EncoderConfig, probe_vocabulary: int, probe_decoder: str | tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        if probe_vocabulary:
            sizes = decoder_preset(probe_decoder, encoder)
            self.ctc, self.decoder = build_heads(RecogniserConfig(encoder, probe_vocabulary, **sizes))


class Student(nn.Module):
    """Student, teacher and predictors of one modality."""

    def __init__(self, config: PretrainConfig, encoder: EncoderConfig, other_dim: int) -> None:
        super().__init__()
        own = encoder.modality
        cross, within = (config.v2a, config.v2v) if own == "video" else (config.a2v, config.a2a)
        blocks = config.video_predictor_blocks if own == "video" else config.audio_predictor_blocks
        sizes = (config.predictor_dim, config.predictor_heads, config.predictor_units, blocks, encoder.dropout)
        self.backbone = Backbone(encoder, config.probe_vocabulary, config.probe_decoder)
        self.predictor_within = Predictor(encoder.dim, encoder.dim, *sizes) if within else None
        self.predictor_cross = Predictor(encoder.dim, other_dim, *sizes) if cross else None
        self.target_backbone = copy.deepcopy(self.backbone.encoder).requires_grad_(False)
        self._quiet_teacher(config.teacher_drop_path)

    def _quiet_teacher(self, keep_drop_path: bool) -> None:
        """No dropout in the teacher, even in train mode, where it stays for its batch norms."""
        for module in self.target_backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, DropPath) and not keep_drop_path:
                module.rate = 0.0
            elif isinstance(getattr(module, "dropout", None), float):  # of attention weights
                module.dropout = 0.0

    def start_at_unit_scale(self) -> None:
        """Of all residual streams, the teacher's too; see `Encoder.start_at_unit_scale`."""
        for part in (self.backbone.encoder, self.target_backbone, self.predictor_within, self.predictor_cross):
            if part is not None:
                part.start_at_unit_scale()

    def teacher_parameters(self) -> list[Tensor]:
        return list(self.target_backbone.parameters())

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """teacher <- m teacher + (1 - m) student, on parameters only: batch-norm statistics stay the teacher's own."""
        students = [_own_share(p.detach()) for p in self.backbone.encoder.parameters()]
        torch._foreach_lerp_([_own_share(p) for p in self.teacher_parameters()], students, 1.0 - momentum)

    def student_parameters(self) -> list[nn.Parameter]:
        """Parameters of encoder and predictors."""
        parts = (self.backbone.encoder, self.predictor_within, self.predictor_cross)
        return [p for part in parts if part is not None for p in part.parameters()]

    def probe_parameters(self) -> list[nn.Parameter]:
        """Parameters of the probe; empty where there is none."""
        if not hasattr(self.backbone, "ctc"):
            return []
        return [*self.backbone.ctc.parameters(), *self.backbone.decoder.parameters()]


class Pretrainer(nn.Module):
    """Both students with their teachers; see the picture at the top of this module."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.config = config
        self.model_video = Student(config, config.video, config.audio.dim)
        self.model_audio = Student(config, config.audio, config.video.dim)

    @torch.no_grad()
    def targets(self, video: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the teachers make of the unmasked input, without a graph; (B, T, D) each."""
        made = []
        for student, x in ((self.model_video, video), (self.model_audio, audio)):
            teacher = student.target_backbone
            layers = teacher.layers(x, mask)
            target = teacher.after_norm(layers[-1]) if self.config.targets == "output" else block_mean(layers)
            margin = self.config.target_norm_margin
            if self.config.target_norm != "none":
                target = instance_normalise(target, mask, margin=margin)
            if self.config.target_norm == "whiten":
                target = whiten(target, mask, margin=margin)
            made.append(target)
        return made[0], made[1]

    def forward(
        self, video: Tensor, audio: Tensor, lengths_B: Tensor, masked_video_BT: Tensor, masked_audio_BT: Tensor
    ) -> Pretrained:
        """One pass of teachers, students and predictors.

        Args:
            video: (B, T, 1, H, W) normalised crops, zero on padding.
            audio: (B, 640 T, 1) samples, zero on padding.
            lengths_B: (B,) frames of each clip.
            masked_video_BT, masked_audio_BT: True where a student is not to see (hear) the frame.
        """
        mask = padding_mask(lengths_B, video.shape[1])
        target_video, target_audio = self.targets(video, audio, mask)
        seen = video.masked_fill(masked_video_BT[..., None, None, None], 0.0)
        features_video = self.model_video.backbone.encoder(seen, mask)
        heard = audio.unflatten(1, (-1, SAMPLES_PER_FRAME)).masked_fill(masked_audio_BT[..., None, None], 0.0)
        features_audio = self.model_audio.backbone.encoder(heard.flatten(1, 2), mask)

        def predict(predictor: Predictor | None, features: Tensor, masked_BT: Tensor) -> Tensor | None:
            return None if predictor is None else predictor(features, masked_BT, mask)

        return Pretrained(
            target_video,
            target_audio,
            v2a=predict(self.model_video.predictor_cross, features_video, masked_video_BT),
            v2v=predict(self.model_video.predictor_within, features_video, masked_video_BT),
            a2a=predict(self.model_audio.predictor_within, features_audio, masked_audio_BT),
            a2v=predict(self.model_audio.predictor_cross, features_audio, masked_audio_BT),
            video=features_video,
            audio=features_audio,
            mask=mask,
        )

    def start_at_unit_scale(self) -> None:
        """As `Student.start_at_unit_scale`, for both; before any training."""
        self.model_video.start_at_unit_scale()
        self.model_audio.start_at_unit_scale()

    def update_teachers(self, video_momentum: float, audio_momentum: float | None = None) -> None:
        """One EMA update of both teachers."""
        self.model_video.update_teacher(video_momentum)
        self.model_audio.update_teacher(video_momentum if audio_momentum is None else audio_momentum)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """`video` and `audio` (encoder and predictors), `video_probe` and `audio_probe`; teachers are in none."""
        groups = {}
        for name, student in (("video", self.model_video), ("audio", self.model_audio)):
            groups[name] = student.student_parameters()
            if probe := student.probe_parameters():
                groups[f"{name}_probe"] = probe
        return groups


def _own_share(x: Tensor) -> Tensor:
    """This process's part of a tensor that is shared out over processes; any other tensor itself."""
    share = getattr(x, "to_local", None)  # of a DTensor
    return x if share is None else share()


def block_mean(layers: Sequence[Tensor]) -> Tensor:
    """The mean of all blocks' outputs, (B, T, D), without the final norm (BRAVEn's targets)."""
    return torch.stack(list(layers)).mean(0)


def instance_normalise(x_BTD: Tensor, mask: Tensor | None = None, eps: float = NORM_EPS, *, margin: int = 0) -> Tensor:
    """Each channel of each clip to mean 0 and variance 1 over time.

    Args:
        mask: (B, 1, T) True on the frames that count; None: all, padding included.
        margin: so many frames at either end of a clip do not count; all of a clip's do where none would be left.
    """
    if mask is None:
        mask = x_BTD.new_ones(x_BTD.shape[0], 1, x_BTD.shape[1], dtype=torch.bool)
    valid_BT1 = _inner(mask, margin).transpose(1, 2).to(x_BTD.dtype)
    count_B11 = valid_BT1.sum(1, keepdim=True).clamp(min=1)
    centred = x_BTD - (x_BTD * valid_BT1).sum(1, keepdim=True) / count_B11
    variance = (centred.square() * valid_BT1).sum(1, keepdim=True) / count_B11
    return centred * (variance + eps).rsqrt()


def whiten(x_BTD: Tensor, mask: Tensor, eps: float = WHITEN_EPS, *, margin: int = 0) -> Tensor:
    """Uncorrelated channels of like variance over the batch's frames, rotated as little as that allows (ZCA).

    A young encoder's channels all say the same: 6 in 10 parts of their variance lie in one direction (for speech: how
    loud, how open), a cosine looks at little else, and students that learn it end up with less rank than they had.

    Args:
        mask, margin: the frames whose covariance it is, as in `instance_normalise`; of this process's batch.
        eps: directions with less than this share of the mean variance stay small.
    """
    with torch.autocast(x_BTD.device.type, enabled=False):
        frames_ND = x_BTD[_inner(mask, margin)[:, 0]].float()
        mean_D = frames_ND.mean(0)
        variances_D, directions_DD = torch.linalg.eigh(torch.cov(frames_ND.T, correction=0))
        floor = eps * variances_D.mean() + NORM_EPS
        scaled_DD = directions_DD * (variances_D.clamp(min=0) + floor).rsqrt()
        white_BTD: Tensor = (x_BTD.float() - mean_D) @ scaled_DD @ directions_DD.T
    return white_BTD.to(x_BTD.dtype)


def _inner(mask: Tensor, margin: int) -> Tensor:
    """(B, 1, T) without the first and last `margin` frames of each clip."""
    if not margin:
        return mask
    frames_B11 = mask.sum(-1, keepdim=True)
    place_T = torch.arange(mask.shape[-1], device=mask.device)
    inner = (place_T >= margin) & (place_T < frames_B11 - margin)
    return torch.where(frames_B11 > 2 * margin, inner, mask)
