"""Cosine, sync and spectral losses against their formulas, written out in float64.

`test_kernels_interpreted.py` runs this file once more through the Triton kernels.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from viseme.core.losses import (
    contrastive_sync_loss,
    cosine_bce,
    cosine_sync_loss,
    masked_cosine,
    mel_l1_loss,
    multi_resolution_stft_loss,
)

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def exactly(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def agree(got: Tensor, mine: list[Tensor], wanted: Tensor, exact: list[Tensor], tolerance: float) -> None:
    """Values and gradients."""
    upstream = torch.linspace(0.5, 1.5, max(1, got.numel()), dtype=torch.float64).reshape(got.shape)
    pairs = [(got, wanted)]
    pairs += zip(
        torch.autograd.grad((got * upstream.to(got)).sum(), mine),
        torch.autograd.grad((wanted * upstream).sum(), exact),
        strict=True,
    )
    for ours, theirs in pairs:
        assert ours.isfinite().all()
        error = (ours.detach().double() - theirs.detach()).abs().max() / (1 + theirs.detach().abs().max())
        assert error < tolerance, f"{error:.2e}"


def cosine(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 5), (2, 4, 129)])
def test_masked_cosine(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x, y = noise(*shape, dtype=dtype), noise(*shape, seed=1, dtype=dtype)
    counted = torch.rand(shape[:2], generator=torch.Generator().manual_seed(2)) < 0.7
    counted[0, 0] = True
    a, b = exactly(x, y)
    wanted = -cosine(a, b)[counted].mean()
    agree(masked_cosine(x, y, counted), [x, y], wanted, [a, b], TOLERANCE[dtype])


def test_masked_cosine_does_not_read_what_does_not_count() -> None:
    x, y = noise(2, 3, 4), noise(2, 3, 4, seed=1)
    counted = torch.tensor([[True, True, False], [True, False, False]])
    spoiled = x.detach().masked_fill(~counted[..., None], 0.0)
    assert torch.equal(masked_cosine(spoiled, y, counted), masked_cosine(x, y, counted))
    nothing = masked_cosine(x, y, torch.zeros(2, 3, dtype=torch.bool))
    assert nothing == 0 and not torch.autograd.grad(nothing, x)[0].any()


def test_masked_cosine_of_a_zero_vector() -> None:
    x, y = torch.zeros(1, 1, 4, dtype=torch.float64, requires_grad=True), noise(1, 1, 4)
    loss = masked_cosine(x, y, torch.ones(1, 1, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(gradient, -(y / y.norm() / 1e-8).detach())
    assert loss == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cosine_bce(dtype: torch.dtype) -> None:
    x, y = noise(5, 33, dtype=dtype), noise(5, 33, seed=1, dtype=dtype)
    x, y = (v.detach().abs().requires_grad_() for v in (x, y))
    target = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0])
    a, b = exactly(x, y)
    score = cosine(a, b)
    wanted = -(target * score.log() + (1 - target) * (1 - score).log()).mean()
    agree(cosine_bce(x, y, target), [x, y], wanted, [a, b], TOLERANCE[dtype])
    torch.testing.assert_close(cosine_bce(x, y, target[:, None]), cosine_bce(x, y, target))


def test_cosine_bce_at_its_ends() -> None:
    x = torch.eye(2, 4)
    opposite = torch.stack([-x[0], x[0]])
    assert cosine_bce(x, opposite, torch.ones(2)) == 100  # the logarithm's floor
    assert cosine_bce(x, opposite, torch.zeros(2)) == 0
    assert float(cosine_bce(3 * x, 0.1 * x, torch.ones(2))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("frames", "width", "temperature"), [(1, 3, 1.0), (7, 5, 0.5), (19, 70, 1.0), (33, 8, 0.07)])
def test_contrastive_sync_loss(frames: int, width: int, temperature: float, dtype: torch.dtype) -> None:
    x, y = noise(3, frames, width, dtype=dtype), noise(3, frames, width, seed=1, dtype=dtype)
    a, b = exactly(x, y)
    similarity = cosine(a[:, :, None], b[:, None]) / temperature
    diagonal = similarity.diagonal(dim1=1, dim2=2)
    wanted = ((similarity.logsumexp(2) - diagonal) + (similarity.logsumexp(1) - diagonal)).mean(1) / 2
    agree(contrastive_sync_loss(x, y, temperature), [x, y], wanted, [a, b], TOLERANCE[dtype])


def test_cosine_sync_loss() -> None:
    x, y = noise(2, 7, 5), noise(2, 7, 5, seed=1)
    a, b = exactly(x, y)
    agree(cosine_sync_loss(x, y), [x, y], 5 - cosine(a, b).abs().mean(1), [a, b], 1e-10)


RESOLUTIONS = ((64, 16, 60), (128, 25, 128))


def spectral(x: Tensor, y: Tensor) -> Tensor:
    """Clip by clip, from a transform of its own."""
    total = torch.zeros((), dtype=torch.float64)
    for n_fft, hop, win in RESOLUTIONS:
        for one, other in zip(x, y, strict=True):
            magnitudes = []
            for signal in (one, other):
                window = torch.zeros(n_fft, dtype=torch.float64)
                left = (n_fft - win) // 2
                window[left : left + win] = torch.hann_window(win, dtype=torch.float64)
                padded = torch.nn.functional.pad(signal[None, None], (n_fft // 2, n_fft // 2), mode="reflect")[0, 0]
                spectrum = torch.fft.rfft(padded.unfold(0, n_fft, hop) * window)
                magnitudes.append((spectrum.real**2 + spectrum.imag**2).clamp(min=1e-7).sqrt())
            g, t = magnitudes
            total = total + (t - g).norm() / t.norm() + (t.log() - g.log()).abs().mean()
    return total / (len(RESOLUTIONS) * len(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("samples", [97, 300])
def test_multi_resolution_stft_loss(samples: int, dtype: torch.dtype) -> None:
    x, y = noise(3, samples, dtype=dtype), noise(3, samples, seed=1, dtype=dtype)
    (a,) = exactly(x)
    wanted = spectral(a, y.detach().double())
    got = multi_resolution_stft_loss(x, y, RESOLUTIONS)
    agree(got, [x], wanted, [a], 1e-9 if dtype == torch.float64 else 1e-4)


def test_multi_resolution_stft_loss_of_equals_and_of_silence() -> None:
    x = noise(1, 300)
    loss = multi_resolution_stft_loss(x, x.detach(), RESOLUTIONS)
    (gradient,) = torch.autograd.grad(loss, x)
    assert float(loss.detach()) < 1e-6 and not gradient.any()
    silence = torch.zeros(1, 300, dtype=torch.float64, requires_grad=True)
    loss = multi_resolution_stft_loss(silence, x, RESOLUTIONS)
    assert loss.isfinite() and torch.autograd.grad(loss, silence)[0].isfinite().all()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_mel_l1_loss(dtype: torch.dtype) -> None:
    x, y = noise(3, 1, 5, 37, dtype=dtype), noise(3, 1, 5, 37, seed=1, dtype=dtype)
    (a,), b = exactly(x), y.detach().double()
    agree(mel_l1_loss(x, y), [x], (a - b).abs().mean(), [a], TOLERANCE[dtype])
    columns = torch.tensor([37, 0, 11])
    own = torch.cat([(a[i] - b[i])[..., : columns[i]].flatten() for i in range(3)])
    agree(mel_l1_loss(x, y, columns), [x], own.abs().mean(), [a], TOLERANCE[dtype])
    assert mel_l1_loss(x, y, torch.zeros(3, dtype=torch.long)) == 0


def test_gradcheck() -> None:
    def angles(x: Tensor, y: Tensor) -> Tensor:
        return contrastive_sync_loss(x, y).sum() + masked_cosine(x, y, torch.tensor([[True, False]]))

    assert torch.autograd.gradcheck(angles, (noise(1, 2, 2), noise(1, 2, 2, seed=1)))
    target = noise(1, 12, seed=3).detach()
    assert torch.autograd.gradcheck(
        lambda x: multi_resolution_stft_loss(x, target, ((8, 4, 8),)), (noise(1, 12, seed=2),), atol=1e-4
    )


def test_chance() -> None:
    """Frames that are all alike: one in T."""
    alike = torch.ones(1, 9, 4)
    assert float(contrastive_sync_loss(alike, alike)) == pytest.approx(math.log(9), rel=1e-5)
