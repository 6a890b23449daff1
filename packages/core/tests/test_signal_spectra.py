"""STFT, mel front-ends and Griffin-Lim: against definitions, and that pieces and batches change nothing."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import torch

from viseme.core.signal import (
    MULTITASK_MEL,
    VCA_LRS_MEL,
    GriffinLim,
    LogRange,
    griffin_lim,
    inverse_preemphasis,
    istft,
    peak_normalise,
    preemphasis,
    spectral_convergence,
    stft,
)

GEOMETRIES = [(640, 160, 640), (1024, 160, 640), (256, 64, 256), (512, 128, 256)]


def voiced(samples: int, seed: int = 0) -> torch.Tensor:
    """Something with harmonics and silence in it."""
    t = torch.arange(samples) / 16000
    pitch = 120 + 20 * torch.sin(2 * torch.pi * 3 * t)
    phase = 2 * torch.pi * torch.cumsum(pitch, 0) / 16000
    x = sum(torch.sin(k * phase) / k for k in range(1, 12))
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    return 0.2 * x * (torch.sin(2 * torch.pi * 2 * t) > -0.5) + 0.001 * noise


@pytest.mark.parametrize(("n_fft", "hop", "win"), GEOMETRIES)
def test_analysis_and_synthesis_are_those_of_the_library(n_fft: int, hop: int, win: int) -> None:
    solver = GriffinLim(n_fft, hop, win)
    x = voiced(hop * 30)
    spectrum = stft(x, n_fft, hop, win)
    torch.testing.assert_close(solver.analyse(x[None])[0].T, spectrum, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        solver.synthesise(spectrum.T[None].contiguous())[0], istft(spectrum, n_fft, hop, win), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(istft(spectrum, n_fft, hop, win), x, atol=1e-5, rtol=1e-4)


def test_batched_equals_single() -> None:
    magnitude = stft(torch.stack([voiced(8000), voiced(8000, 1).flip(0)]), 640, 160).abs()
    phase = torch.rand(magnitude.shape)
    both = griffin_lim(magnitude, 640, 160, iterations=10, phase_uniform=phase)
    for row in range(2):
        one = griffin_lim(magnitude[row], 640, 160, iterations=10, phase_uniform=phase[row])
        torch.testing.assert_close(both[row], one, atol=1e-5, rtol=1e-4)


def test_a_batch_solved_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    magnitude = torch.rand(3, 33, 20)
    turns = torch.rand(3, 33, 20)
    whole = griffin_lim(magnitude, 64, 16, iterations=5, phase_uniform=turns)
    for size in (1, 33 * 20, 2 * 33 * 20):
        monkeypatch.setattr(importlib.import_module("viseme.core.signal.griffin_lim"), "_IN_CACHE", size)
        parts = GriffinLim(64, 16, iterations=5)(magnitude, phase_uniform=turns)
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


def test_momentum_converges_faster() -> None:
    magnitude = stft(voiced(16000), 640, 160).abs()
    phase = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(1))
    plain, quick = (
        spectral_convergence(
            griffin_lim(magnitude, 640, 160, iterations=20, momentum=m, phase_uniform=phase), magnitude, 640, 160
        )
        for m in (0.0, 0.99)
    )
    assert quick < 0.8 * plain < 0.3


@pytest.mark.parametrize("sizes", [[400], [200, 200], [7] * 58, [390, 10]])
def test_streamed_converges_like_whole_and_has_no_seams(sizes: list[int]) -> None:
    columns = sum(sizes)
    magnitude = stft(voiced(160 * (columns - 1)), 640, 160).abs()
    solver = GriffinLim(640, 160, iterations=30)
    whole = spectral_convergence(solver(magnitude, generator=torch.Generator().manual_seed(0)), magnitude, 640, 160)
    parts = list(solver.stream(magnitude.split(sizes, dim=1), generator=torch.Generator().manual_seed(0)))
    streamed = torch.cat(parts)
    assert streamed.shape == (160 * (columns - 1),)
    # A seam would be a click: magnitudes that are not there, and worse convergence.
    assert spectral_convergence(streamed, magnitude, 640, 160) < 1.15 * whole


def test_griffin_lim_says_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="whole even number of hops"):
        GriffinLim(640, 150)
    with pytest.raises(ValueError, match="bins"):
        griffin_lim(torch.ones(320, 20), 640, 160)
    with pytest.raises(ValueError, match="at least 4 columns"):
        griffin_lim(torch.ones(321, 3), 640, 160)
    with pytest.raises(ValueError, match="no columns"):
        list(GriffinLim(640, 160).stream([]))


def test_silence_stays_silence() -> None:
    assert griffin_lim(torch.zeros(321, 20), 640, 160, iterations=3).abs().max() == 0
    assert peak_normalise(torch.zeros(2, 100)).abs().max() == 0
    assert VCA_LRS_MEL(torch.zeros(1600)).unique().tolist() == [-1.0]


def test_peak_and_preemphasis() -> None:
    x = torch.stack([voiced(3000), 7 * voiced(3000)])
    torch.testing.assert_close(peak_normalise(x).abs().amax(-1), torch.full((2,), 0.9))
    torch.testing.assert_close(inverse_preemphasis(preemphasis(x)), x, atol=1e-5, rtol=1e-5)
    loud = torch.tensor(np.resize([1.0, -1.0], 1600), dtype=torch.float32)
    assert VCA_LRS_MEL.emphasise(loud).abs().max() == 1
    assert dataclasses.replace(VCA_LRS_MEL, clip=False).emphasise(loud).abs().max() > 1.9


def test_log_range_and_back() -> None:
    magnitude = torch.logspace(-5, 1, 50)
    torch.testing.assert_close(LogRange().inverse(LogRange()(magnitude)), magnitude)
    assert LogRange()(torch.tensor([0.0, 1.0])).tolist() == [-1.0, 1.0]


def test_columns() -> None:
    for samples in (1600, 1599, 3201):
        assert MULTITASK_MEL(voiced(samples)).shape == (80, MULTITASK_MEL.columns(samples))
