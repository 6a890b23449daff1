"""Norms, activations and what follows them keep less for the backward pass, and compute what the modules do."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from viseme.core.layers import ConformerEncoder, ResNetTrunk, VisualFrontend, lean
from viseme.core.layers.resnet import BasicBlock

SILU = nn.SiLU()


def case(name: str) -> tuple[nn.Module, Tensor, Callable[[nn.Module, Tensor], Tensor]]:
    """Modules, input, and how they are put together."""
    torch.manual_seed(3)
    if name == "shortcut":
        return nn.BatchNorm2d(3), torch.randn(4, 3, 5, 7), lambda m, x: lean.norm_act(m, SILU, x, x.flip(0))
    if name == "relu 1d":
        return nn.BatchNorm1d(3), torch.randn(4, 3, 5), lambda m, x: lean.norm_act(m, nn.ReLU(), x)
    if name == "conv":
        parts = nn.ModuleList([nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, 2, 1, groups=2)])
        return parts, torch.randn(3, 4, 7, 5), lambda m, x: lean.norm_act_conv(m[0], SILU, m[1], x)
    if name == "conv 1d":
        parts = nn.ModuleList([nn.BatchNorm1d(4), nn.Conv1d(4, 6, 3, padding=1, bias=False)])
        return parts, torch.randn(3, 4, 7), lambda m, x: lean.norm_act_conv(m[0], nn.ReLU(), m[1], x)
    parts = nn.ModuleList([nn.BatchNorm3d(3), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))])
    return parts, torch.randn(2, 3, 4, 9, 11), lambda m, x: lean.norm_act_pool(m[0], SILU, m[1], x)


def results(module: nn.Module, x: Tensor, call: Callable[[nn.Module, Tensor], Tensor]) -> list[Tensor]:
    """Output, gradients, and the running statistics after two steps."""
    module, x = copy.deepcopy(module).train(), x.clone().requires_grad_()
    call(module, x.detach())
    y = call(module, x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters()), *(b.double() for b in module.buffers())]  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["shortcut", "relu 1d", "conv", "conv 1d", "pool"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_same_values_gradients_and_statistics(
    name: str, momentum: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x, call = case(name)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = momentum
            nn.init.normal_(part.weight), nn.init.normal_(part.bias)
    found = results(module.double(), x.double(), call)
    monkeypatch.setattr(lean, "_lean", lambda *_: False)
    wanted = results(module, x.double(), call)
    assert len(found) == len(wanted) > 4
    for ours, plain in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-11)


def test_whole_front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module, x = VisualFrontend(widths=(4, 4, 8, 8)), torch.randn(2, 3, 1, 32, 32)
    found = results(module, x, lambda m, x: m(x))
    monkeypatch.setattr(lean, "_lean", lambda *_: False)
    wanted = results(module, x, lambda m, x: m(x))
    assert torch.equal(found[0], wanted[0])
    for ours, plain in zip(found, wanted, strict=True):
        assert (ours - plain).norm() <= 1e-4 * plain.norm() + 1e-6


@pytest.mark.parametrize("name", ["shortcut", "conv", "pool"])
def test_autocast(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, x, call = case(name)

    def narrow(module: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return call(module, x.bfloat16()).float()

    found = results(module, x, narrow)
    monkeypatch.setattr(lean, "_lean", lambda *_: False)
    for ours, plain in zip(found, results(module, x, narrow), strict=True):
        assert ours.dtype == plain.dtype
        assert (ours - plain).norm() <= 0.03 * plain.norm()


def test_shortcut_of_a_wider_type() -> None:
    norm, x, shortcut = nn.BatchNorm1d(3).train(), torch.randn(4, 3, 5), torch.randn(4, 3, 5).double()
    x.requires_grad_(), shortcut.requires_grad_()
    y = lean.norm_act(norm, SILU, x, shortcut)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype, shortcut.grad.dtype) == (torch.float64, torch.float32, torch.float64)  # type: ignore[union-attr]
    torch.testing.assert_close(y, SILU(norm(x) + shortcut))


def kept_bytes(module: nn.Module, *inputs: Tensor) -> int:
    """What a forward pass keeps for the backward pass, parameters and inputs aside."""
    known = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *inputs)}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        held = module(*inputs)  # noqa: F841 - what it holds must not be freed while it is counted
    return sum(kept.values())


def test_keeps_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = BasicBlock(2, 8, 8).train(), torch.randn(4, 8, 16, 16)
    trunk = VisualFrontend(widths=(4, 4, 8, 8)).train()
    clips = torch.randn(2, 4, 1, 32, 32)
    ours, ours_all = kept_bytes(block, x), kept_bytes(trunk, clips)
    assert ours < 2.1 * x.numel() * 4  # the outputs of its two convolutions; the block's own output is the next one's
    monkeypatch.setattr(lean, "_lean", lambda *_: False)
    assert kept_bytes(block, x) > 1.9 * ours
    assert kept_bytes(trunk, clips) > 1.9 * ours_all


def test_evaluation_frozen_norms_and_other_activations_take_the_plain_way() -> None:
    x = torch.randn(4, 3, 5, 7)
    norm = nn.BatchNorm2d(3)
    assert lean._lean(norm.train(), SILU, x)
    assert not lean._lean(norm.eval(), SILU, x)
    assert not lean._lean(norm.train(), nn.PReLU(3), x)
    assert not lean._lean(nn.SyncBatchNorm(3), SILU, x)
    with torch.no_grad():
        assert not lean._lean(norm, SILU, x)
    with pytest.raises(ValueError, match="more than 1 value"):
        lean.norm_act(nn.BatchNorm1d(3).train(), SILU, torch.randn(1, 3, 1))


def test_pools_and_encoders_use_it() -> None:
    trunk = ResNetTrunk(2, (4, 4, 8, 8)).train()
    functions = graph_names(trunk(torch.randn(2, 4, 8, 8)))
    assert {"_NormActBackward", "_NormActConvBackward"} <= functions
    assert "_NormActPoolBackward" in graph_names(
        VisualFrontend(widths=(4, 4, 8, 8)).train()(torch.randn(1, 3, 1, 32, 32))
    )
    assert "_NormActBackward" in graph_names(ConformerEncoder(8, 2, 16, 1, 3).train()(torch.randn(2, 5, 8)))


def graph_names(y: Tensor) -> set[str]:
    """Names of all functions behind a tensor."""
    names, todo = set(), [y.grad_fn]
    while todo:
        function = todo.pop()
        if function is not None and function not in names:
            names.add(function)
            todo += [before for before, _ in function.next_functions]
    return {function.name().removesuffix("Generated") for function in names}
