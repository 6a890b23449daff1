"""Streamed equals offline, however the frames come."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from viseme.core.layers import AudioFrontend, ConformerEncoder, VisualFrontend
from viseme.core.layers.streaming import AudioStream, CumulativeNorm, EncoderStream, VisualStream

CUTS = [[1] * 23, [23], [8, 8, 7], [3, 0, 11, 1, 8], [2, 21]]


def settle(module: torch.nn.Module) -> None:
    """Batch norms that do something."""
    for name, value in module.named_buffers():
        if "running_mean" in name:
            value.normal_(0, 0.3)
        elif "running_var" in name:
            value.uniform_(0.5, 2)


def streamed(stream: VisualStream | AudioStream | EncoderStream, x: Tensor, cuts: list[int]) -> Tensor:
    pieces = [stream.push(piece) for piece in x.split(cuts, dim=1)]
    return torch.cat([*pieces, stream.push(x[:, :0], last=True)], dim=1)


@pytest.mark.parametrize("cuts", CUTS)
@torch.no_grad()
def test_visual(cuts: list[int]) -> None:
    torch.manual_seed(0)
    frontend = VisualFrontend("swish", widths=(4, 4, 8, 8)).eval()
    settle(frontend)
    x = torch.randn(1, 23, 1, 32, 32)
    torch.testing.assert_close(streamed(VisualStream(frontend), x, cuts), frontend(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [[640 * 9 + 100], [100] * 58 + [60], [640] * 9 + [100], [3000, 0, 2860]])
@torch.no_grad()
def test_audio(cuts: list[int]) -> None:
    torch.manual_seed(0)
    frontend, norm = AudioFrontend("swish", (4, 8, 8, 16)).eval(), CumulativeNorm()
    settle(frontend)
    x = torch.randn(1, 640 * 9 + 100, 1) * 0.1 + 0.2
    offline = frontend(norm(x[:, : 640 * 9])[0])
    torch.testing.assert_close(streamed(AudioStream(frontend, norm), x, cuts), offline, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize(("chunk", "left"), [(4, 2), (8, 1), (5, 0), (1, 6), (64, 1)])
@torch.no_grad()
def test_encoder(cuts: list[int], chunk: int, left: int) -> None:
    torch.manual_seed(0)
    encoder = ConformerEncoder(16, 2, 32, 3, kernel=5, chunk=chunk, left_chunks=left).eval()
    settle(encoder)
    x = torch.randn(1, 23, 16)
    torch.testing.assert_close(streamed(EncoderStream(encoder), x, cuts), encoder(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_future_changes_nothing_beyond_the_chunk() -> None:
    torch.manual_seed(0)
    encoder = ConformerEncoder(16, 2, 32, 2, kernel=5, chunk=4, left_chunks=2).eval()
    x = torch.randn(1, 16, 16)
    other = x.clone()
    other[:, 8:] = torch.randn(1, 8, 16)
    torch.testing.assert_close(encoder(x)[:, :8], encoder(other)[:, :8])
    assert not torch.allclose(encoder(x)[:, 8:], encoder(other)[:, 8:])


def test_cumulative_norm_is_blind_to_scale_and_shift() -> None:
    x = torch.randn(1, 640 * 4, 1)
    torch.testing.assert_close(CumulativeNorm()(x)[0], CumulativeNorm()(x * 7 + 3)[0], rtol=1e-3, atol=1e-3)
    assert bool(torch.isfinite(CumulativeNorm()(torch.zeros(1, 1280, 1))[0]).all())


def test_an_encoder_without_chunks_cannot() -> None:
    with pytest.raises(ValueError, match="chunks"):
        EncoderStream(ConformerEncoder(16, 2, 32, 1, kernel=5))
    with pytest.raises(ValueError, match="relative"):
        ConformerEncoder(16, 2, 32, 1, kernel=5, attention="absolute", chunk=4)
