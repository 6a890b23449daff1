"""STFT, pre-emphasis and mel front-ends beyond the pinned values."""

from __future__ import annotations

import pytest
import torch

from viseme.core.signal import WAV2LIP_MEL, inverse_preemphasis, mel_basis, preemphasis, stft, stft_magnitude


@pytest.fixture
def signal() -> torch.Tensor:
    return torch.randn(2, 3, 4001, generator=torch.Generator().manual_seed(0)) * 0.1


def test_batches_are_signals_side_by_side(signal: torch.Tensor) -> None:
    together = WAV2LIP_MEL(signal)
    assert together.shape == (2, 3, 80, WAV2LIP_MEL.columns(4001))
    torch.testing.assert_close(together[1, 2], WAV2LIP_MEL(signal[1, 2]))


def test_pure_tone_lies_in_its_band() -> None:
    t = torch.arange(16000) / 16000
    basis, mel = mel_basis(16000, 800, 80, 55.0, 7600.0), WAV2LIP_MEL.mel_magnitude(torch.sin(2 * torch.pi * 1000 * t))
    assert int(mel[:, 40].argmax()) == int((basis[:, 50] / basis.amax(1)).argmax())  # bin 50 is 1000 Hz


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 1000])
def test_inverse_preemphasis_undoes_it(samples: int) -> None:
    x = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inverse_preemphasis(preemphasis(x)), x, atol=1e-5, rtol=1e-5)


def test_padding_is_chosen_and_not_left_to_a_library(signal: torch.Tensor) -> None:
    reflected, zeros = (stft_magnitude(signal, 800, 200, pad_mode=mode) for mode in ("reflect", "constant"))
    assert not torch.allclose(reflected[..., 0], zeros[..., 0], atol=1e-3)
    torch.testing.assert_close(reflected[..., 3:-3], zeros[..., 3:-3])
    assert stft(signal, 800, 200, center=False).shape[-1] == (4001 - 800) // 200 + 1


def test_too_short_to_reflect() -> None:
    with pytest.raises(ValueError, match="more than 400 samples"):
        WAV2LIP_MEL(torch.zeros(400))


def test_silence_is_the_floor_and_scaling_can_be_undone(signal: torch.Tensor) -> None:
    assert (WAV2LIP_MEL(torch.zeros(4000)) == -4).all()
    loud = WAV2LIP_MEL.mel_magnitude(signal)
    torch.testing.assert_close(
        WAV2LIP_MEL.compression.inverse(WAV2LIP_MEL.compression(loud)), loud, rtol=1e-3, atol=1e-4
    )
