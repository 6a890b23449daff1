"""Transforms: the laws of their random draws, and bad input (the published values are pinned by the parity tests)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from viseme.core.data.transforms import (
    NoiseBank,
    audio_eval,
    audio_train,
    draw_time_masks,
    match_audio,
    time_mask,
    time_mask_count,
    video_crop,
    video_eval,
    video_train,
)
from viseme.core.errors import DataError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 5000), st.integers(1, 100))
def test_one_mask_per_stride_rounded_up(length: int, stride: int) -> None:
    assert time_mask_count(length, stride) == math.ceil(length / stride)


@given(st.integers(1, 200), st.integers(1, 30), st.integers(1, 60), st.integers(0, 99))
def test_masks_lie_in_the_clip(length: int, window: int, stride: int, seed: int) -> None:
    for start, stop in draw_time_masks(length, window, stride, generator(seed)):
        assert 0 <= start <= stop <= length
        assert stop - start < window


def test_law_of_the_masks() -> None:
    """Widths are uniform in [0, window) and starts in [0, length - t): compared with the law's own moments."""
    drawn = [mask for seed in range(3000) for mask in draw_time_masks(60, 10, 25, generator(seed))]
    assert len(drawn) == pytest.approx(3000 * 3 * 0.9, rel=0.02)  # t = 0 in a tenth of the draws: no mask
    starts = np.array([start for start, _ in drawn])
    widths = np.array([stop - start for start, stop in drawn if start < 50])  # none of these is cut
    assert starts.mean() == pytest.approx(np.mean([(60 - t - 1) / 2 for t in range(1, 10)]), rel=0.02)
    assert starts.max() == 58
    assert np.bincount(widths, minlength=10) / len(widths) == pytest.approx(np.full(10, 0.1), abs=0.015)


def test_time_mask_copies() -> None:
    x = torch.ones(10, 1)
    assert time_mask(x, [(2, 4), (8, 10)])[:, 0].tolist() == [1, 1, 0, 0, 1, 1, 1, 1, 0, 0]
    assert bool((x == 1).all())


def test_random_crops_reach_every_offset() -> None:
    frames = np.arange(10, dtype=np.uint8)[None, :, None] * 10 + np.arange(10, dtype=np.uint8)
    found = {
        round(float(video_train(frames, generator(seed), crop=8, mask_window=0, mean=0, std=1)[0, 0, 0, 0]) * 255)
        for seed in range(200)
    }
    assert found == {0, 1, 2, 10, 11, 12, 20, 21, 22}


def test_same_draws_same_result() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (30, 96, 96), dtype=np.uint8)
    first, second, other = (video_train(frames, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == (30, 1, 88, 88)


def test_grey_equals_equal_channels() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)
    colour = video_eval(np.repeat(grey[..., None], 3, axis=-1))
    torch.testing.assert_close(colour, video_eval(grey), atol=1e-3, rtol=0)  # the weights sum to 0.9999


def test_masked_frames_are_black_before_normalisation() -> None:
    frames = np.full((4, 8, 8), 200, np.uint8)
    x = video_crop(frames, 0, 0, crop=8, masks=[(1, 3)], mean=0.5, std=0.25)
    assert x[:, 0, 0, 0].tolist() == pytest.approx([(200 / 255 - 0.5) / 0.25, -2, -2, (200 / 255 - 0.5) / 0.25])
    assert frames.min() == 200


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 80, 96), np.uint8), np.zeros((2, 96, 96), np.float32), np.zeros((2, 96, 96, 4), np.uint8)]
)
def test_bad_frames(frames: np.ndarray) -> None:
    for make in (lambda: video_eval(frames), lambda: video_train(frames, generator())):
        with pytest.raises(DataError):
            make()


def test_match_audio_cuts_and_pads_at_the_end() -> None:
    x = torch.arange(1, 1001, dtype=torch.float32)
    assert match_audio(x, 1).tolist() == x[:640].tolist()
    padded = match_audio(x, 2)
    assert padded[:1000].tolist() == x.tolist() and padded[1000:].abs().max() == 0 and len(padded) == 1280


def test_audio_is_normalised_and_silence_stays_silent() -> None:
    x = audio_eval(torch.randn(8000, generator=generator()) * 3 + 1)
    assert x.shape == (8000, 1)
    assert float(x.mean()) == pytest.approx(0, abs=1e-5) and float(x.std()) == pytest.approx(1, abs=1e-3)
    assert bool((audio_eval(torch.zeros(100)) == 0).all())
    with pytest.raises(DataError):
        audio_eval(torch.zeros(100, 2))


def test_noise_hits_the_snr_even_where_it_is_shorter() -> None:
    speech = torch.randn(8000, generator=generator(1))
    bank = NoiseBank(torch.randn(3000, generator=generator(2)), np.ones(20, np.float32))
    for snr_db in (-5.0, 0.0, 20.0):
        mixed = bank.mix(speech[:, None], snr_db, generator(3))[:, 0]
        measured = 10 * math.log10(float(speech.square().sum() / (mixed - speech).square().sum()))
        assert measured == pytest.approx(snr_db, abs=0.01)
    assert torch.equal(bank.mix(speech[:, None], None, generator()), speech[:, None])
    assert torch.equal(audio_eval(speech, noise=bank, snr_db=None), audio_eval(speech))


def test_training_audio_draws_all_snrs() -> None:
    speech = torch.randn(4000, generator=generator(1))
    bank = NoiseBank(torch.randn(9000, generator=generator(2)))
    clean = audio_eval(speech)
    options = {"noise": bank, "snrs_db": (0.0, None), "mask_window": 0}
    same = [torch.equal(audio_train(speech, generator(seed), **options), clean) for seed in range(200)]
    assert 0.35 < np.mean(same) < 0.65


def test_noise_errors() -> None:
    with pytest.raises(DataError):
        NoiseBank()
    with pytest.raises(DataError, match="silent"):
        NoiseBank(torch.zeros(100)).mix(torch.ones(10, 1), 0.0, generator())
    with pytest.raises(DataError, match="noise"):
        audio_eval(torch.ones(10), snr_db=0.0)
