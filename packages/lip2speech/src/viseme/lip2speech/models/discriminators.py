"""VCA-GAN's critics: one discriminator a scale, and the sync discriminator that hears whether lips and mel go together.

Kim, Hong, Ro (NeurIPS 2021), sections 3.2 and 3.4. State-dict keys are the published ones.

B clips, T frames, D visual features, C channels, F rows, S columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.layers import BasicBlock
from viseme.core.losses import contrastive_sync_loss, cosine_sync_loss

__all__ = ["Discriminator", "MelFront", "SyncDiscriminator"]

SQRT_HALF = 1 / math.sqrt(2)


class DownBlock(nn.Module):
    """Residual block of two 5x5 convolutions, halved by averaging; no norm, so that gradient penalties make sense."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 5, padding=2)
        self.conv2 = nn.Conv2d(inputs, outputs, 5, padding=2)
        self.conv1x1 = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x_BCFS: Tensor) -> Tensor:
        y = F.avg_pool2d(self.conv1(F.leaky_relu(x_BCFS, 0.2)), 2)
        y = self.conv2(F.leaky_relu(y, 0.2))
        # Averaging first and the 1x1 convolution after it give the same as the other way round, for a quarter.
        shortcut = F.avg_pool2d(x_BCFS, 2)
        shortcut = shortcut if self.conv1x1 is None else self.conv1x1(shortcut)
        return (y + shortcut) * SQRT_HALF


class Mean(nn.Module):
    """(B, C, F, S) -> (B, C)."""

    def forward(self, x_BCFS: Tensor) -> Tensor:
        return x_BCFS.mean(dim=(2, 3))


class Discriminator(nn.Module):
    """Real or generated? Once for the mel alone and once given the lips.

    Args:
        blocks: halvings, until 5 rows are left: 2, 3, 4 for mels of 20, 40, 80 rows.
        visual: D.
        width: channels of the first convolution; they double with each block up to `limit`.
    """

    def __init__(self, blocks: int, visual: int = 512, width: int = 32, limit: int = 512) -> None:
        super().__init__()
        main: list[nn.Module] = [nn.Conv2d(1, width, 5, padding=2)]
        for _ in range(blocks):
            main.append(DownBlock(width, min(2 * width, limit)))
            width = min(2 * width, limit)
        self.main = nn.Sequential(*main)
        leak = nn.LeakyReLU(0.2)
        self.uncond = nn.Sequential(leak, nn.Conv2d(width, width, 5), leak, Mean(), nn.Linear(width, 1))
        self.cond = nn.Sequential(
            leak,
            nn.Conv2d(width + visual, width, 5, padding=2),
            leak,
            nn.Conv2d(width, width, 5),
            leak,
            Mean(),
            nn.Linear(width, 1),
        )

    def forward(self, mel_B1FS: Tensor, global_BDT: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 1) of the mel alone, and given the mean of the global feature. T must be 20 or more."""
        trunk = self.main(mel_B1FS)
        lips = global_BDT.mean(2)[..., None, None].expand(-1, -1, *trunk.shape[2:])
        return self.uncond(trunk), self.cond(torch.cat([trunk, lips], dim=1))


class MelFront(nn.Module):
    """Mel to one feature per video frame: two strided convolutions and a residual block.

    The sync discriminator and both recognisers have one. (B, 1, 80, 4T) -> (B, T, features).

    Args:
        widths: channels of the two convolutions.
        features: of the output.
        kernel: of the two convolutions.
        prelu: whether the residual block has PReLU too, instead of ReLU.
        dropout: before the linear layer.
    """

    def __init__(
        self, widths: tuple[int, int], features: int, *, kernel: int = 3, prelu: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        one, two = widths
        self.frontend = nn.Sequential(
            nn.Conv2d(1, one, kernel, 2, kernel // 2),
            nn.BatchNorm2d(one),
            nn.PReLU(one),
            nn.Conv2d(one, two, kernel, 2, kernel // 2),
            nn.BatchNorm2d(two),
            nn.PReLU(two),
        )
        self.Res_block = nn.Sequential(BasicBlock(2, two, two, 1, "prelu" if prelu else "relu"))
        self.dropout = nn.Dropout(dropout)
        self.Linear = nn.Linear(two * 20, features)

    def forward(self, mel_B1FS: Tensor) -> Tensor:
        x_BCFT = self.Res_block(self.frontend(mel_B1FS))
        return self.Linear(self.dropout(x_BCFT.flatten(1, 2).transpose(1, 2)))  # channel-major


class SyncDiscriminator(MelFront):
    """Mel features to be compared with local visual ones.

    Args:
        widths: channels of the two convolutions.
        features: of the output, as many as the visual front's.
        temperature: of the contrastive loss.
    """

    def __init__(self, widths: tuple[int, int] = (128, 256), features: int = 512, temperature: float = 1.0) -> None:
        super().__init__(widths, features)
        self.temperature = temperature

    def contrastive(self, local_BTD: Tensor, mel_B1FS: Tensor) -> Tensor:
        """The discriminator's loss (B,)."""
        return contrastive_sync_loss(local_BTD, self(mel_B1FS), self.temperature)

    def generator_loss(self, local_BTD: Tensor, mel_B1FS: Tensor) -> Tensor:
        """The generator's loss (B,)."""
        return cosine_sync_loss(local_BTD, self(mel_B1FS))
