"""Networks: shapes, independence of padding and of neighbours, configurations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from viseme.core.errors import ConfigError
from viseme.lip2speech.models import (
    VCAGAN,
    Conformer,
    ContentConfig,
    MultitaskConfig,
    MultitaskModel,
    VCAConfig,
    build_model,
    for_inference,
    model_config,
)


@pytest.mark.parametrize("published", [False, True])
def test_conformer_padding(published: bool) -> None:
    """By default what a clip gives does not depend on its batch; as published it does."""
    torch.manual_seed(0)
    encoder = Conformer(16, 2, 2, 7, published_padding=published).eval()
    x = torch.randn(2, 12, 16)
    with torch.no_grad():
        alone = encoder(x[1:, :7], torch.tensor([7]))
        padded = encoder(x, torch.tensor([12, 7]))[1:, :7]
    assert torch.allclose(alone, padded, atol=1e-5) is not published


def test_distances_are_relative() -> None:
    """By default the same frames at another place of a longer clip attend to one another in the same way."""
    torch.manual_seed(0)
    attention = Conformer(16, 2, 1, 3).eval().layers[0].MHA.module.attention
    x = torch.randn(1, 5, 16)
    longer = torch.cat([torch.zeros(1, 4, 16), x], dim=1)
    outside = torch.arange(9)[None] < 4
    with torch.no_grad():
        assert torch.allclose(attention(x), attention(longer, outside)[:, 4:], atol=1e-5)


def test_multitask_batched_equals_single() -> None:
    torch.manual_seed(0)
    model = MultitaskModel(MultitaskConfig.preset("tiny")).eval()
    video, prompt = torch.randn(2, 1, 9, 48, 48), torch.randn(2, 1, 80, 50)
    video[1, :, 6:] = 0
    features = model.visual_front(video, torch.tensor([9, 6]))
    # The stem looks two frames ahead, at padding that a clip alone does not have either: both see zeros.
    alone = model.visual_front(video[1:, :, :6], torch.tensor([6]))
    assert torch.allclose(features[1:, :6], alone, atol=1e-4)
    assert model.speak(video, prompt).shape == (2, 1, 80, 36)


def test_gan_shapes_and_noise() -> None:
    torch.manual_seed(0)
    model = VCAGAN(VCAConfig.preset("tiny")).eval()
    video = torch.randn(2, 1, 7, 48, 48)
    noise = model.generator.draw_noise(2, 7, torch.Generator().manual_seed(1))
    first = model.speak(video, noise=noise, flipped_noise=noise)
    assert first.mel.shape == (2, 1, 80, 28) and first.spectrogram.shape == (2, 1, 321, 28)
    assert torch.equal(first.mel, model.speak(video, noise=noise, flipped_noise=noise).mel)
    assert not torch.equal(first.mel, model.speak(video).mel)
    assert model.speak(video, flip=False).flipped is None


WIDE = {"generator": (128, 128, 128, 8, 4), "noise": 128, "widths": (4, 8, 256, 256)}


@pytest.mark.parametrize("slope", [0.25, -0.25])
@pytest.mark.parametrize("changes", [{}, WIDE], ids=["narrow", "wide"])
def test_ready_for_inference_speaks_the_same(changes: dict, slope: float) -> None:
    """Norms in the convolutions, wide convolutions Winograd's; a PReLU that falls is not pooled before."""
    torch.manual_seed(0)
    model = randomised(VCAGAN(VCAConfig.preset("tiny", **changes)))
    with torch.no_grad():
        model.visual_front.frontend[2].weight.fill_(slope)
    video, noise = torch.randn(2, 1, 21, 20, 20), torch.randn(2, 2, model.config.noise, 20, 21)
    given = {"lengths_B": torch.tensor([21, 20]), "noise": noise[0], "flipped_noise": noise[1]}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    ready = for_inference(model)
    for found, wanted in zip(ready.speak(video, **given), model.speak(video, **given)):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_multitask_ready_for_inference_speaks_the_same() -> None:
    torch.manual_seed(0)
    model = randomised(MultitaskModel(MultitaskConfig.preset("tiny", vocabulary=5, widths=(4, 8, 256, 256))))
    given = torch.randn(2, 1, 9, 20, 20), torch.rand(2, 1, 80, 50), torch.tensor([9, 6])
    torch.testing.assert_close(for_inference(model).speak(*given), model.speak(*given), rtol=1e-4, atol=1e-4)


def test_half_precision_speaks_nearly_the_same() -> None:
    torch.manual_seed(0)
    model = randomised(VCAGAN(VCAConfig.preset("tiny")))
    video, noise = torch.randn(1, 1, 21, 20, 20), torch.randn(2, 1, 4, 20, 21)
    ready = for_inference(model, bf16=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = ready.speak(video, noise=noise[0], flipped_noise=noise[1]).mel
    wanted = model.speak(video, noise=noise[0], flipped_noise=noise[1]).mel
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=0.03)
    assert model.generator.g1[0].conv1.weight.dtype == torch.float32


def randomised(model: nn.Module) -> Any:
    """In evaluation mode, its batch norms as if they had seen something."""
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.1)
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("config", [VCAConfig, MultitaskConfig, ContentConfig])
@pytest.mark.parametrize("preset", ["small", "tiny"])
def test_configurations_round_trip(config: type, preset: str) -> None:
    made = config.preset(preset)
    assert model_config(made.to_dict()) == made
    build_model(made)
    with pytest.raises(ConfigError, match="nonsense"):
        model_config({**made.to_dict(), "nonsense": 1})
    with pytest.raises(ConfigError, match="mel"):
        config.preset(preset, mel="htk")


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (VCAConfig, {"widths": (1, 2)}),
        (VCAConfig, {"generator": (4, 4, 3, 4, 4)}),
        (VCAConfig, {"spectrogram": "cubic"}),
        (VCAConfig, {"temperature": 0.0}),
        (MultitaskConfig, {"heads": 3}),
        (MultitaskConfig, {"kernel": 4}),
        (ContentConfig, {"heads": 3}),
    ],
)
def test_configurations_that_make_no_sense(config: type, changes: dict) -> None:
    with pytest.raises(ConfigError):
        config.preset("tiny", **changes)


def test_unknown_system() -> None:
    with pytest.raises(ConfigError, match="vca"):
        model_config({"system": "wavenet"})
