from __future__ import annotations

import math

import pytest
import torch

from viseme.core.signal import NOISE_RMS, babble, layer_norm, mix_at_snr, pink_noise, white_noise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def snr_of(speech: torch.Tensor, mixed: torch.Tensor) -> float:
    return float(10 * torch.log10(speech.square().sum() / (mixed - speech).square().sum()))


@pytest.mark.parametrize("snr_db", [-5.0, 0, 0.0, 5, 20])
def test_the_ratio_is_the_one_asked_for(snr_db):
    speech, noise = 0.3 * torch.randn(4000, generator=seeded(1)), 2 * torch.randn(9000, generator=seeded(2))
    mixed = mix_at_snr(speech, noise, snr_db, generator=seeded())
    assert snr_of(speech, mixed) == pytest.approx(snr_db, abs=1e-3)


def test_none_is_no_noise_and_zero_is_not_none():
    speech, noise = torch.randn(100, generator=seeded(1)), torch.randn(100, generator=seeded(2))
    assert torch.equal(mix_at_snr(speech, noise, None), speech)
    assert not torch.equal(mix_at_snr(speech, noise, 0), speech)
    assert torch.equal(mix_at_snr(speech, noise, 999999), speech)  # the published "no noise"


def test_silence_on_either_side_leaves_the_speech():
    speech = torch.randn(100, generator=seeded())
    assert torch.equal(mix_at_snr(speech, torch.zeros(200), 0), speech)
    assert torch.equal(mix_at_snr(torch.zeros(100), speech, 0), torch.zeros(100))
    assert torch.equal(mix_at_snr(torch.zeros(100), torch.zeros(100), 0), torch.zeros(100))


def test_each_leading_dimension_has_its_own_ratio():
    speech = torch.randn(2, 500, generator=seeded(1)) * torch.tensor([[1.0], [0.01]])
    mixed = mix_at_snr(speech, torch.randn(800, generator=seeded(2)), 3, start=7)
    assert [snr_of(s, m) for s, m in zip(speech, mixed)] == pytest.approx([3, 3], abs=1e-3)


def test_noise_shorter_than_speech_is_repeated():
    speech, noise = torch.ones(10), torch.tensor([1.0, 2.0, 3.0])
    added = mix_at_snr(speech, noise, 0, start=1) - speech
    torch.testing.assert_close(added / added[0] * 2, torch.tensor([2.0, 3, 1, 2, 3, 1, 2, 3, 1, 2]))


def test_start_is_drawn_from_all_that_fit_and_is_repeatable():
    speech, noise = torch.ones(3), torch.arange(1.0, 6.0)  # starts 0, 1, 2 fit
    draw = [mix_at_snr(speech, noise, 0, generator=seeded(seed)) for seed in range(40)]
    possible = [mix_at_snr(speech, noise, 0, start=start) for start in range(3)]
    seen = {next(i for i, p in enumerate(possible) if torch.equal(p, d)) for d in draw}
    assert seen == {0, 1, 2}
    assert torch.equal(draw[5], mix_at_snr(speech, noise, 0, generator=seeded(5)))


@pytest.mark.parametrize("noise", [torch.zeros(0), torch.zeros(2, 5)])
def test_noise_of_a_wrong_shape_is_refused(noise):
    with pytest.raises(ValueError, match="noise must be"):
        mix_at_snr(torch.ones(3), noise, 0)


def test_start_and_ratio_outside_reason_are_refused():
    with pytest.raises(ValueError, match="start must lie"):
        mix_at_snr(torch.ones(3), torch.ones(3), 0, start=3)
    with pytest.raises(ValueError, match="not a number"):
        mix_at_snr(torch.ones(3), torch.ones(3), math.nan)


@pytest.mark.parametrize("make", [white_noise, pink_noise])
@pytest.mark.parametrize("samples", [0, 1, 2, 15999, 16000])
def test_noise_has_its_length_and_level(make, samples):
    x = make(samples, generator=seeded())
    assert x.shape == (samples,) and x.dtype == torch.float32 and torch.isfinite(x).all()
    if samples > 2:
        assert float(x.square().mean().sqrt()) == pytest.approx(NOISE_RMS, rel=1e-4)
        assert torch.equal(x, make(samples, generator=seeded()))


def octave_decibels(x: torch.Tensor, low_hz: int, rate: int = 16000) -> float:
    power = torch.fft.rfft(x).abs().square()
    hz = torch.fft.rfftfreq(len(x), 1 / rate)
    return float(10 * torch.log10(power[(hz >= low_hz) & (hz < 2 * low_hz)].sum()))


def test_white_doubles_per_octave_and_pink_is_level():
    white, pink = white_noise(160000, generator=seeded()), pink_noise(160000, generator=seeded())
    for low_hz in (125, 500, 2000):
        assert octave_decibels(white, 2 * low_hz) - octave_decibels(white, low_hz) == pytest.approx(3, abs=0.5)
        assert octave_decibels(pink, 2 * low_hz) - octave_decibels(pink, low_hz) == pytest.approx(0, abs=0.5)


def test_babble_holds_every_voice_at_the_same_level():
    rate, t = 16000, torch.arange(16000) / 16000
    voices = [a * torch.sin(2 * math.pi * hz * t) for a, hz in ((1.0, 300), (0.01, 900), (0.2, 2700))]
    mix = babble(voices, 3 * rate, generator=seeded())
    assert mix.shape == (3 * rate,) and float(mix.square().mean().sqrt()) == pytest.approx(NOISE_RMS, rel=1e-4)
    spectrum = torch.fft.rfft(mix).abs()
    peaks = torch.stack([spectrum[3 * hz] for hz in (300, 900, 2700)])
    assert float(peaks.max() / peaks.min()) < 1.05
    assert not torch.equal(mix, babble(voices, 3 * rate, generator=seeded(1)))


def test_babble_without_a_voice_is_refused():
    with pytest.raises(ValueError, match="not silent"):
        babble([torch.zeros(100)], 100)


def test_layer_norm_is_over_the_whole_clip():
    x = 5 + 3 * torch.randn(2000, 1, generator=seeded())
    y = layer_norm(x)
    assert float(y.mean()) == pytest.approx(0, abs=1e-6)
    assert float(y.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert torch.equal(layer_norm(torch.zeros(16, 1)), torch.zeros(16, 1))
    assert torch.isnan(layer_norm(torch.zeros(16), eps=0.0)).all()
