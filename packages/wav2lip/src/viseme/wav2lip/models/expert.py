"""The sync expert (`syncnet_color`): do these five mouths and these 0.2 s of sound belong together?

    mel (B,1,80,16) ----------> audio encoder -> (B,D), unit length --.
                                                                      +--> cosine, in [0, 1]
    5 lower halves (B,15,48,96)  -> face encoder -> (B,D), unit length --'

Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In The Wild" (ACM MM 2020). The last
layer is a ReLU, so no component is negative and the cosine lies in [0, 1]. State-dict keys are the published ones.

B clips, D embedding, S pixels (96), T = 5 frames stacked on channels frame by frame (B, G, R of
frame 0, then of frame 1, ...).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.errors import ConfigError
from viseme.wav2lip.models.blocks import ConvBlock

__all__ = ["ExpertConfig", "SyncExpert", "audio_layers"]


@dataclass(frozen=True)
class ExpertConfig:
    """All that shapes an expert; the defaults are the published 16.4 M parameters.

    Attributes:
        frames: T, of a window.
        widths: channels of the face encoder's stages; the last one is the embedding. One stage more doubles the size.
        residuals: residual blocks in each stage but the first.
        audio_widths: channels of the audio encoder's five stages; ends with the same embedding.
    """

    frames: int = 5
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    residuals: tuple[int, ...] = (2, 3, 2, 2)
    audio_widths: tuple[int, ...] = (32, 64, 128, 256, 512)

    def __post_init__(self) -> None:
        for name in ("widths", "residuals", "audio_widths"):
            object.__setattr__(self, name, tuple(int(width) for width in getattr(self, name)))
        if len(self.widths) < 3 or len(self.residuals) != len(self.widths) - 1:
            raise ConfigError(
                "residuals must name all stages of widths but the first", got=(self.widths, self.residuals)
            )
        if len(self.audio_widths) != 5:
            raise ConfigError("audio_widths must name five stages", got=self.audio_widths)
        if self.widths[-1] != self.audio_widths[-1]:
            raise ConfigError(
                "both encoders must end with the same embedding", got=f"{self.widths[-1]} and {self.audio_widths[-1]}"
            )

    @property
    def image_size(self) -> int:
        """S: width of the faces; the halves are S / 2 high."""
        return 3 * 2 ** len(self.widths)

    def to_dict(self) -> dict[str, Any]:
        made = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in made.items()}


def audio_layers(widths: tuple[int, ...], residuals: tuple[int, int, int, int]) -> list[nn.Module]:
    """(B,1,80,16) -> (B,widths[-1],1,1); `residuals` blocks in each of the first four stages."""
    a, b, c, d, e = widths
    stages = [
        (ConvBlock(1, a, 3, 1, 1), a, residuals[0]),
        (ConvBlock(a, b, 3, (3, 1), 1), b, residuals[1]),
        (ConvBlock(b, c, 3, 3, 1), c, residuals[2]),
        (ConvBlock(c, d, 3, (3, 2), 1), d, residuals[3]),
    ]
    layers: list[nn.Module] = []
    for first, width, count in stages:
        layers += [first, *(ConvBlock(width, width, 3, 1, 1, residual=True) for _ in range(count))]
    return [*layers, ConvBlock(d, e, 3, 1, 0), ConvBlock(e, e, 1, 1, 0)]


def _face_layers(config: ExpertConfig) -> list[nn.Module]:
    widths = config.widths
    layers: list[nn.Module] = [ConvBlock(3 * config.frames, widths[0], 7, 1, 3)]
    for stage, (inp, out, count) in enumerate(zip(widths, widths[1:], config.residuals)):
        layers.append(ConvBlock(inp, out, 5, (1, 2), 1) if stage == 0 else ConvBlock(inp, out, 3, 2, 1))
        layers += [ConvBlock(out, out, 3, 1, 1, residual=True) for _ in range(count)]
    last = widths[-1]
    return [*layers, ConvBlock(last, last, 3, 2, 1), ConvBlock(last, last, 3, 1, 0), ConvBlock(last, last, 1, 1, 0)]


class SyncExpert(nn.Module):
    """See the module. Arguments come audio first, as published."""

    def __init__(self, config: ExpertConfig | None = None) -> None:
        super().__init__()
        self.config = config or ExpertConfig()
        self.face_encoder = nn.Sequential(*_face_layers(self.config))
        self.audio_encoder = nn.Sequential(*audio_layers(self.config.audio_widths, (2, 2, 2, 2)))

    def embed_audio(self, mel_B1MT: Tensor) -> Tensor:
        """(B,1,80,16) -> (B,D) of unit length."""
        return F.normalize(self.audio_encoder(mel_B1MT).flatten(1), p=2, dim=1)

    def embed_face(self, face_BCHW: Tensor) -> Tensor:
        """(B,3T,S/2,S), values in [0, 1], BGR -> (B,D) of unit length."""
        return F.normalize(self.face_encoder(face_BCHW).flatten(1), p=2, dim=1)

    def forward(self, mel_B1MT: Tensor, face_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings, audio first."""
        return self.embed_audio(mel_B1MT), self.embed_face(face_BCHW)
