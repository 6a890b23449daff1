"""VCA-GAN's visual front: lip crops in, a local feature per frame and a global one that has seen the whole clip out.

Kim, Hong, Ro, "Lip to Speech Synthesis with Visual Context Attentional GAN" (NeurIPS 2021), section 3.1. State-dict
keys are the published ones.

B clips, T frames at 25 Hz, N = B * T pictures, C channels, H, W pixels (112), D features.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from viseme.core.layers import ResNetTrunk
from viseme.core.layers.frontends import VisualStem
from viseme.core.layers.layout import picture_layout
from viseme.core.layers.resnet import WIDTHS

__all__ = ["VisualFront", "fold_frames", "stem"]


def stem(width: int, activation: nn.Module) -> nn.Sequential:
    """The 3-D convolution over five frames, a quarter of the size: (B, 1, T, H, W) -> (B, C, T, H/4, W/4)."""
    return VisualStem(
        nn.Conv3d(1, width, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
        nn.BatchNorm3d(width),
        activation,
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    )


def fold_frames(x_BCTHW: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B * T, C, H, W), in the layout that 2-D convolutions want."""
    x_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
    return x_NCHW.contiguous(memory_format=picture_layout(x_NCHW))


class VisualFront(nn.Module):
    """3-D stem, ResNet-18 with PReLU, and a bidirectional GRU over the clip.

    Args:
        widths: channels of the four ResNet stages; the last is D.
        gru_layers: of the recurrent part, as wide as D in each direction.
        dropout: on the local feature and between the GRU's layers.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, gru_layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = features = widths[-1]
        self.frontend = stem(widths[0], nn.PReLU(widths[0]))
        self.resnet = ResNetTrunk(2, widths, "prelu")
        self.dropout = nn.Dropout(dropout)
        self.sentence_encoder = nn.GRU(
            features, features, gru_layers, bidirectional=True, dropout=dropout if gru_layers > 1 else 0.0
        )
        self.fc = nn.Linear(2 * features, features)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(
                    module.weight,
                    0,
                    math.sqrt(2 / (module.kernel_size[0] * module.kernel_size[1] * module.out_channels)),
                )

    def forward(self, video_B1THW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, T, 112, 112) normalised crops -> local (B, T, D), global (B, D, T)."""
        local_BTD = self.local(video_B1THW)
        return local_BTD, self.context(local_BTD)

    def local(self, video_B1THW: Tensor) -> Tensor:
        """(B, T, D) of each frame and its neighbours."""
        batch, _, frames = video_B1THW.shape[:3]
        pictures_NCHW = self.resnet(fold_frames(self.frontend(video_B1THW)))
        return self.dropout(pictures_NCHW.mean(dim=(2, 3)).view(batch, frames, self.features))

    def context(self, local_BTD: Tensor) -> Tensor:
        """(B, D, T) of the whole clip, from its local features."""
        context_TBD, _ = self.sentence_encoder(local_BTD.transpose(0, 1))
        return self.fc(context_TBD).permute(1, 2, 0)
