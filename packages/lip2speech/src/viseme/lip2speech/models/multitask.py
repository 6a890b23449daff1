"""The multi-task system's networks: lips to features by a conformer, text by CTC, a voice from a prompt, mel by a head.

Kim, Hong, Ro, "Lip-to-Speech Synthesis in the Wild with Multi-task Learning" (ICASSP 2023); CBAM of Woo et al. (ECCV
2018). State-dict keys are the published ones.

B clips, T frames at 25 Hz, N = B * T pictures, C channels, H, W pixels, D features, F mel bands, S = 4T mel columns,
V units, P columns of the prompt.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from viseme.core.layers import BasicBlock
from viseme.core.layers.resnet import WIDTHS
from viseme.lip2speech.models.conformer import Conformer
from viseme.lip2speech.models.visual import fold_frames, stem

__all__ = ["CTCLayer", "ContentRecogniser", "MelHead", "MultitaskVisualFront", "SpeakerEncoder"]

COLUMNS_PER_FRAME = 4


class ChannelGate(nn.Module):
    """What matters: a shared MLP over the mean and the largest of each channel."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(nn.Identity(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        gate_NC = self.mlp(x_NCHW.mean(dim=(2, 3))) + self.mlp(x_NCHW.amax(dim=(2, 3)))
        return x_NCHW * gate_NC.sigmoid()[..., None, None]


class SpatialConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x_N2HW: Tensor) -> Tensor:
        return self.bn(self.conv(x_N2HW))


class SpatialGate(nn.Module):
    """Where it matters: a convolution over the largest and the mean of all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = SpatialConvolution()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        pooled = torch.stack([x_NCHW.amax(dim=1), x_NCHW.mean(dim=1)], dim=1)
        return x_NCHW * self.spatial(pooled).sigmoid()


class CBAM(nn.Module):
    """Convolutional block attention."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.ChannelGate = ChannelGate(channels, reduction)
        self.SpatialGate = SpatialGate()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.SpatialGate(self.ChannelGate(x_NCHW))


class CBAMBlock(BasicBlock):
    """A basic block with CBAM before the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int, reduction: int) -> None:
        super().__init__(2, inputs, outputs, stride, "relu")
        self.cbam = CBAM(outputs, reduction)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.cbam(self.bn2(self.conv2(y))) + shortcut)


class CBAMResNet(nn.Module):
    """ResNet-18 with CBAM, a mean over the picture and a linear layer: (N, C, H, W) -> (N, D)."""

    def __init__(self, widths: tuple[int, ...], dim: int, reduction: int) -> None:
        super().__init__()
        before = widths[0]
        for number, width in enumerate(widths, start=1):
            first = CBAMBlock(before, width, 1 if number == 1 else 2, reduction)
            self.add_module(f"layer{number}", nn.Sequential(first, CBAMBlock(width, width, 1, reduction)))
            before = width
        self.stages = len(widths)
        self.fc = nn.Linear(before, dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        for number in range(1, self.stages + 1):
            x_NCHW = getattr(self, f"layer{number}")(x_NCHW)
        return self.fc(x_NCHW.mean(dim=(2, 3)))


class Named(nn.Module):
    """Holds a module one level down, as published keys have it."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.add_module(name, module)

    def forward(self, *args: Tensor | None) -> Tensor:
        (module,) = self.children()
        return module(*args)


class MultitaskVisualFront(nn.Module):
    """3-D stem, ResNet-18 with CBAM, conformer.

    Args:
        widths: channels of the four ResNet stages.
        dim, layers, heads, kernel, expansion: of the conformer.
        reduction: of CBAM's channel gate.
        dropout: after the ResNet; the conformer has `conformer_dropout`.
        published_padding: see `Conformer`.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = WIDTHS,
        dim: int = 512,
        layers: int = 12,
        heads: int = 8,
        *,
        kernel: int = 31,
        expansion: int = 4,
        reduction: int = 16,
        dropout: float = 0.3,
        conformer_dropout: float = 0.1,
        published_padding: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.frontend = stem(widths[0], nn.ReLU())
        self.resnet = Named("resnet", CBAMResNet(widths, dim, reduction))
        self.dropout = nn.Dropout(dropout)
        encoder = Conformer(
            dim, heads, layers, kernel, expansion, conformer_dropout, published_padding=published_padding
        )
        self.conformer = Named("encoder", encoder)
        for module in (*self.frontend.modules(), *self.resnet.modules()):
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, video_B1THW: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """(B, 1, T, 112, 112) normalised crops -> (B, T, D)."""
        batch, _, frames = video_B1THW.shape[:3]
        features_ND = self.resnet(fold_frames(self.frontend(video_B1THW)))
        return self.conformer(self.dropout(features_ND.view(batch, frames, self.dim)), lengths_B)


class CTCLayer(nn.Module):
    """Linear layer to units; blank is 0."""

    def __init__(self, dim: int = 512, vocabulary: int = 4000) -> None:
        super().__init__()
        self.classifier = nn.Linear(dim, vocabulary)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        return self.classifier(x_BTD)


class SpeakerEncoder(nn.Module):
    """A speaker's vector from a mel prompt of half a second.

    Args:
        bands: F.
        widths: channels of the three convolutions.
        dim: D.
    """

    def __init__(self, bands: int = 80, widths: tuple[int, int, int] = (128, 256, 256), dim: int = 512) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((bands, *widths), widths):
            layers += [nn.Conv1d(before, after, 7, padding=3), nn.BatchNorm1d(after), nn.LeakyReLU(0.2)]
        self.classifier = nn.Sequential(*layers)
        self.linear = nn.Linear(widths[-1], dim)

    def forward(self, prompt_B1FP: Tensor) -> Tensor:
        """(B, 1, F, P) normalised mel -> (B, D)."""
        return self.linear(self.classifier(prompt_B1FP.squeeze(1)).mean(2))


class MelHead(nn.Module):
    """Features and a speaker's vector to mel: (B, T, D), (B, D) -> (B, 1, F, 4T), nothing bounds the output.

    Args:
        dim: D.
        widths: channels of the two convolutions before the last.
        bands: F.
    """

    def __init__(self, dim: int = 512, widths: tuple[int, int] = (256, 128), bands: int = 80) -> None:
        super().__init__()
        self.bands = bands
        one, two = widths
        self.fusion = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU())
        self.classifier = nn.Sequential(
            nn.Conv1d(dim, one, 7, padding=3),
            nn.ReLU(),
            nn.Conv1d(one, two, 7, padding=3),
            nn.ReLU(),
            nn.Conv1d(two, COLUMNS_PER_FRAME * bands, 7, padding=3),
        )

    def forward(self, x_BTD: Tensor, speaker_BD: Tensor) -> Tensor:
        batch, frames, _ = x_BTD.shape
        joined = torch.cat([x_BTD, speaker_BD[:, None].expand(-1, frames, -1)], dim=-1)
        y_BCT = self.classifier(self.fusion(joined).transpose(1, 2))
        y_BFRT = y_BCT.view(
            batch, self.bands, COLUMNS_PER_FRAME, frames
        )  # channel f * 4 + r is column 4t + r of band f
        return y_BFRT.transpose(2, 3).reshape(batch, 1, self.bands, COLUMNS_PER_FRAME * frames)


class ContentRecogniser(nn.Module):
    """Mel to units by a conformer and CTC: its features supervise the content of generated mels.

    Args:
        front: channels of the two strided convolutions.
        dim, layers, heads, kernel, expansion: of the conformer.
        vocabulary: V.
        dropout: of the conformer.
        published_padding: see `Conformer`.
    """

    def __init__(
        self,
        front: tuple[int, int] = (128, 256),
        dim: int = 512,
        layers: int = 6,
        heads: int = 4,
        *,
        kernel: int = 31,
        expansion: int = 4,
        vocabulary: int = 4000,
        dropout: float = 0.1,
        published_padding: bool = False,
    ) -> None:
        super().__init__()
        one, two = front
        self.audio_front = nn.Sequential(
            nn.Conv2d(1, one, 3, 2, 1),
            nn.BatchNorm2d(one),
            nn.ReLU(),
            nn.Conv2d(one, two, 3, 2, 1),
            nn.BatchNorm2d(two),
            nn.ReLU(),
        )
        self.embed = nn.Linear(two * 20, dim)
        self.encoder = Conformer(dim, heads, layers, kernel, expansion, dropout, published_padding=published_padding)
        self.classifier = nn.Linear(dim, vocabulary)

    def features(self, mel_B1FS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """(B, 1, 80, 4T) normalised mel -> (B, T, D). `lengths_B` in video frames."""
        x_BCFT = self.audio_front(mel_B1FS)
        return self.encoder(self.embed(x_BCFT.flatten(1, 2).transpose(1, 2)), lengths_B)

    def forward(self, mel_B1FS: Tensor, lengths_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (B, T, V) and features (B, T, D)."""
        features = self.features(mel_B1FS, lengths_B)
        return self.classifier(features), features
