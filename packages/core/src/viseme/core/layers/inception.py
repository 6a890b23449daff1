"""Inception-v3 as FID measures with: pictures in, 2048 features each out.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (CVPR 2016); the ported weights of Heusel et
al.'s FID differ from the classifier in how they pool: averages leave the padding out, and the last block takes the
maximum. State-dict keys are those of the published `pt_inception-2015-12-05-6726825d.pth` (and of torchvision's).

N pictures, H, W pixels, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["InceptionV3"]

Kernel = int | tuple[int, int]


class _Conv(nn.Module):
    def __init__(self, inp: int, out: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x_NCHW)), inplace=True)


def _average(x_NCHW: Tensor) -> Tensor:
    return F.avg_pool2d(x_NCHW, 3, 1, 1, count_include_pad=False)


class _A(nn.Module):
    def __init__(self, inp: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inp, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = _Conv(inp, 48, 1), _Conv(48, 64, 5, 1, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inp, 64, 1), _Conv(64, 96, 3, 1, 1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, 1, 1)
        self.branch_pool = _Conv(inp, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat(
            (self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(_average(x))), 1
        )


class _B(nn.Module):
    def __init__(self, inp: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(inp, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inp, 64, 1), _Conv(64, 96, 3, 1, 1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), double, F.max_pool2d(x, 3, 2)), 1)


class _C(nn.Module):
    def __init__(self, inp: int, width: int) -> None:
        super().__init__()
        across, down = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
        self.branch1x1 = _Conv(inp, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = _Conv(inp, width, 1), _Conv(width, width, *across)
        self.branch7x7_3 = _Conv(width, 192, *down)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = _Conv(inp, width, 1), _Conv(width, width, *down)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _Conv(width, width, *across), _Conv(width, width, *down)
        self.branch7x7dbl_5 = _Conv(width, 192, *across)
        self.branch_pool = _Conv(inp, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat((self.branch1x1(x), single, double, self.branch_pool(_average(x))), 1)


class _D(nn.Module):
    def __init__(self, inp: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = _Conv(inp, 192, 1), _Conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = _Conv(inp, 192, 1), _Conv(192, 192, (1, 7), 1, (0, 3))
        self.branch7x7x3_3, self.branch7x7x3_4 = _Conv(192, 192, (7, 1), 1, (3, 0)), _Conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat((self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)), 1)


class _E(nn.Module):
    def __init__(self, inp: int, maximum: bool) -> None:
        super().__init__()
        across, down = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
        self.branch1x1 = _Conv(inp, 320, 1)
        self.branch3x3_1 = _Conv(inp, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = _Conv(384, 384, *across), _Conv(384, 384, *down)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inp, 448, 1), _Conv(448, 384, 3, 1, 1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = _Conv(384, 384, *across), _Conv(384, 384, *down)
        self.branch_pool = _Conv(inp, 192, 1)
        self.maximum = maximum

    def forward(self, x: Tensor) -> Tensor:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.maximum else _average(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class InceptionV3(nn.Module):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, 1, 1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b, self.Mixed_6c = _C(768, 128), _C(768, 160)
        self.Mixed_6d, self.Mixed_6e = _C(768, 160), _C(768, 192)
        self.Mixed_7a = _D(768)
        self.Mixed_7b, self.Mixed_7c = _E(1280, maximum=False), _E(2048, maximum=True)

    def forward(self, pictures_N3HW: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1], of any size -> (N, 2048)."""
        x = F.interpolate(pictures_N3HW, (299, 299), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(2 * x - 1)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))
