"""Activation checkpointing changes neither values nor gradients nor running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from viseme.core.layers import ConformerEncoder, ResNetTrunk, TransformerDecoder


def steps(module: nn.Module, inputs: tuple[Tensor, ...], count: int = 2) -> tuple[Tensor, dict[str, Tensor], dict]:
    """Output of the last of some passes, the gradients of all, and the buffers after them."""
    for step in range(count):
        torch.manual_seed(step)
        out = module(*inputs)
        out.square().mean().backward()
    gradients = {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}
    return out.detach(), gradients, dict(module.named_buffers())


@pytest.mark.parametrize("kind", ["conformer", "resnet", "decoder"])
def test_recomputed_is_plain(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "conformer":
        plain: nn.Module = ConformerEncoder(16, 2, 32, 2, kernel=5, dropout=0.2, attention_dropout=0.1)
        inputs = (torch.randn(2, 9, 16), torch.arange(9)[None, None] < torch.tensor([9, 6])[:, None, None])
    elif kind == "resnet":
        plain, inputs = ResNetTrunk(2, (4, 4, 8, 8)), (torch.randn(3, 4, 12, 12),)
    else:
        plain = TransformerDecoder(11, 16, 2, 32, 2, 0.2)
        inputs = (torch.randint(11, (2, 5)), torch.randn(2, 7, 16))
    thrifty = copy.deepcopy(plain)
    thrifty.recompute = True  # type: ignore[assignment]
    for module in (plain, thrifty):
        module.train()
    wanted, found = steps(plain, inputs), steps(thrifty, inputs)
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=0)
    for index in (1, 2):
        assert found[index].keys() == wanted[index].keys()
        for name, value in wanted[index].items():
            torch.testing.assert_close(found[index][name], value, rtol=0, atol=0, msg=name)
