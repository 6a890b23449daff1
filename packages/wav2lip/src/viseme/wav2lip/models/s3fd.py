"""S3FD, the face detector of the published inference command (layout of `s3fd-619a316812.pth`).

A VGG-16 body and six heads at strides 4 to 128; each position of a map has one square anchor of four strides.

Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector" (ICCV 2017). What follows the network (candidates,
decoding, suppression) is in `viseme.wav2lip.detection`. State-dict keys are the published ones.

B images, C channels, H, W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["S3FD", "L2Norm"]

_BODY = {
    "conv1": (3, 64, 2),
    "conv2": (64, 128, 2),
    "conv3": (128, 256, 3),
    "conv4": (256, 512, 3),
    "conv5": (512, 512, 3),
}


class L2Norm(nn.Module):
    """x / (|x| over channels + 1e-10) * weight."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        norm = x_BCHW.pow(2).sum(1, keepdim=True).sqrt() + 1e-10
        return x_BCHW / norm * self.weight[:, None, None]


class S3FD(nn.Module):
    """Images in, six pairs of maps out. Runs at any size without resizing."""

    STRIDES = (4, 8, 16, 32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        for name, (inp, out, count) in _BODY.items():
            for number in range(count):
                self.add_module(f"{name}_{number + 1}", nn.Conv2d(inp if number == 0 else out, out, 3, padding=1))
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=3)  # not dilated: the map grows by 4
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self.conv6_1, self.conv6_2 = nn.Conv2d(1024, 256, 1), nn.Conv2d(256, 512, 3, 2, 1)
        self.conv7_1, self.conv7_2 = nn.Conv2d(512, 128, 1), nn.Conv2d(128, 256, 3, 2, 1)
        self.conv3_3_norm, self.conv4_3_norm, self.conv5_3_norm = L2Norm(256, 10), L2Norm(512, 8), L2Norm(512, 5)
        for name, channels in self._heads():
            self.add_module(f"{name}_mbox_conf", nn.Conv2d(channels, 4 if name == "conv3_3_norm" else 2, 3, padding=1))
            self.add_module(f"{name}_mbox_loc", nn.Conv2d(channels, 4, 3, padding=1))

    @staticmethod
    def _heads() -> list[tuple[str, int]]:
        norms = [("conv3_3_norm", 256), ("conv4_3_norm", 512), ("conv5_3_norm", 512)]
        return [*norms, ("fc7", 1024), ("conv6_2", 512), ("conv7_2", 256)]

    def forward(self, images_B3HW: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per level (classes (B,2,h,w): background, face, before the softmax; box offsets (B,4,h,w)).

        Args:
            images_B3HW: channels less their means (see `viseme.wav2lip.detection`).
        """
        features, x = {}, images_B3HW
        for name, (_, _, count) in _BODY.items():
            for number in range(count):
                x = F.relu(getattr(self, f"{name}_{number + 1}")(x))
            if count == 3 and name in ("conv3", "conv4", "conv5"):
                features[f"{name}_3_norm"] = getattr(self, f"{name}_3_norm")(x)
            x = F.max_pool2d(x, 2, 2)
        x = features["fc7"] = F.relu(self.fc7(F.relu(self.fc6(x))))
        x = features["conv6_2"] = F.relu(self.conv6_2(F.relu(self.conv6_1(x))))
        features["conv7_2"] = F.relu(self.conv7_2(F.relu(self.conv7_1(x))))
        maps = []
        for name, _ in self._heads():
            classes = getattr(self, f"{name}_mbox_conf")(features[name])
            if classes.shape[1] == 4:  # three kinds of background at the finest level
                classes = torch.cat((classes[:, :3].amax(1, keepdim=True), classes[:, 3:]), dim=1)
            maps.append((classes, getattr(self, f"{name}_mbox_loc")(features[name])))
        return maps
