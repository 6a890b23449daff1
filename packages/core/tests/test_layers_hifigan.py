"""HiFi-GAN: weights merged and not, shapes, discriminators, and losses that can be learnt from."""

from __future__ import annotations

import dataclasses
from copy import deepcopy

import pytest
import torch

from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.hifigan import (
    HiFiGANConfig,
    HiFiGANGenerator,
    UnitVocoder,
    UnitVocoderConfig,
    merge_weight_norm,
    plain_weights,
)
from viseme.core.layers.hifigan_discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator, judge
from viseme.core.losses.vocoder import (
    VocoderMel,
    adversarial_loss,
    discriminator_loss,
    duration_targets,
    feature_matching_loss,
)

SMALL = HiFiGANConfig(8, (5, 4, 2), (11, 8, 4), 32, (3, 5), ((1, 3), (1, 2)))


def test_plain_weights_give_the_same_sound() -> None:
    torch.manual_seed(0)
    trained = HiFiGANGenerator(SMALL, normalised=True)
    plain = HiFiGANGenerator(SMALL)
    plain.load_state_dict(plain_weights(trained))
    x = torch.randn(2, 8, 9)
    wave = trained(x)
    assert wave.shape == (2, 1, 9 * SMALL.hop) and float(wave.abs().max()) <= 1
    torch.testing.assert_close(plain(x), wave)


def test_laid_out_for_inference() -> None:
    """The same sound and the same weights, which can still be trained."""
    torch.manual_seed(0)
    plain, x = HiFiGANGenerator(SMALL), torch.randn(2, 8, 9)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(20)
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    with torch.inference_mode():
        wave = plain(x)
        plain.lay_out()
        laid = plain(x)
    assert float(wave.std()) > 0.01
    torch.testing.assert_close(laid, wave, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())
    trained = plain(x)
    trained.square().sum().backward()
    torch.testing.assert_close(trained.detach(), wave, rtol=1e-4, atol=1e-5)
    assert plain.conv_post.weight.grad is not None
    copy = deepcopy(plain)
    copy.load_state_dict({key: value * 1.1 for key, value in before.items()})
    fresh = HiFiGANGenerator(SMALL)
    fresh.load_state_dict(copy.state_dict())
    with torch.inference_mode():  # what was laid out before is not used for other weights
        torch.testing.assert_close(copy(x), fresh(x), rtol=1e-4, atol=1e-5)
        for frames in (1, 400):
            x = torch.randn(1, 8, frames)
            torch.testing.assert_close(copy(x), fresh(x), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(copy.double()(x.double()), fresh.double()(x.double()))
            copy.float(), fresh.float()
    with pytest.raises(ConfigError, match="plain"):
        HiFiGANGenerator(SMALL, normalised=True).lay_out()


def test_merging_refuses_halves() -> None:
    with pytest.raises(CheckpointError, match="without its length"):
        merge_weight_norm({"a.weight_v": torch.ones(2, 2)})
    with pytest.raises(CheckpointError, match="without its direction"):
        merge_weight_norm({"a.weight_g": torch.ones(2, 1)})
    merged = merge_weight_norm({"a.weight_v": torch.full((1, 4), 2.0), "a.weight_g": torch.ones(1, 1)})
    torch.testing.assert_close(merged["a.weight"], torch.full((1, 4), 0.5))


def test_unit_vocoder() -> None:
    torch.manual_seed(0)
    model = UnitVocoder(UnitVocoderConfig(9, 8, SMALL)).eval()
    units = torch.tensor([3, 3, -1, 5])
    assert len(model.speak(units, durations=False)) == 3 * SMALL.hop
    frames = int(model.durations(units[units >= 0][None]).sum())
    assert len(model.speak(units)) == frames * SMALL.hop >= 3 * SMALL.hop
    assert len(model.speak(torch.tensor([-1]))) == 0
    with pytest.raises(ConfigError, match="no speaker"):
        model(units[:2][None], torch.tensor([0]))
    config = model.config
    assert UnitVocoderConfig.from_dict(dataclasses.asdict(config)) == config


def test_speakers_sound_different() -> None:
    torch.manual_seed(0)
    config = UnitVocoderConfig(9, 4, SMALL, speakers=3, duration=False)
    model = UnitVocoder(config).eval()
    units = torch.tensor([[1, 2]])
    with pytest.raises(ConfigError, match="needs a speaker"):
        model(units)
    with pytest.raises(ConfigError, match="predicts no durations"):
        model.durations(units)
    first, second = (model.speak(units[0], durations=False, speaker=k) for k in (0, 2))
    assert not torch.equal(first, second)


def test_wrong_geometries() -> None:
    with pytest.raises(ConfigError, match="kernel size"):
        HiFiGANConfig(8, (2,), (4, 4))
    with pytest.raises(ConfigError, match="even number"):
        HiFiGANConfig(8, (2,), (5,))
    with pytest.raises(ConfigError, match="embedding"):
        UnitVocoderConfig(9, 16, SMALL)


def test_discriminators_learn_to_tell_and_the_generator_to_fool() -> None:
    torch.manual_seed(0)
    parts = [MultiPeriodDiscriminator((2, 3), width=2), MultiScaleDiscriminator(2, width=16)]
    real, fake = torch.sin(torch.arange(4000) / 7).expand(2, 1, -1) * 0.5, torch.randn(2, 1, 4000) * 0.3
    optimizer = torch.optim.Adam([p for part in parts for p in part.parameters()], 2e-3)
    losses = []
    for _ in range(12):
        loss = discriminator_loss(judge(parts, real)[0], judge(parts, fake)[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]
    scores, features = judge(parts, fake)
    assert len(scores) == 4 and all(score.ndim == 2 for score in scores)
    assert float(adversarial_loss(scores)) > float(adversarial_loss(judge(parts, real)[0]))
    assert float(feature_matching_loss(features, features)) == 0
    assert float(feature_matching_loss(judge(parts, real)[1], features)) > 0


def test_durations_of_runs() -> None:
    units = torch.tensor([[1, 1, 2, 2, 2, 3], [4, 4, 4, 4, 5, 5]])
    embedded = torch.arange(12.0).view(2, 6, 1)
    targets = duration_targets(units, embedded)
    assert targets.durations.tolist() == [3, 4, 2]  # the first clip's outer runs do not count
    assert targets.mask.tolist() == [[True, False], [True, True]]
    assert targets.embedded[..., 0].tolist() == [[2, 0], [9, 11]]
    assert float(targets.loss(torch.log(torch.tensor([[4.0, 9.0], [5.0, 3.0]])))) == pytest.approx(0, abs=1e-12)


def test_mel_of_silence_and_shape() -> None:
    mel = VocoderMel()(torch.zeros(3, 1, 5120))
    assert mel.shape == (3, 1, 80, 20)
    assert float(mel.max()) < -8
