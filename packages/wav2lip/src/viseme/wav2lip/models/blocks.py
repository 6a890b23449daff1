"""Building blocks of Wav2Lip's networks. State-dict keys are the published ones: `conv_block.0` is the convolution,
`conv_block.1` the batch norm.

B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ConvBlock", "LeakyConv", "TransposedBlock"]

Size = int | tuple[int, int]


class ConvBlock(nn.Module):
    """Convolution + batch norm + ReLU; with `residual`, the input is added before the ReLU."""

    def __init__(self, inp: int, out: int, kernel: Size, stride: Size, padding: Size, residual: bool = False) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inp, out, kernel, stride, padding), nn.BatchNorm2d(out))
        self.residual = residual
        self.act = nn.ReLU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.conv_block(x_BCHW)
        if self.residual:
            y_BCHW += x_BCHW  # in place: neither convolution nor batch norm needs its output again
        return self.act(y_BCHW)


class TransposedBlock(nn.Module):
    """Transposed convolution + batch norm + ReLU."""

    def __init__(self, inp: int, out: int, kernel: Size, stride: Size, padding: Size, output_padding: Size = 0) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(inp, out, kernel, stride, padding, output_padding), nn.BatchNorm2d(out)
        )
        self.act = nn.ReLU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.act(self.conv_block(x_BCHW))


class LeakyConv(nn.Module):
    """Convolution + leaky ReLU (0.01), without normalisation."""

    def __init__(self, inp: int, out: int, kernel: Size, stride: Size, padding: Size) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inp, out, kernel, stride, padding))
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.act(self.conv_block(x_BCHW))
