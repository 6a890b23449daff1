"""Front-ends: one feature vector per video frame (40 ms), from mouth crops or from the waveform.

B clips, T frames, C channels, H, W pixels, S samples, L samples after striding, F features.
Source: Ma, Petridis, Pantic, "End-to-end Audio-visual Speech Recognition with Conformers" (2021), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from viseme.core.layers.layout import picture_layout
from viseme.core.layers.lean import norm_act, norm_act_pool
from viseme.core.layers.resnet import WIDTHS, Activation, ResNetTrunk, activation

__all__ = ["SAMPLES_PER_FRAME", "AudioFrontend", "VisualFrontend", "VisualStem"]

SAMPLES_PER_FRAME = 640
"""Samples at 16 kHz of one frame at 25 fps: the stride of the whole audio front-end."""


class VisualStem(nn.Sequential):
    """3-D convolution, batch norm, activation, pooling.

    Where nothing is learnt, on CPUs, it is computed picture by picture, in 0.6 of the time: with one channel in, five
    frames under one kernel are five channels under a 2-D kernel. Not in training: the gradient of that form wins
    nothing, and crashed inside oneDNN (torch 2.13).
    """

    def forward(self, x_B1THW: Tensor) -> Tensor:
        """(B, 1, T, H, W) -> (B, C, T, H / 4, W / 4)."""
        norm = self[1]
        if norm.training or torch.is_grad_enabled() or x_B1THW.device.type != "cpu" or torch.compiler.is_compiling():
            return norm_act_pool(norm, self[2], self[3], self[0](x_B1THW))
        convolution, act = self[0], self[2]
        assert isinstance(convolution, nn.Conv3d)
        batch, frames, reach = x_B1THW.shape[0], x_B1THW.shape[2], convolution.kernel_size[0] // 2
        padded_BTHW = functional.pad(x_B1THW[:, 0], (0, 0, 0, 0, reach, reach))
        around_BTHWK = padded_BTHW.unfold(1, 2 * reach + 1, 1)
        x_NKHW = around_BTHWK.flatten(0, 1).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        x_NCHW = functional.conv2d(x_NKHW, convolution.weight[:, 0], None, stride=2, padding=3)
        x_NCHW = norm(x_NCHW.unsqueeze(2)).squeeze(2)
        x_NCHW = functional.max_pool2d(act(x_NCHW), 3, stride=2, padding=1)
        return x_NCHW.unflatten(0, (batch, frames)).transpose(1, 2)


class VisualFrontend(nn.Module):
    """A 3-D convolution over five frames, then a 2-D ResNet-18 on each frame.

    Args:
        activation_name: of the trunk: `swish`, `relu` or `prelu`.
        stem_activation: of the 3-D stem; the trunk's where None. (Models published before 2025 have `swish` in the
            stem whatever the trunk has.)
        widths: channels of the four stages; the stem has the first.
    """

    def __init__(
        self,
        activation_name: Activation = "swish",
        stem_activation: Activation | None = None,
        widths: tuple[int, ...] = WIDTHS,
    ) -> None:
        super().__init__()
        self.features = widths[-1]
        self.frontend3D = VisualStem(
            nn.Conv3d(1, widths[0], (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(widths[0]),
            activation(stem_activation or activation_name, widths[0]),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.trunk = ResNetTrunk(2, widths, activation_name)
        self.channels_last: bool | None = None
        """Memory layout of the trunk's pictures; None: channels last where that is the faster one."""

    def forward(self, x_BT1HW: Tensor) -> Tensor:
        """(B, T, 1, H, W) grey crops -> (B, T, F)."""
        return self.frames(self.frontend3D(x_BT1HW.transpose(1, 2)))

    def frames(self, x_BCTHW: Tensor) -> Tensor:
        """What the trunk makes of the stem's pictures, each by itself: (B, T, F)."""
        batch, frames = x_BCTHW.shape[0], x_BCTHW.shape[2]
        x_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        layout = picture_layout(x_NCHW)
        if self.channels_last is not None:
            layout = torch.channels_last if self.channels_last else torch.contiguous_format
        x_NCHW = x_NCHW.contiguous(memory_format=layout)
        x_NCHW = self.trunk(x_NCHW)
        return x_NCHW.mean(dim=(2, 3)).view(batch, frames, self.features)


class _AudioTrunk(ResNetTrunk):
    """The 1-D ResNet-18 with its stem, which published keys place inside `trunk`."""

    def __init__(self, widths: tuple[int, ...], activation_name: Activation) -> None:
        super().__init__(1, widths, activation_name)
        self.conv1 = nn.Conv1d(1, widths[0], 80, 4, 38, bias=False)
        self.bn1 = nn.BatchNorm1d(widths[0])
        self.relu = activation(activation_name, widths[0])

    def forward(self, x_B1S: Tensor) -> Tensor:
        return self.stages(norm_act(self.bn1, self.relu, self.conv1(x_B1S)))


class AudioFrontend(nn.Module):
    """A 1-D convolution over 5 ms, a 1-D ResNet-18, and the mean over each video frame's share.

    Args:
        activation_name: `swish`, `relu` or `prelu`.
        widths: channels of the four stages; the stem has the first.
    """

    def __init__(self, activation_name: Activation = "swish", widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.features = widths[-1]
        self.trunk = _AudioTrunk(widths, activation_name)
        self.pool = nn.AvgPool1d(SAMPLES_PER_FRAME // 32)  # the convolutions have a stride of 4 * 8

    def forward(self, x_BS1: Tensor) -> Tensor:
        """(B, S, 1) samples at 16 kHz -> (B, S // 640, F); the rest of the last frame is cut off."""
        whole = x_BS1.shape[1] // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        x_BCL = self.trunk(x_BS1[:, :whole].transpose(1, 2))
        return self.pool(x_BCL).transpose(1, 2)
