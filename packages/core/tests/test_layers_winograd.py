"""Winograd's convolution against the direct sum."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from viseme.core.layers.winograd import WinogradConv2d, winograd_conv2d, winograd_pays


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(1, 3, 4, 4, 4), (2, 5, 7, 9, 6), (3, 2, 1, 1, 13), (1, 160, 130, 20, 18)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_direct_sum_in_values_and_gradients(
    kernel: int, size: tuple[int, ...], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    pictures, inputs, outputs, height, width = size
    x = torch.randn(pictures, inputs, height, width).to(memory_format=layout).requires_grad_()
    weight = (torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5).requires_grad_()
    bias = torch.randn(outputs, requires_grad=True)
    asked = torch.randn(pictures, outputs, height, width)
    wanted = F.conv2d(x.double(), weight.double(), bias.double(), padding=kernel // 2)
    found = winograd_conv2d(x, weight, bias)
    torch.testing.assert_close(found, wanted.float(), rtol=1e-4, atol=1e-4)
    assert found.stride() == torch.empty_like(found, memory_format=layout).stride()
    for mine, theirs in zip(
        torch.autograd.grad(found, (x, weight, bias), asked),
        torch.autograd.grad(wanted, (x, weight, bias), asked.double()),
    ):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * scale)


def test_a_layer_that_learns_no_more() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(130, 150, 5, padding=2), torch.randn(2, 130, 9, 11)
    with torch.inference_mode():
        torch.testing.assert_close(WinogradConv2d(layer)(x), layer(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "pays"),
    [
        (nn.Conv2d(128, 128, 5, padding=2), True),
        (nn.Conv2d(256, 256, 3, padding=1), True),
        (nn.Conv2d(128, 64, 5, padding=2), False),
        (nn.Conv2d(256, 256, 3), False),
        (nn.Conv2d(256, 256, 3, 2, padding=1), False),
        (nn.Conv2d(256, 256, 3, padding=1, groups=2), False),
        (nn.Linear(256, 256), False),
    ],
)
def test_says_where_it_pays(layer: nn.Module, pays: bool) -> None:
    assert winograd_pays(layer) is pays
