from __future__ import annotations

import math

import pytest
import torch

from viseme.core.signal import resample


def tone(hz: float, rate: int, seconds: float = 1.0) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(int(rate * seconds), dtype=torch.float64) / rate).float()


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_a_tone_keeps_its_pitch_and_phase(rate):
    got, want = resample(tone(440, rate), rate, 16000), tone(440, 16000)
    assert got.shape == want.shape
    assert (got - want)[200:-200].abs().max() < 3e-3


def test_what_the_lower_rate_cannot_hold_is_gone():
    assert resample(tone(11000, 48000), 48000, 16000)[200:-200].abs().max() < 0.02


def test_a_constant_stays():
    y = resample(torch.ones(44100), 44100, 16000)
    assert (y[50:-50] - 1).abs().max() < 2e-3


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 159, 160, 161, 441, 4410, 4411])
@pytest.mark.parametrize("rates", [(44100, 16000), (16000, 44100), (48000, 16000), (8000, 16000), (25, 16)])
def test_length_is_the_ceiling(samples, rates):
    assert resample(torch.zeros(samples), *rates).shape == (math.ceil(samples * rates[1] / rates[0]),)


def test_leading_dimensions_are_independent():
    x = torch.randn(2, 3, 1000, generator=torch.Generator().manual_seed(1))
    y = resample(x, 44100, 16000)
    assert y.shape == (2, 3, 363)
    torch.testing.assert_close(y[1, 2], resample(x[1, 2], 44100, 16000))


def test_equal_rates_change_nothing():
    x = torch.randn(10)
    assert resample(x, 16000, 16000) is x


def test_gradients_flow():
    x = torch.randn(320, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resample(x, 4, 3), (x[:24],))


@pytest.mark.parametrize("rates", [(0, 16000), (16000, -1), (44100.5, 16000)])
def test_rates_must_be_positive_integers(rates):
    with pytest.raises(ValueError, match="positive integers"):
        resample(torch.zeros(4), *rates)


def test_integers_are_refused():
    with pytest.raises(ValueError, match="floating point"):
        resample(torch.zeros(4, dtype=torch.int16), 8000, 16000)
