"""S3FD, the other port (layout of `sfd_face.pth`): the detector of the published evaluation's face tracks.

Same family as `s3fd`, not interchangeable: fc6 is dilated, features are taken at other places, priors are relative.
State-dict keys are the published ones.

B images, P priors, H, W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.wav2lip.models.s3fd import L2Norm

__all__ = ["S3FDVGG"]

_VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "C", 512, 512, 512, "M", 512, 512, 512, "M")
_TAPS = (15, 22, 29, 34)  # indices in `vgg` after which features are taken


class S3FDVGG(nn.Module):
    """Images in, offsets, probabilities and priors out."""

    STEPS = (4, 8, 16, 32, 64, 128)
    SIZES = (16, 32, 64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.vgg = nn.ModuleList(_vgg())
        self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3 = L2Norm(256, 10), L2Norm(512, 8), L2Norm(512, 5)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, 2, 1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, 2, 1),
            ]
        )
        channels = (256, 512, 512, 1024, 512, 256)
        self.loc = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for width in channels)
        self.conf = nn.ModuleList(
            nn.Conv2d(width, 4 if level == 0 else 2, 3, padding=1) for level, width in enumerate(channels)
        )

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(offsets (B,P,4), probabilities (B,P,2) of background and face, priors (P,4): centre and size, relative)."""
        height, width = images_B3HW.shape[2:]
        features, x = [], images_B3HW
        norms = {15: self.L2Norm3_3, 22: self.L2Norm4_3, 29: self.L2Norm5_3}
        for index, layer in enumerate(self.vgg):
            x = layer(x)
            if index in _TAPS:
                features.append(norms[index](x) if index in norms else x)
        for index, layer in enumerate(self.extras):
            x = F.relu(layer(x))
            if index % 2:
                features.append(x)
        locs, confs = [], []
        for level, feature in enumerate(features):
            classes = self.conf[level](feature)
            if level == 0:
                classes = torch.cat((classes[:, :3].amax(1, keepdim=True), classes[:, 3:]), dim=1)
            locs.append(self.loc[level](feature).permute(0, 2, 3, 1).flatten(1))
            confs.append(classes.permute(0, 2, 3, 1).flatten(1))
        loc = torch.cat(locs, 1).unflatten(1, (-1, 4))
        conf = torch.cat(confs, 1).unflatten(1, (-1, 2)).softmax(-1)
        return loc, conf, self.priors([tuple(f.shape[2:]) for f in features], height, width).to(loc)

    def priors(self, maps: list[tuple[int, ...]], height: int, width: int) -> Tensor:
        """(P,4): centre x, y, width, height of each position's square, relative to the image."""
        made = []
        for (rows, columns), step, size in zip(maps, self.STEPS, self.SIZES):
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            centre_x, centre_y = (x + 0.5) * step / width, (y + 0.5) * step / height
            sides = [torch.full_like(centre_x, size / width), torch.full_like(centre_x, size / height)]
            made.append(torch.stack((centre_x, centre_y, *sides), dim=-1).reshape(-1, 4))
        return torch.cat(made)


def _vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inp = 3
    for item in _VGG:
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=item == "C"))
        else:
            layers += [nn.Conv2d(inp, item, 3, padding=1), nn.ReLU()]
            inp = item
    return [*layers, nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(), nn.Conv2d(1024, 1024, 1), nn.ReLU()]
