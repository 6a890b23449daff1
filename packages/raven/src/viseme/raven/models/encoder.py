"""RAVEn's encoder of one modality: front-end, linear, pre-norm Transformer.

    video (B,T,1,H,W) -> 3-D ResNet-18 --.
                                         +-> linear -> x sqrt(D) -> blocks -> layer norm -> (B,T,D) at 25 Hz
    audio (B,S,1) ----> 1-D ResNet-18 --'

State-dict keys are the published ones below `encoder.`.

B clips, T frames at 25 Hz, S samples at 16 kHz, H, W pixels, D channels, R relative offsets.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor, nn

from viseme.core.errors import ConfigError
from viseme.core.layers.frontends import SAMPLES_PER_FRAME, AudioFrontend, VisualFrontend
from viseme.core.layers.masks import padding_mask
from viseme.core.layers.positions import RelativePositions
from viseme.core.layers.resnet import WIDTHS, Activation
from viseme.core.layers.transformer import NORM_EPS
from viseme.raven.models.block import EncoderBlock, FeedForwardNorm, run_blocks

__all__ = ["ENCODER_PRESETS", "Encoded", "Encoder", "EncoderBlock", "EncoderConfig", "Modality", "from_fields"]

Modality = Literal["video", "audio"]
C = TypeVar("C")


def from_fields(kind: type[C], fields: dict[str, Any]) -> C:
    """A frozen configuration from plain values.

    Raises:
        ConfigError: unknown or missing fields.
    """
    assert dataclasses.is_dataclass(kind)
    known = dataclasses.fields(kind)
    if unknown := fields.keys() - {field.name for field in known}:
        raise ConfigError("unknown fields in a model's configuration", got=", ".join(sorted(unknown)))
    needed = {f.name for f in known if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    if missing := needed - fields.keys():
        raise ConfigError("fields missing in a model's configuration", got=", ".join(sorted(missing)))
    return kind(**fields)


@dataclass(frozen=True)
class EncoderConfig:
    """All that shapes an encoder; the defaults are the published Base.

    Attributes:
        modality: `video` or `audio`.
        dim, heads, units, blocks: D, attention heads, feed-forward width, Transformer blocks.
        dropout: on branches, feed-forward, input and position table.
        attention_dropout: on the attention weights.
        drop_path: rate of stochastic depth, the same in every block.
        layer_scale: initial value of LayerScale, or None for none.
        ff_norm: `batch` (published) or `layer`.
        frontend_widths: channels of the four ResNet stages.
        activation: of the ResNet: `swish`, `relu` or `prelu`.
    """

    modality: Modality
    dim: int = 512
    heads: int = 8
    units: int = 2048
    blocks: int = 12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    drop_path: float = 0.0
    layer_scale: float | None = 0.1
    ff_norm: FeedForwardNorm = "batch"
    frontend_widths: tuple[int, ...] = WIDTHS
    activation: Activation = "swish"

    def __post_init__(self) -> None:
        object.__setattr__(self, "frontend_widths", tuple(self.frontend_widths))
        for name, choices in {
            "modality": get_args(Modality),
            "ff_norm": get_args(FeedForwardNorm),
            "activation": get_args(Activation),
        }.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"unknown {name}", expected=" or ".join(choices), got=repr(getattr(self, name)))
        if len(self.frontend_widths) != len(WIDTHS):
            raise ConfigError("frontend_widths must name four stages", got=self.frontend_widths)
        if self.dim % self.heads or self.dim % 2:
            raise ConfigError("heads must divide an even width", got=f"{self.dim} / {self.heads}")
        if not 0 <= self.drop_path < 1 or not 0 <= self.dropout < 1:
            raise ConfigError("dropout and drop_path are below 1", got=f"{self.dropout}, {self.drop_path}")

    @classmethod
    def preset(cls, name: str, modality: Modality, **changes: Any) -> EncoderConfig:
        """`base`, `baseplus`, `large` (published), `small` (CPU minutes), `tiny` (tests), with fields changed."""
        if name not in ENCODER_PRESETS:
            raise ConfigError("unknown geometry", expected=" or ".join(ENCODER_PRESETS), got=repr(name))
        return from_fields(cls, {"modality": modality, **ENCODER_PRESETS[name], **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a configuration file."""
        return {**dataclasses.asdict(self), "frontend_widths": list(self.frontend_widths)}


ENCODER_PRESETS: dict[str, dict[str, Any]] = {
    "base": {},
    # The public file says 768/1024/12, which cannot be built; these are the successor's sizes (inferred).
    "baseplus": {"dim": 768, "heads": 12, "units": 3072, "drop_path": 0.1},
    "large": {"dim": 1024, "heads": 16, "units": 4096, "blocks": 24, "drop_path": 0.1},
    "small": {"dim": 128, "heads": 4, "units": 512, "blocks": 4, "frontend_widths": (8, 16, 32, 64)},
    "tiny": {"dim": 32, "heads": 2, "units": 64, "blocks": 2, "frontend_widths": (4, 8, 8, 16)},
}


class Encoded(NamedTuple):
    """What an encoder makes of clips.

    Attributes:
        memory: (B, T, D) after the final layer norm.
        lengths: (B,) frames of each clip.
        mask: (B, 1, T) bool, True on a clip's own frames; None where no lengths were given.
    """

    memory: Tensor
    lengths: Tensor
    mask: Tensor | None


class Encoder(nn.Module):
    """Front-end, projection, blocks, final layer norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend: VisualFrontend | AudioFrontend
        if config.modality == "video":
            self.frontend = VisualFrontend(config.activation, widths=config.frontend_widths)
        else:
            self.frontend = AudioFrontend(config.activation, config.frontend_widths)
        self.embed = nn.Sequential(
            nn.Linear(self.frontend.features, config.dim), RelativePositions(config.dim, config.dropout)
        )
        self.encoders = nn.ModuleList(
            EncoderBlock(
                config.dim,
                config.heads,
                config.units,
                config.dropout,
                config.attention_dropout,
                config.drop_path,
                config.layer_scale,
                config.ff_norm,
            )
            for _ in range(config.blocks)
        )
        self.after_norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.recompute = False
        """Keep only the blocks' inputs for the backward pass."""

    @torch.no_grad()
    def start_at_unit_scale(self) -> None:
        """Divide the projection by the root of D, which its output is multiplied by, so that the residual stream starts
        at unit scale and the blocks are heard from the beginning."""
        for parameter in self.embed[0].parameters():
            parameter.div_(self.config.dim**0.5)

    def layers(self, x: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """The output (B, T, D) of every block, before the final norm.

        Args:
            x: video (B, T, 1, H, W) or audio (B, S, 1).
            mask: (B, 1, T) bool, True on valid frames; None: no padding.
        """
        x_BTD, table_1RD = self.embed(self.frontend(x))
        return run_blocks(self.encoders, x_BTD, table_1RD, mask, recompute=self.recompute)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) after the final norm; arguments as of `layers`."""
        return self.after_norm(self.layers(x, mask)[-1])

    def encode(self, x: Tensor, lengths_B: Tensor | None = None) -> Encoded:
        """Read clips that are padded to one length with zeros.

        A clip inside a padded batch gets other values than alone: convolutions and batch norms see the padding, as in
        the published models. For answers that do not depend on company, read one clip at a time without lengths.

        Args:
            x: video (B, T, 1, H, W) or audio (B, S, 1); samples over a multiple of 640 are cut off.
            lengths_B: (B,) FRAMES of each clip, for audio too (640 samples each); None: no padding.
        """
        frames = x.shape[1] if self.config.modality == "video" else x.shape[1] // SAMPLES_PER_FRAME
        if lengths_B is None:
            full_B = torch.full((x.shape[0],), frames, device=x.device)
            return Encoded(self(x), full_B, None)
        mask = padding_mask(lengths_B, frames)
        return Encoded(self(x, mask), lengths_B, mask)
