"""SyncNet v2: five mouth pictures and 0.2 s of MFCCs in, two comparable vectors out.

Chung and Zisserman, "Out of time: automated lip sync in the wild" (ACCV workshops 2016); the network behind the sync
scores LSE-D and LSE-C. State-dict keys are those of the published `syncnet_v2.model`.

B windows, T frames of a window (5), H, W pixels (224), K = 13 coefficients, N = 20 MFCC columns.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["SyncNetV2"]


def _lip(inp: int, out: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0) -> list[nn.Module]:
    strides, paddings = (1, stride, stride), (0, padding, padding)
    return [nn.Conv3d(inp, out, kernel, strides, paddings), nn.BatchNorm3d(out), nn.ReLU()]


def _lip_pool(padding: int = 0) -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


def _audio(inp: int, out: int, kernel: int | tuple[int, int] = 3, padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inp, out, kernel, 1, padding), nn.BatchNorm2d(out), nn.ReLU()]


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNetV2(nn.Module):
    """The published network (13.6 M parameters). Its embeddings (1024) are not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnlip = nn.Sequential(
            *_lip(3, 96, (5, 7, 7), stride=2),
            _lip_pool(),
            *_lip(96, 256, (1, 5, 5), stride=2, padding=1),
            _lip_pool(padding=1),
            *_lip(256, 256, (1, 3, 3), padding=1),
            *_lip(256, 256, (1, 3, 3), padding=1),
            *_lip(256, 256, (1, 3, 3), padding=1),
            _lip_pool(),
            *_lip(256, 512, (1, 6, 6)),
        )
        self.netcnnaud = nn.Sequential(
            *_audio(1, 64),
            nn.MaxPool2d((1, 1), (1, 1)),
            *_audio(64, 192),
            nn.MaxPool2d((3, 3), (1, 2)),
            *_audio(192, 384),
            *_audio(384, 256),
            *_audio(256, 256),
            nn.MaxPool2d((3, 3), (2, 2)),
            *_audio(256, 512, (5, 4), padding=0),
        )
        self.netfclip = _head()
        self.netfcaud = _head()

    def embed_lips(self, frames_B3THW: Tensor) -> Tensor:
        """(B,3,5,224,224), BGR, 0 to 255 -> (B,1024)."""
        return self.netfclip(self.lip_features(frames_B3THW))

    def lip_features(self, frames_B3THW: Tensor) -> Tensor:
        """What comes before the lip head, (B,512)."""
        return self.netcnnlip(frames_B3THW).flatten(1)

    def embed_audio(self, mfcc_B1KN: Tensor) -> Tensor:
        """(B,1,13,20) -> (B,1024)."""
        return self.netfcaud(self.netcnnaud(mfcc_B1KN).flatten(1))
