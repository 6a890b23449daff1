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
        widths: channels of the stages; two more have the last width too. One stage more doubles the size.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 512)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        if len(self.widths) < 3:
            raise ConfigError("widths must name at least three stages", got=self.widths)

    @property
    def image_size(self) -> int:
        """S."""
        return 3 * 2 ** len(self.widths)

    def to_dict(self) -> dict[str, Any]:
        return {"widths": list(self.widths)}


class QualityDiscriminator(nn.Module):
    """See the module."""

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DiscriminatorConfig()
        widths = self.config.widths
        blocks = [nn.Sequential(LeakyConv(3, widths[0], 7, 1, 3))]
        for stage, (inp, out) in enumerate(zip(widths, (*widths[1:], widths[-1]))):
            kernel = 5 if stage < 3 else 3
            first = LeakyConv(inp, out, kernel, (1, 2) if stage == 0 else 2, kernel // 2)
            blocks.append(nn.Sequential(first, LeakyConv(out, out, kernel, 1, kernel // 2)))
        last = widths[-1]
        blocks.append(nn.Sequential(LeakyConv(last, last, 3, 1, 0), LeakyConv(last, last, 1, 1, 0)))
        self.face_encoder_blocks = nn.ModuleList(blocks)
        self.binary_pred = nn.Sequential(nn.Conv2d(last, 1, 1), nn.Sigmoid())

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
