"""All that shapes a lip-to-speech model; the defaults are the published geometries."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from viseme.core.errors import ConfigError
from viseme.core.layers.hifigan import HiFiGANConfig
from viseme.core.layers.resnet import WIDTHS
from viseme.core.signal import MULTITASK_MEL, VCA_GRID_MEL, VCA_LRS_MEL, MelSpec

__all__ = [
    "MELS",
    "ContentConfig",
    "MelName",
    "ModelConfig",
    "MultitaskConfig",
    "SpectrumConfig",
    "VCAConfig",
    "VocoderConfig",
    "model_config",
]

MelName = Literal["vca_lrs", "vca_grid", "multitask"]
MELS: dict[str, MelSpec] = {"vca_lrs": VCA_LRS_MEL, "vca_grid": VCA_GRID_MEL, "multitask": MULTITASK_MEL}
SpectrogramScale = Literal["log", "linear"]


class _Config:
    """Reading and writing, for both systems."""

    system: ClassVar[str]
    presets: ClassVar[dict[str, dict[str, Any]]]

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """A named geometry with single fields changed: `base` (published), `small` (trains on a CPU within minutes), or
        `tiny` (for tests)."""
        if name not in cls.presets:
            raise ConfigError("unknown geometry", expected=" or ".join(cls.presets), got=repr(name))
        return cls.from_dict({**cls.presets[name], **changes})

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; lists become tuples.

        Raises:
            ConfigError: unknown fields, or values that make no sense.
        """
        fields = {name: value for name, value in fields.items() if name != "system"}
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := fields.keys() - known:
            raise ConfigError("unknown fields in a model's configuration", got=", ".join(sorted(unknown)))
        plain = {name: tuple(value) if isinstance(value, (list, tuple)) else value for name, value in fields.items()}
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a configuration file."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"system": self.system, **plain}

    @property
    def mel_spec(self) -> MelSpec:
        return MELS[self.mel]  # type: ignore[attr-defined]


def _check_mel(name: str) -> None:
    if name not in MELS:
        raise ConfigError("no such mel front-end", expected=" | ".join(MELS), got=name)


def _check_widths(widths: tuple[int, ...]) -> None:
    if len(widths) != len(WIDTHS):
        raise ConfigError("widths must name four ResNet stages", got=widths)


def _check_conformer(dim: int, heads: int, kernel: int) -> None:
    if dim % heads or dim % 2:
        raise ConfigError("heads must divide the width, which is even", got=f"{dim} / {heads}")
    if kernel % 2 == 0:
        raise ConfigError("kernel must be odd", got=kernel)


@dataclass(frozen=True)
class VCAConfig(_Config):
    """VCA-GAN.

    Attributes:
        mel: the audio front-end by name.
        spectrogram: what the postnet gives: `log` (LRS: minimum and maximum of a clip onto [0, 1], then like mels) or
            `linear` (GRID: magnitudes).
        widths: channels of the four ResNet stages; the last is the width of both visual features.
        gru_layers: of the global feature.
        generator, noise, attention: see `Generator`.
        postnet: see `Postnet`.
        discriminator, discriminator_limit: first and largest width of the discriminators.
        sync, temperature: see `SyncDiscriminator`.
        dropout: of the visual front.
    """

    system: ClassVar[str] = "vca"
    mel: MelName = "vca_lrs"
    spectrogram: SpectrogramScale = "log"
    widths: tuple[int, ...] = WIDTHS
    gru_layers: int = 2
    generator: tuple[int, ...] = (512, 256, 128, 64, 32)
    noise: int = 128
    attention: int = 256
    postnet: tuple[int, int] = (128, 256)
    discriminator: int = 32
    discriminator_limit: int = 512
    sync: tuple[int, int] = (128, 256)
    temperature: float = 1.0
    dropout: float = 0.3

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {},
        "small": {
            "widths": (16, 32, 64, 128),
            "gru_layers": 1,
            "generator": (96, 64, 48, 32, 24),
            "noise": 16,
            "attention": 64,
            "postnet": (64, 96),
            "discriminator": 8,
            "discriminator_limit": 64,
            "sync": (24, 32),
            "dropout": 0.1,
        },
        "tiny": {
            "widths": (4, 8, 8, 16),
            "gru_layers": 1,
            "generator": (16, 8, 8, 8, 4),
            "noise": 4,
            "attention": 8,
            "postnet": (8, 8),
            "discriminator": 4,
            "discriminator_limit": 8,
            "sync": (4, 8),
            "dropout": 0.0,
        },
    }

    def __post_init__(self) -> None:
        _check_mel(self.mel)
        _check_widths(self.widths)
        if self.spectrogram not in get_args(SpectrogramScale):
            raise ConfigError(
                "unknown spectrogram", expected=" | ".join(get_args(SpectrogramScale)), got=self.spectrogram
            )
        if len(self.generator) != 5 or any(width % 2 for width in self.generator[2:4]):
            raise ConfigError("generator names five widths, the third and fourth even", got=self.generator)
        if self.temperature <= 0:
            raise ConfigError("temperature must be positive", got=self.temperature)

    @property
    def features(self) -> int:
        return self.widths[-1]

    @property
    def bins(self) -> int:
        return self.mel_spec.n_fft // 2 + 1


@dataclass(frozen=True)
class MultitaskConfig(_Config):
    """The multi-task system.

    Attributes:
        mel: the audio front-end by name.
        vocabulary: V of the CTC branch; blank is 0.
        widths: channels of the four ResNet stages.
        dim, layers, heads, kernel, expansion: of the conformer.
        reduction: of CBAM's channel gate.
        speaker: channels of the speaker encoder.
        head: channels of the mel head.
        dropout, conformer_dropout: after the ResNet; in the conformer.
        published_padding: see `Conformer`; converters set it.
    """

    system: ClassVar[str] = "multitask"
    mel: MelName = "multitask"
    vocabulary: int = 4000
    widths: tuple[int, ...] = WIDTHS
    dim: int = 512
    layers: int = 12
    heads: int = 8
    kernel: int = 31
    expansion: int = 4
    reduction: int = 16
    speaker: tuple[int, ...] = (128, 256, 256)
    head: tuple[int, int] = (256, 128)
    dropout: float = 0.3
    conformer_dropout: float = 0.1
    published_padding: bool = False

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {},
        "small": {
            "widths": (16, 32, 64, 128),
            "dim": 144,
            "layers": 3,
            "heads": 4,
            "kernel": 15,
            "reduction": 8,
            "speaker": (64, 64, 64),
            "head": (128, 96),
            "dropout": 0.1,
        },
        "tiny": {
            "widths": (4, 8, 8, 16),
            "dim": 32,
            "layers": 1,
            "heads": 2,
            "kernel": 7,
            "reduction": 4,
            "speaker": (8, 8, 8),
            "head": (16, 16),
            "dropout": 0.0,
            "conformer_dropout": 0.0,
        },
    }

    def __post_init__(self) -> None:
        _check_mel(self.mel)
        _check_widths(self.widths)
        _check_conformer(self.dim, self.heads, self.kernel)
        if len(self.speaker) != 3 or len(self.head) != 2:
            raise ConfigError("speaker names three widths and head two", got=(self.speaker, self.head))


@dataclass(frozen=True)
class ContentConfig(_Config):
    """The recogniser of the multi-task system's content supervision.

    Attributes:
        mel: the audio front-end by name.
        vocabulary: V; blank is 0.
        front: channels of the two strided convolutions.
        dim, layers, heads, kernel, expansion, dropout: of the conformer.
        published_padding: see `Conformer`; converters set it.
    """

    system: ClassVar[str] = "content"
    mel: MelName = "multitask"
    vocabulary: int = 4000
    front: tuple[int, int] = (128, 256)
    dim: int = 512
    layers: int = 6
    heads: int = 4
    kernel: int = 31
    expansion: int = 4
    dropout: float = 0.1
    published_padding: bool = False

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {},
        "small": {"front": (24, 32), "dim": 144, "layers": 3, "kernel": 15},
        "tiny": {"front": (4, 8), "dim": 32, "layers": 1, "heads": 2, "kernel": 7},
    }

    def __post_init__(self) -> None:
        _check_mel(self.mel)
        _check_conformer(self.dim, self.heads, self.kernel)


@dataclass(frozen=True)
class VocoderConfig(_Config):
    """The neural vocoder; see `HiFiGANConfig`.

    Attributes:
        mel: the audio front-end by name.
        rates, kernels: of the upsampling stages; the rates multiply to the front-end's hop.
        channels: before the first stage.
        resblock_kernels, dilations: of the residual blocks (every kernel has all dilations).
        period_width, scale_width: channels of the discriminators' first layers.
    """

    system: ClassVar[str] = "vocoder"
    mel: MelName = "multitask"
    rates: tuple[int, ...] = (5, 4, 4, 2)
    kernels: tuple[int, ...] = (11, 8, 8, 4)
    channels: int = 512
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)
    period_width: int = 32
    scale_width: int = 128

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {},
        "small": {
            "channels": 128,
            "resblock_kernels": (3, 7),
            "dilations": (1, 3),
            "period_width": 8,
            "scale_width": 32,
        },
        "tiny": {"channels": 16, "resblock_kernels": (3,), "dilations": (1,), "period_width": 2, "scale_width": 16},
    }

    def __post_init__(self) -> None:
        _check_mel(self.mel)
        if math.prod(self.rates) != self.mel_spec.hop:
            raise ConfigError("the rates must multiply to the hop", expected=self.mel_spec.hop, got=self.rates)
        _ = self.geometry

    @property
    def geometry(self) -> HiFiGANConfig:
        return HiFiGANConfig(
            self.mel_spec.n_mels,
            self.rates,
            self.kernels,
            self.channels,
            self.resblock_kernels,
            (self.dilations,) * len(self.resblock_kernels),
        )


@dataclass(frozen=True)
class SpectrumConfig(_Config):
    """The network from mels to linear magnitudes; see `SpectrumNet`.

    Attributes:
        mel: the audio front-end by name.
        channels, kernel, dilations: of its residual blocks along time.
        iterations, momentum: of Griffin-Lim behind it.
    """

    system: ClassVar[str] = "spectrum"
    mel: MelName = "multitask"
    channels: int = 256
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2)
    iterations: int = 60
    momentum: float = 0.99

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {},
        "small": {"channels": 128},
        "tiny": {"channels": 8, "dilations": (1,), "iterations": 4},
    }

    def __post_init__(self) -> None:
        _check_mel(self.mel)
        if self.kernel % 2 == 0:
            raise ConfigError("kernel must be odd", got=self.kernel)

    @property
    def context(self) -> int:
        """Columns to either side that an answer depends on."""
        return 1 + self.kernel // 2 * sum(self.dilations)


ModelConfig = VCAConfig | MultitaskConfig | ContentConfig | VocoderConfig | SpectrumConfig


def model_config(fields: dict[str, Any]) -> ModelConfig:
    """The configuration that `to_dict` wrote.

    Raises:
        ConfigError: no such system, or unknown fields.
    """
    systems = {
        config.system: config for config in (VCAConfig, MultitaskConfig, ContentConfig, VocoderConfig, SpectrumConfig)
    }
    if fields.get("system") not in systems:
        raise ConfigError("unknown system", expected=" | ".join(systems), got=repr(fields.get("system")))
    return systems[fields["system"]].from_dict(fields)
