"""Linear layers by way of oneDNN: values and gradients of the plain ones, on awkward shapes and types."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from viseme.core.layers import linear as module
from viseme.core.layers.linear import Linear, linear


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALLEST", 1)
    if not module._AVAILABLE:
        pytest.skip("this PyTorch has no oneDNN: the plain layer is used, which other tests cover")


@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (2, 3, 7), (2, 1, 3, 7), (7,), (0, 7)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_and_gradients(
    shape: tuple[int, ...], bias: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)  # which decides about the backward pass
    torch.manual_seed(0)
    x, weight = torch.randn(*shape), torch.randn(4, 7)
    inputs = [x, weight, *([torch.randn(4)] if bias else [])]
    results = []
    for function in (F.linear, linear):
        leaves = [value.clone().requires_grad_() for value in inputs]
        out = function(*leaves)
        (out * torch.arange(4.0)).sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for wanted, found in zip(*results):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_views_and_frozen_parts() -> None:
    x = torch.randn(7, 5).t()[::2]
    weight = torch.randn(7, 4).t().requires_grad_()
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight), rtol=1e-5, atol=1e-5)
    linear(x, weight).sum().backward()
    frozen = torch.randn(4, 7)
    leaf = x.clone().requires_grad_()
    linear(leaf, frozen).sum().backward()
    torch.testing.assert_close(leaf.grad, frozen.sum(0).expand(3, 7), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_torch(dtype: torch.dtype) -> None:
    x, weight = torch.randn(3, 7, dtype=dtype), torch.randn(4, 7, dtype=dtype)
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x.float(), weight.float()).dtype == torch.bfloat16


def test_layer_is_the_plain_layer() -> None:
    layer, plain = Linear(7, 4), torch.nn.Linear(7, 4)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 7)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
    program = torch.export.export(layer, (x,))
    assert not any("mkldnn" in str(node.target) for node in program.graph.nodes)
