"""The visual-quality discriminator: does this lower half look like a photograph?

    (B,3,T,96,96) -> time-major frames -> lower halves (T*B,3,48,96) -> strided convolutions -> (T*B,1) in (0, 1)

Prajwal et al. (ACM MM 2020), the GAN recipe. State-dict keys are the published ones.

B clips, T frames of a window, S pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from viseme.core.errors import ConfigError
from viseme.wav2lip.models.blocks import LeakyConv

__all__ = ["DiscriminatorConfig", "QualityDiscriminator"]


@dataclass(frozen=True)
class DiscriminatorConfig:
    """All that shapes a discriminator; the defaults are the published 14.1 M parameters.

    Attributes:
        widths: channels of the five stages; the last two published stages have the last width too.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 512)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        if len(self.widths) != 5:
            raise ConfigError("widths must name five stages", got=self.widths)

    def to_dict(self) -> dict[str, Any]:
        return {"widths": list(self.widths)}


class QualityDiscriminator(nn.Module):
    """See the module."""

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DiscriminatorConfig()
        a, b, c, d, e = self.config.widths
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(LeakyConv(3, a, 7, 1, 3)),
                nn.Sequential(LeakyConv(a, b, 5, (1, 2), 2), LeakyConv(b, b, 5, 1, 2)),
                nn.Sequential(LeakyConv(b, c, 5, 2, 2), LeakyConv(c, c, 5, 1, 2)),
                nn.Sequential(LeakyConv(c, d, 5, 2, 2), LeakyConv(d, d, 5, 1, 2)),
                nn.Sequential(LeakyConv(d, e, 3, 2, 1), LeakyConv(e, e, 3, 1, 1)),
                nn.Sequential(LeakyConv(e, e, 3, 2, 1), LeakyConv(e, e, 3, 1, 1)),
                nn.Sequential(LeakyConv(e, e, 3, 1, 0), LeakyConv(e, e, 1, 1, 0)),
            ]
        )
        self.binary_pred = nn.Sequential(nn.Conv2d(e, 1, 1), nn.Sigmoid())

    def logits(self, faces_B3TSS: Tensor) -> Tensor:
        """(T*B,1), all clips of frame 0 first; the upper half is not looked at."""
        x = faces_B3TSS.permute(2, 0, 1, 3, 4).flatten(0, 1)
        x = x[:, :, x.shape[2] // 2 :]
        for block in self.face_encoder_blocks:
            x = block(x)
        return self.binary_pred[0](x).flatten(1)

    def forward(self, faces_B3TSS: Tensor) -> Tensor:
        """Probabilities that these are photographs: (T*B,1), all clips of frame 0 first."""
        return torch.sigmoid(self.logits(faces_B3TSS))
