"""The generator: a face without its mouth, a reference face and 0.2 s of sound in; the face that says it out.

    faces (B,6,S,S) = [target, lower half black | reference] -> face encoder -> 7 feature maps, S ... 1 pixel
    mel (B,1,80,16) -> audio encoder -> (B,D,1,1) -> decoder, after each block joined by the face features of that size
                                                     -> output block -> (B,3,S,S) in (0, 1)

Prajwal et al. (ACM MM 2020). Published: S = 96, 36.3 M parameters; other sizes are 3 * 2^n, one stage for each
doubling. State-dict keys are the published ones.

B clips, T frames of a window, S pixels, D embedding, C channels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from viseme.core.errors import ConfigError
from viseme.wav2lip.models.blocks import ConvBlock, TransposedBlock
from viseme.wav2lip.models.expert import audio_layers

__all__ = ["GeneratorConfig", "Wav2LipGenerator"]


@dataclass(frozen=True)
class GeneratorConfig:
    """All that shapes a generator; the defaults are the published one.

    Attributes:
        face_widths: channels of the face encoder's stages before the last, from S pixels down to 3.
        face_residuals: residual blocks in each of these.
        decoder_widths: channels after each decoder block, from 1 pixel up to S; one more than `face_widths`.
        decoder_residuals: residual blocks in each of these.
        audio_widths: channels of the audio encoder's five stages; the last one is D.
        output_width: channels before the output convolution.
    """

    face_widths: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    face_residuals: tuple[int, ...] = (0, 2, 3, 2, 2, 1)
    decoder_widths: tuple[int, ...] = (512, 512, 512, 384, 256, 128, 64)
    decoder_residuals: tuple[int, ...] = (0, 1, 2, 2, 2, 2, 2)
    audio_widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    output_width: int = 32

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int):
                object.__setattr__(self, field.name, tuple(int(width) for width in value))
        if len(self.face_widths) != len(self.face_residuals) or len(self.decoder_widths) != len(self.decoder_residuals):
            raise ConfigError("widths and residuals must name the same stages", got=self)
        if len(self.decoder_widths) != len(self.face_widths) + 1 or len(self.face_widths) < 3:
            raise ConfigError("the decoder has one block more than face_widths", got=self)
        if len(self.audio_widths) != 5:
            raise ConfigError("audio_widths must name five stages", got=self.audio_widths)

    @property
    def image_size(self) -> int:
        """S."""
        return 3 * 2 ** (len(self.face_widths) - 1)

    def to_dict(self) -> dict[str, Any]:
        made = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in made.items()}


class Wav2LipGenerator(nn.Module):
    """See the module. Arguments come audio first, as published."""

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        self.face_encoder_blocks = nn.ModuleList(_encoder_blocks(config))
        self.audio_encoder = nn.Sequential(*audio_layers(config.audio_widths, (2, 2, 2, 1)))
        self.face_decoder_blocks = nn.ModuleList(_decoder_blocks(config))
        joined = config.decoder_widths[-1] + config.face_widths[0]
        self.output_block = nn.Sequential(
            ConvBlock(joined, config.output_width, 3, 1, 1), nn.Conv2d(config.output_width, 3, 1), nn.Sigmoid()
        )

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Generated faces, BGR in (0, 1).

        Args:
            mel: (B,1,80,16), or (B,T,1,80,16) for windows.
            faces: (B,6,S,S), or (B,6,T,S,S).

        Returns:
            (B,3,S,S), or (B,3,T,S,S).
        """
        if faces.ndim == 4:
            return self._frames(mel, faces)
        frames = faces.shape[2]
        # Time-major: batch statistics do not care, but published train steps were computed in this order.
        mel = mel.transpose(0, 1).flatten(0, 1)
        out = self._frames(mel, faces.permute(2, 0, 1, 3, 4).flatten(0, 1))
        return out.unflatten(0, (frames, -1)).permute(1, 2, 0, 3, 4)

    def _frames(self, mel_B1MT: Tensor, faces_BCSS: Tensor) -> Tensor:
        x = self.audio_encoder(mel_B1MT)
        features, face = [], faces_BCSS
        for block in self.face_encoder_blocks:
            face = block(face)
            features.append(face)
        for block, feature in zip(self.face_decoder_blocks, reversed(features), strict=True):
            x = torch.cat((block(x), feature), dim=1)
        return self.output_block(x)


def _residuals(width: int, count: int) -> list[nn.Module]:
    return [ConvBlock(width, width, 3, 1, 1, residual=True) for _ in range(count)]


def _encoder_blocks(config: GeneratorConfig) -> list[nn.Module]:
    widths = config.face_widths
    blocks: list[nn.Module] = [
        nn.Sequential(ConvBlock(6, widths[0], 7, 1, 3), *_residuals(widths[0], config.face_residuals[0]))
    ]
    for inp, out, count in zip(widths, widths[1:], config.face_residuals[1:]):
        blocks.append(nn.Sequential(ConvBlock(inp, out, 3, 2, 1), *_residuals(out, count)))
    deepest = widths[-1]
    return [*blocks, nn.Sequential(ConvBlock(deepest, deepest, 3, 1, 0), ConvBlock(deepest, deepest, 1, 1, 0))]


def _decoder_blocks(config: GeneratorConfig) -> list[nn.Module]:
    widths, skips = config.decoder_widths, (config.face_widths[-1], *reversed(config.face_widths))
    inp = config.audio_widths[-1]
    blocks: list[nn.Module] = [
        nn.Sequential(ConvBlock(inp, widths[0], 1, 1, 0), *_residuals(widths[0], config.decoder_residuals[0]))
    ]
    for index, out in enumerate(widths[1:]):
        joined = widths[index] + skips[index]
        first = TransposedBlock(joined, out, 3, 1, 0) if index == 0 else TransposedBlock(joined, out, 3, 2, 1, 1)
        blocks.append(nn.Sequential(first, *_residuals(out, config.decoder_residuals[index + 1])))
    return blocks
