"""Front-ends and the chunked conformer run while frames come, with what they must remember carried along.

Each stream gives, piece by piece, exactly what its network gives on the whole clip (in evaluation mode). One clip at a
time: B = 1. T frames at hand, C frames of a chunk, P frames of the past, D channels, H heads, K channels of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from viseme.core.layers.conformer import ConformerBlock, ConformerEncoder
from viseme.core.layers.frontends import SAMPLES_PER_FRAME, AudioFrontend, VisualFrontend
from viseme.core.layers.positions import sinusoids
from viseme.core.layers.relative_attention import RelativeAttention

__all__ = ["AudioStream", "CumulativeNorm", "EncoderStream", "VisualStream"]

STEM_FRAMES = 2
"""Frames that the visual stem looks to either side."""


class VisualStream:
    """A `VisualFrontend` on frames as they come: `STEM_FRAMES` late."""

    def __init__(self, frontend: VisualFrontend) -> None:
        self.frontend = frontend
        self._kept: Tensor | None = (
            None  # the last frames seen, whose features are wanted or which their successors need
        )
        self._done = 0  # how many of the kept frames have their features given

    def push(self, x_BT1HW: Tensor, *, last: bool = False) -> Tensor:
        """New frames (1, T, 1, H, W), T may be 0 -> features (1, T', F) of the frames that are now certain."""
        x = x_BT1HW if self._kept is None else torch.cat((self._kept, x_BT1HW), dim=1)
        ready = x.shape[1] - (0 if last else STEM_FRAMES)
        if ready <= self._done:
            self._kept = x
            return x.new_zeros(1, 0, self.frontend.features)
        # The stem pads with zeros: wrong next to a cut, hence not asked for there.
        stem_BCTHW = self.frontend.frontend3D(x.transpose(1, 2))[:, :, self._done : ready]
        first = max(0, ready - STEM_FRAMES)
        self._kept, self._done = x[:, first:], ready - first
        return self.frontend.frames(stem_BCTHW)


class CumulativeNorm(nn.Module):
    """Zero mean and unit variance by the statistics of everything up to the end of each frame's sound.

    What a whole clip's layer norm becomes where the clip has not ended yet. It does not change when the clip is shifted
    or scaled, so it may follow the published normalisation, or go without: hence `eps`, which is for digital silence
    only, far below the variance of 16-bit rounding (8e-11). At 1e-8 a quiet beginning came out by its loudness.
    """

    def __init__(self, eps: float = 1e-14) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x_BS1: Tensor, before_B3: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalise whole frames.

        Args:
            x_BS1: (B, S, 1) samples, S a multiple of 640.
            before_B3: count, sum and sum of squares of what came before; None at the start.

        Returns:
            (B, S, 1), and the statistics to hand over to the next call.
        """
        x_BTN = x_BS1.squeeze(-1).unflatten(1, (-1, SAMPLES_PER_FRAME)).double()
        # Sums of squares cancel badly in float32 on a long recording.
        ones = torch.full_like(x_BTN[..., 0], SAMPLES_PER_FRAME)
        sums_BT3 = torch.stack((ones, x_BTN.sum(-1), x_BTN.square().sum(-1)), dim=-1).cumsum(1)
        if before_B3 is not None:
            sums_BT3 = sums_BT3 + before_B3[:, None]
        count, mean = sums_BT3[..., 0:1], sums_BT3[..., 1:2] / sums_BT3[..., 0:1]
        variance = (sums_BT3[..., 2:3] / count - mean.square()).clamp_min(0)
        out = ((x_BTN - mean) * (variance + self.eps).rsqrt()).to(x_BS1.dtype)
        return out.flatten(1)[..., None], sums_BT3[:, -1]


class AudioStream:
    """An `AudioFrontend` on samples as they come: one frame late, which covers its view of 252 samples either way."""

    def __init__(self, frontend: AudioFrontend, norm: CumulativeNorm | None = None) -> None:
        self.frontend, self.norm = frontend, norm
        self._statistics: Tensor | None = None
        self._rest: Tensor | None = None  # samples that do not fill a frame yet
        self._kept: Tensor | None = None  # frames, normalised, that the next ones need
        self._done = 0

    def push(self, x_BS1: Tensor, *, last: bool = False) -> Tensor:
        """New samples (1, S, 1), S may be 0 -> features (1, T', F) of the frames that are now certain."""
        x = x_BS1 if self._rest is None else torch.cat((self._rest, x_BS1), dim=1)
        whole = x.shape[1] // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        x, self._rest = x[:, :whole], x[:, whole:]
        if self.norm is not None and whole:
            x, self._statistics = self.norm(x, self._statistics)
        x = x if self._kept is None else torch.cat((self._kept, x), dim=1)
        ready = x.shape[1] // SAMPLES_PER_FRAME - (0 if last else 1)
        if ready <= self._done:
            self._kept = x
            return x.new_zeros(1, 0, self.frontend.features)
        features = self.frontend(x)[:, self._done : ready]
        first = max(0, ready - 1)
        self._kept, self._done = x[:, first * SAMPLES_PER_FRAME :], ready - first
        return features


class EncoderStream:
    """A chunked `ConformerEncoder` on frames as they come: a chunk at a time.

    Raises:
        ValueError: an encoder without chunks.
    """

    def __init__(self, encoder: ConformerEncoder) -> None:
        if not encoder.chunk:
            raise ValueError("only an encoder with chunks can run while frames come")
        self.encoder = encoder
        self._waiting: Tensor | None = None
        self._blocks = [_BlockState(block, encoder.chunk * encoder.left_chunks) for block in encoder.encoders]

    def push(self, x_BTD: Tensor, *, last: bool = False) -> Tensor:
        """New projected features (1, T, D), T may be 0 -> (1, T', D) of the chunks that are now complete."""
        x = x_BTD if self._waiting is None else torch.cat((self._waiting, x_BTD), dim=1)
        outputs = [x.new_zeros(1, 0, x.shape[2])]
        while x.shape[1] >= self.encoder.chunk or (last and x.shape[1]):
            outputs.append(self._chunk(x[:, : self.encoder.chunk]))
            x = x[:, self.encoder.chunk :]
        self._waiting = x
        return torch.cat(outputs, dim=1)

    def _chunk(self, x_BCD: Tensor) -> Tensor:
        x_BCD = self.encoder.positions.scaled(x_BCD)
        for block in self._blocks:
            x_BCD = block.step(x_BCD)
        after: Tensor = self.encoder.after_norm(x_BCD)
        return after


class _BlockState:
    """What one conformer block remembers: keys and values of the frames that attention still sees, and what its
    convolution still reads."""

    def __init__(self, block: nn.Module, most_frames: int) -> None:
        assert isinstance(block, ConformerBlock)
        self.block, self.most_frames = block, most_frames
        self.past: Tensor | None = None  # normalised input of attention, (1, P, D)
        self.gated: Tensor | None = None  # (1, D, kernel - 1)

    def step(self, x_BCD: Tensor) -> Tensor:
        block = self.block
        x_BCD = x_BCD + 0.5 * block.feed_forward_macaron(block.norm_ff_macaron(x_BCD))
        x_BCD = x_BCD + self._attend(block.norm_mha(x_BCD))
        x_BCD = x_BCD + self._convolve(block.norm_conv(x_BCD))
        x_BCD = x_BCD + 0.5 * block.feed_forward(block.norm_ff(x_BCD))
        final: Tensor = block.norm_final(x_BCD)
        return final

    def _attend(self, x_BCD: Tensor) -> Tensor:
        attention = self.block.self_attn
        assert isinstance(attention, RelativeAttention)
        keys_BPD = x_BCD if self.past is None else torch.cat((self.past, x_BCD), dim=1)
        out = attend_to_past(attention, x_BCD, keys_BPD)
        self.past = keys_BPD[:, max(0, keys_BPD.shape[1] - self.most_frames) :] if self.most_frames else None
        return out

    def _convolve(self, x_BCD: Tensor) -> Tensor:
        convolution = self.block.conv_module
        gated_BDC = convolution.gate(x_BCD)
        if self.gated is None:
            gated_BDC = functional.pad(gated_BDC, (convolution.past, 0))
        else:
            gated_BDC = torch.cat((self.gated, gated_BDC), dim=2)
        self.gated = gated_BDC[:, :, gated_BDC.shape[2] - convolution.past :]
        return convolution.filter(gated_BDC)


def attend_to_past(attention: RelativeAttention, x_BCD: Tensor, keys_BPD: Tensor) -> Tensor:
    """Relative attention of the newest C frames to the last P, themselves included: (1, C, D)."""
    queries, keys = x_BCD.shape[1], keys_BPD.shape[1]

    def split(y: Tensor) -> Tensor:
        return y.unflatten(-1, (attention.heads, attention.head_dim)).transpose(1, 2)

    q_BHCK = split(attention.linear_q(x_BCD))
    offsets = torch.arange(keys - 1, -queries, -1, device=x_BCD.device)  # of a query to a key, largest first
    table_1RD = sinusoids(offsets, x_BCD.shape[2])[None].to(x_BCD.dtype)
    p_1HRK = split(attention.linear_pos(table_1RD))
    scale = 1 / math.sqrt(attention.head_dim)
    by_offset = (q_BHCK + attention.pos_bias_v[:, None]) * scale @ p_1HRK.transpose(-2, -1)
    here = torch.arange(queries, device=x_BCD.device)[:, None]
    column_CP = queries - 1 - here + torch.arange(keys, device=x_BCD.device)
    bias = by_offset.gather(-1, column_CP.expand(*by_offset.shape[:2], -1, -1))
    y_BHCK = functional.scaled_dot_product_attention(
        q_BHCK + attention.pos_bias_u[:, None],
        split(attention.linear_k(keys_BPD)),
        split(attention.linear_v(keys_BPD)),
        attn_mask=bias,
    )
    out: Tensor = attention.linear_out(y_BHCK.transpose(1, 2).flatten(2))
    return out
