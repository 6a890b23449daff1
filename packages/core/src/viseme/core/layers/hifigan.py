"""HiFi-GAN (Kong et al. 2020): the generator of a neural vocoder, and the unit vocoder built on it, whose input are
discrete speech units with a duration predictor (Polyak et al. 2021, Lee et al. 2022).

State-dict keys are the published ones (`conv_pre`, `ups.0`, `resblocks.0.convs1.0`, `conv_post`, `dict`, and
`dur_predictor.conv1.0`); `merge_weight_norm` turns published split weights (`weight_g`, `weight_v`) into plain ones.

B clips, U units (one each 20 ms, or de-duplicated), T frames, S samples (T times `hop`), C channels, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.hifigan_packed import PackedGenerator

__all__ = [
    "DurationPredictor",
    "HiFiGANConfig",
    "HiFiGANGenerator",
    "UnitVocoder",
    "UnitVocoderConfig",
    "merge_weight_norm",
    "plain_weights",
]

_SLOPE = 0.1
_LAST_SLOPE = 0.01  # before the last convolution: the framework's default, as published
_PACKED = ("cpu", torch.float32)


@dataclass(frozen=True)
class HiFiGANConfig:
    """Attributes:
    in_dim: channels of the input (mel bands, or unit embeddings).
    upsample_rates, upsample_kernel_sizes: of each stage; the product of the rates is the hop.
    upsample_initial_channel: channels before the first stage; each stage halves them.
    resblock_kernel_sizes, resblock_dilation_sizes: of the residual blocks that each stage averages.
    """

    in_dim: int = 80
    upsample_rates: tuple[int, ...] = (5, 4, 4, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (11, 8, 8, 4, 4)
    upsample_initial_channel: int = 512
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

    def __post_init__(self) -> None:
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ConfigError("each upsampling rate needs a kernel size", got=len(self.upsample_kernel_sizes))
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ConfigError("each residual block needs its dilations", got=len(self.resblock_dilation_sizes))
        if any(k < u or (k - u) % 2 for u, k in zip(self.upsample_rates, self.upsample_kernel_sizes)):
            raise ConfigError("an upsampling kernel exceeds its rate by an even number", got=self.upsample_kernel_sizes)

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return math.prod(self.upsample_rates)


class ResidualBlock(nn.Module):
    """Dilated convolutions of one kernel size, each followed by an undilated one, added to the input (B, C, T)."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_conv(channels, kernel, 1) for _ in dilations)

    def forward(self, x_BCT: Tensor) -> Tensor:
        for conv1, conv2 in zip(self.convs1, self.convs2):
            x_BCT = x_BCT + conv2(F.leaky_relu(conv1(F.leaky_relu(x_BCT, _SLOPE)), _SLOPE))
        return x_BCT


def _conv(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)


class HiFiGANGenerator(nn.Module):
    """Frames (B, C, T) -> samples (B, 1, T * hop) in [-1, 1].

    Args:
        config: geometry.
        normalised: weight-normalise the convolutions, as in training; without, weights are plain (inference).
    """

    def __init__(self, config: HiFiGANConfig, *, normalised: bool = False) -> None:
        super().__init__()
        self.geometry = config
        channels = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(config.in_dim, channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes):
            self.ups.append(
                nn.ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2)
            )
            channels //= 2
            for size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes):
                self.resblocks.append(ResidualBlock(channels, size, dilations))
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3)
        self.normalised, self._laid_out = normalised, False
        self._packed: PackedGenerator | None = None
        self.register_load_state_dict_post_hook(lambda module, _: module._forget())
        self._init_convolutions()
        if normalised:
            for conv in self._convolutions():
                weight_norm(conv)

    def _convolutions(self) -> list[Any]:
        parts = [self.conv_pre, *self.ups, *self.resblocks, self.conv_post]
        kinds = (nn.Conv1d, nn.ConvTranspose1d)
        return [module for part in parts for module in part.modules() if isinstance(module, kinds)]

    def _init_convolutions(self) -> None:
        """N(0, 0.01) for the stages, as published; the first convolution keeps the framework's default."""
        for module in [*self.ups, *self.resblocks, self.conv_post]:
            for conv in module.modules():
                if isinstance(conv, nn.Conv1d | nn.ConvTranspose1d):
                    nn.init.normal_(conv.weight, 0.0, 0.01)

    def lay_out(self) -> None:
        """From now on compute without gradients on a CPU by `PackedGenerator`: a quarter less time, same values up to
        rounding. It copies the weights at the next use, and again after they are loaded, moved or trained.

        Raises:
            ConfigError: weights are normalised: they exist only for the moment.
        """
        if self.normalised:
            raise ConfigError("weights can be laid out only where they are plain")
        self._laid_out = PackedGenerator.able()

    def _forget(self) -> None:
        self._packed = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._forget()
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> Any:
        self._forget()
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # which could not be copied

    def frames_to_logits(self, x_BCT: Tensor) -> Tensor:
        """Samples before the last tanh: (B, 1, T * hop)."""
        able = self._laid_out and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if able and (x_BCT.device.type, x_BCT.dtype) == _PACKED:
            self._packed = self._packed or PackedGenerator(self, _SLOPE, _LAST_SLOPE)
            return self._packed.logits(x_BCT)
        x_BCT = self.conv_pre(x_BCT)
        kernels = len(self.geometry.resblock_kernel_sizes)
        for stage, up in enumerate(self.ups):
            x_BCT = up(F.leaky_relu(x_BCT, _SLOPE))
            blocks = self.resblocks[stage * kernels : (stage + 1) * kernels]
            total_BCT = blocks[0](x_BCT)
            for block in blocks[1:]:
                total_BCT = total_BCT + block(x_BCT)
            x_BCT = total_BCT / kernels
        return self.conv_post(F.leaky_relu(x_BCT, _LAST_SLOPE))

    def forward(self, x_BCT: Tensor) -> Tensor:
        return torch.tanh(self.frames_to_logits(x_BCT))


def merge_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with each split weight (`weight_g`, `weight_v`, or torch's parametrised spelling) as one plain
    `weight` = g * v / ||v||, the norm over all dimensions but the first.

    Raises:
        CheckpointError: a direction without its length, or the other way round.
    """
    spellings = (
        (".weight_g", ".weight_v"),
        (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    )
    merged: dict[str, Tensor] = {}
    for key, value in state.items():
        for length, direction in spellings:
            if key.endswith(direction):
                name = key.removesuffix(direction)
                if name + length not in state:
                    raise CheckpointError("a weight's direction without its length", got=key)
                norm = value.flatten(1).norm(dim=1).view(-1, *[1] * (value.ndim - 1))
                merged[name + ".weight"] = value * (state[name + length] / norm)
                break
            if key.endswith(length):
                if key.removesuffix(length) + direction not in state:
                    raise CheckpointError("a weight's length without its direction", got=key)
                break
        else:
            merged[key] = value
    return merged


def plain_weights(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a weight-normalised network with plain weights: what its inference twin loads."""
    with parametrize.cached():
        return {key: value.detach().clone() for key, value in merge_weight_norm(module.state_dict()).items()}


class DurationPredictor(nn.Module):
    """log(d + 1) of each unit's duration d in frames: (B, U, E) -> (B, U) (FastSpeech's variance predictor)."""

    def __init__(self, dim: int, hidden: int, kernel: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv1d(dim, hidden, kernel, padding=(kernel - 1) // 2), nn.ReLU())
        self.ln1 = nn.LayerNorm(hidden)
        self.conv2 = nn.Sequential(nn.Conv1d(hidden, hidden, kernel, padding=(kernel - 1) // 2), nn.ReLU())
        self.ln2 = nn.LayerNorm(hidden)
        self.proj = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BUE: Tensor) -> Tensor:
        x_BUE = self.dropout(self.ln1(self.conv1(x_BUE.transpose(1, 2)).transpose(1, 2)))
        x_BUE = self.dropout(self.ln2(self.conv2(x_BUE.transpose(1, 2)).transpose(1, 2)))
        return self.proj(x_BUE).squeeze(2)


@dataclass(frozen=True)
class UnitVocoderConfig:
    """Attributes:
    units: how many there are.
    embedding_dim: of a unit, and of a speaker.
    generator: geometry; `in_dim` is the embedding's, twice that with speakers.
    speakers: of a multi-speaker vocoder; 0 for a single one.
    duration: whether there is a duration predictor.
    duration_hidden, duration_kernel, duration_dropout: of it.
    rate: Hz of the samples.
    """

    units: int = 200
    embedding_dim: int = 128
    generator: HiFiGANConfig = field(default_factory=lambda: HiFiGANConfig(in_dim=128))
    speakers: int = 0
    duration: bool = True
    duration_hidden: int = 128
    duration_kernel: int = 3
    duration_dropout: float = 0.5
    rate: int = 16000

    def __post_init__(self) -> None:
        expected = self.embedding_dim * (2 if self.speakers else 1)
        if self.generator.in_dim != expected:
            raise ConfigError("the generator's input is the embedding", expected=expected, got=self.generator.in_dim)

    @classmethod
    def from_published(cls, options: Mapping[str, Any]) -> UnitVocoderConfig:
        """From the `config.json` beside a published unit vocoder.

        Raises:
            ConfigError: a missing key, or a variant with pitch, which is another network.
        """
        if options.get("f0") or options.get("f0_quantizer"):
            raise ConfigError("a unit vocoder with pitch input is not supported", expected="f0: false")
        try:
            generator = HiFiGANConfig(
                options["model_in_dim"],
                tuple(options["upsample_rates"]),
                tuple(options["upsample_kernel_sizes"]),
                options["upsample_initial_channel"],
                tuple(options["resblock_kernel_sizes"]),
                tuple(tuple(dilations) for dilations in options["resblock_dilation_sizes"]),
            )
            predictor = options.get("dur_predictor_params")
            speakers = options.get("num_speakers", 200) if options.get("multispkr") else 0
            duration = {}
            if predictor:
                duration = {
                    "duration_hidden": predictor["var_pred_hidden_dim"],
                    "duration_kernel": predictor["var_pred_kernel_size"],
                    "duration_dropout": predictor["var_pred_dropout"],
                }
            return cls(
                options["num_embeddings"],
                options["embedding_dim"],
                generator,
                speakers,
                bool(predictor),
                rate=options["sampling_rate"],
                **duration,
            )
        except KeyError as error:
            raise ConfigError("the vocoder's configuration lacks a key", got=str(error)) from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> UnitVocoderConfig:
        """From plain values (`dataclasses.asdict`, perhaps by way of YAML)."""
        fields = dict(values)
        fields["generator"] = HiFiGANConfig(**{name: _tuples(value) for name, value in fields["generator"].items()})
        return cls(**fields)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


class UnitVocoder(HiFiGANGenerator):
    """Speech units -> samples.

    Args:
        config: geometry.
        normalised: see `HiFiGANGenerator`.
    """

    def __init__(self, config: UnitVocoderConfig, *, normalised: bool = False) -> None:
        super().__init__(config.generator, normalised=normalised)
        self.config = config
        self.dict = nn.Embedding(config.units, config.embedding_dim)
        self.spkr = nn.Embedding(config.speakers, config.embedding_dim) if config.speakers else None
        self.dur_predictor = None
        if config.duration:
            self.dur_predictor = DurationPredictor(
                config.embedding_dim, config.duration_hidden, config.duration_kernel, config.duration_dropout
            )

    def log_durations(self, units_BU: Tensor) -> Tensor:
        """log(d + 1) of each unit, as predicted: (B, U).

        Raises:
            ConfigError: a vocoder without a duration predictor.
        """
        if self.dur_predictor is None:
            raise ConfigError("this vocoder predicts no durations")
        return self.dur_predictor(self.dict(units_BU))

    def durations(self, units_BU: Tensor) -> Tensor:
        """Frames of each unit, at least one: (B, U) int64."""
        return (self.log_durations(units_BU).exp() - 1).round().clamp(min=1).long()

    def frames(self, units_BT: Tensor, speaker_B: Tensor | None = None) -> Tensor:
        """What the generator takes of one unit a frame: (B, C, T).

        Raises:
            ConfigError: a speaker missing, or one too many.
        """
        x_BET = self.dict(units_BT).transpose(1, 2)
        if self.spkr is None:
            if speaker_B is not None:
                raise ConfigError("a single-speaker vocoder takes no speaker")
            return x_BET
        if speaker_B is None:
            raise ConfigError("a multi-speaker vocoder needs a speaker", expected=f"0 .. {self.config.speakers - 1}")
        return torch.cat([x_BET, self.spkr(speaker_B).unsqueeze(2).expand(-1, -1, x_BET.shape[2])], dim=1)

    def forward(self, units_BT: Tensor, speaker_B: Tensor | None = None) -> Tensor:
        """One unit a frame: (B, 1, T * hop)."""
        return super().forward(self.frames(units_BT, speaker_B))

    @torch.no_grad()
    def speak(self, units_U: Tensor, *, durations: bool = True, speaker: int | None = None) -> Tensor:
        """The samples (S,) of one utterance; negative units are dropped, none at all give no sample.

        Args:
            durations: predict how long each unit lasts (for de-duplicated units); without, each lasts one frame.
            speaker: of a multi-speaker vocoder.
        """
        units_BT = units_U[units_U >= 0][None]
        if not units_BT.numel():
            return torch.zeros(0, device=units_U.device)
        if durations:
            units_BT = units_BT.repeat_interleave(self.durations(units_BT)[0], dim=1)
        speaker_B = None if speaker is None else torch.tensor([speaker], device=units_U.device)
        return self(units_BT, speaker_B)[0, 0]
