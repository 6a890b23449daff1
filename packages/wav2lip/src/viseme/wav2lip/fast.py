"""The generator made fast without changing what it says: batch norms folded into convolutions, channels last.

Folding moves outputs by rounding only (below 1e-4); bf16 by about 1 of 255 levels.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from viseme.wav2lip.models.blocks import ConvBlock, TransposedBlock
from viseme.wav2lip.models.generator import Wav2LipGenerator

__all__ = ["fused"]


def fused(generator: Wav2LipGenerator, dtype: torch.dtype = torch.float32) -> Wav2LipGenerator:
    """A copy for inference: every batch norm folded into the convolution before it, weights channels last.

    Args:
        dtype: float32, or bfloat16 where the processor has units for it.
    """
    quick = copy.deepcopy(generator).eval()
    for block in quick.modules():
        if not isinstance(block, ConvBlock | TransposedBlock):
            continue
        convolution: Any = block.conv_block[0]
        norm: Any = block.conv_block[1]
        transposed = isinstance(block, TransposedBlock)
        block.conv_block = nn.Sequential(fuse_conv_bn_eval(convolution, norm, transpose=transposed))
        block.act = nn.ReLU(inplace=True)
    return quick.requires_grad_(False).to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
