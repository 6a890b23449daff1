"""Front-ends: rates, shapes, activations, memory formats, and that frames do not see each other where they must not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from viseme.core.layers import AudioFrontend, BasicBlock, ResNetTrunk, VisualFrontend
from viseme.core.layers.resnet import activation

WIDTHS = (4, 8, 8, 16)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("frames, size", [(1, 88), (5, 88), (2, 112), (3, 32)])
def test_visual_shape(frames: int, size: int) -> None:
    assert VisualFrontend(widths=WIDTHS)(torch.randn(2, frames, 1, size, size)).shape == (2, frames, 16)


@pytest.mark.parametrize("samples, frames", [(640, 1), (641, 1), (1279, 1), (1280, 2), (16000, 25)])
def test_audio_shape(samples: int, frames: int) -> None:
    """Whole frames only: the tail of less than 40 ms is cut."""
    frontend = AudioFrontend(widths=WIDTHS).eval()
    x = torch.randn(2, samples, 1)
    assert frontend(x).shape == (2, frames, 16)
    torch.testing.assert_close(frontend(x), frontend(x[:, : frames * 640]))


@pytest.mark.parametrize("name, kind", [("swish", nn.SiLU), ("relu", nn.ReLU), ("prelu", nn.PReLU)])
@pytest.mark.parametrize("make", [VisualFrontend, AudioFrontend])
def test_activation_everywhere(make: type, name: str, kind: type) -> None:
    frontend = make(name, widths=WIDTHS)
    kinds = {type(module) for module in frontend.modules()}
    assert kinds & {nn.SiLU, nn.ReLU, nn.PReLU} == {kind}
    slopes = {key: value.shape for key, value in frontend.named_parameters() if "relu" in key}
    if name == "prelu":
        assert slopes["trunk.layer2.1.relu1.weight"] == slopes["trunk.layer2.1.relu2.weight"] == (WIDTHS[1],)
    else:
        assert not slopes


def test_stem_activation_of_its_own() -> None:
    frontend = VisualFrontend("prelu", "swish", widths=WIDTHS)
    assert isinstance(frontend.frontend3D[2], nn.SiLU)
    assert "frontend3D.2.weight" not in frontend.state_dict()
    assert "frontend3D.2.weight" in VisualFrontend("prelu", widths=WIDTHS).state_dict()


def test_unknown_activation() -> None:
    with pytest.raises(ValueError, match="gelu"):
        activation("gelu", 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="4 stages"):
        ResNetTrunk(2, (4, 8))


def test_published_sizes() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in VisualFrontend().parameters()) == 11_182_784
        assert sum(p.numel() for p in AudioFrontend().parameters()) == 3_848_576


def test_channels_last_weights_give_the_same() -> None:
    frontend = VisualFrontend(widths=WIDTHS).eval()
    x = torch.randn(2, 3, 1, 88, 88)
    want = frontend(x)
    frontend.trunk.to(memory_format=torch.channels_last)
    torch.testing.assert_close(frontend(x), want)


def test_block_is_its_formula() -> None:
    block = BasicBlock(2, 4, 8, stride=2).eval()
    x = torch.randn(3, 4, 10, 10)
    y = block.bn2(block.conv2(nn.functional.silu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), nn.functional.silu(y + block.downsample(x)))
    assert BasicBlock(1, 4, 4).downsample is None


@pytest.mark.parametrize("name", ["swish", "relu", "prelu"])
@pytest.mark.parametrize("frames", [1, 2, 4, 9])
def test_stem_picture_by_picture_is_the_same(name: str, frames: int) -> None:
    """How it is computed where nothing is learnt, against how it is learnt."""
    stem = VisualFrontend(name, widths=WIDTHS).frontend3D  # type: ignore[arg-type]
    stem(torch.randn(4, 1, 6, 40, 40))  # running statistics of its own
    stem.eval()
    x = torch.randn(2, 1, frames, 45, 52)
    want = nn.Sequential.forward(stem, x)
    with torch.no_grad():
        found = stem(x)
    assert want.grad_fn is not None and found.shape == want.shape
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make, x", [(VisualFrontend, (2, 6, 1, 48, 48)), (AudioFrontend, (2, 3840, 1))])
def test_batched_equals_single(make: type, x: tuple[int, ...]) -> None:
    frontend, clips = make(widths=WIDTHS).eval(), torch.randn(x)
    torch.testing.assert_close(frontend(clips)[1:], frontend(clips[1:]), atol=1e-5, rtol=1e-5)


def test_visual_frame_sees_two_on_each_side() -> None:
    frontend = VisualFrontend(widths=WIDTHS).eval()
    clip = torch.randn(1, 9, 1, 48, 48)
    other = clip.clone()
    other[:, 4] += 1
    moved = (frontend(clip) - frontend(other)).abs().amax(dim=(0, 2)) > 1e-7
    assert moved.tolist() == [False, False, True, True, True, True, True, False, False]


@pytest.mark.parametrize("make, x", [(VisualFrontend, (2, 3, 1, 48, 48)), (AudioFrontend, (2, 1920, 1))])
def test_gradient_reaches_everything(make: type, x: tuple[int, ...]) -> None:
    frontend = make("prelu", widths=WIDTHS)
    frontend(torch.randn(x)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in frontend.parameters())
