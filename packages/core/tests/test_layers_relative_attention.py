"""Relative attention: shifts, the fused path against formulas written out, masks, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from viseme.core.layers import LegacyRelativeAttention, RelativeAttention, RelativePositions, ReversedPositions
from viseme.core.layers.masks import causal_mask, padding_mask
from viseme.core.layers.relative_attention import legacy_relative_shift, relative_shift

VARIANTS = {
    "relative": (RelativeAttention, RelativePositions),
    "legacy": (LegacyRelativeAttention, ReversedPositions),
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def naive(module: RelativeAttention, x_BTD: Tensor, table_1RD: Tensor, mask: Tensor | None) -> Tensor:
    """The definition, entry by entry: specification rather than code under test."""
    legacy = isinstance(module, LegacyRelativeAttention)
    batch, frames, _ = x_BTD.shape
    q, k, v = (
        layer(x_BTD).view(batch, frames, module.heads, -1)
        for layer in (module.linear_q, module.linear_k, module.linear_v)
    )
    p = module.linear_pos(table_1RD).view(-1, module.heads, module.head_dim)
    out = torch.zeros(batch, frames, module.heads, module.head_dim, dtype=x_BTD.dtype)
    for b in range(batch):
        for h in range(module.heads):
            m = (q[b, :, h] + module.pos_bias_v[h]) @ p[:, h].T
            for i in range(frames):
                allowed = [j for j in range(frames) if mask is None or mask.expand(batch, frames, frames)[b, i, j]]
                if not allowed:
                    continue
                scores = []
                for j in allowed:
                    if not legacy:
                        position = m[i, frames - 1 - (i - j)]
                    elif j <= i:
                        position = m[i, frames - 1 + j - i]
                    else:
                        position = m[i + 1, j - i - 2] if j > i + 1 else torch.zeros(())
                    scores.append((q[b, i, h] + module.pos_bias_u[h]) @ k[b, j, h] + position)
                weights = (torch.stack(scores) / math.sqrt(module.head_dim)).softmax(0)
                out[b, i, h] = weights @ v[b, allowed, h]
    return module.linear_out(out.flatten(2))


def masks(frames: int) -> dict[str, Tensor | None]:
    nothing = padding_mask(torch.tensor([frames, frames]))
    nothing[1] = False
    return {
        "none": None,
        "padding": padding_mask(torch.tensor([frames, max(1, frames - 2)])),
        "fully masked clip": nothing,
        "causal": causal_mask(frames).expand(2, -1, -1),
        "rows masked": torch.rand(2, frames, frames) < 0.3,
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("which", list(masks(1)))
def test_fused_equals_definition(variant: str, frames: int, which: str) -> None:
    attention_class, positions_class = VARIANTS[variant]
    module, positions = attention_class(24, 3).double(), positions_class(24, dropout=0.0)
    mask = masks(frames)[which]
    inputs = []
    for _ in range(2):
        torch.manual_seed(1)
        inputs.append(torch.randn(2, frames, 24, dtype=torch.float64).requires_grad_())
    table = positions.table(frames).double()
    got, want = module(inputs[0], table, mask), naive(module, inputs[1], table, mask)
    torch.testing.assert_close(got, want)
    weight = torch.randn_like(got)
    gradients = []
    for answer, x in ((got, inputs[0]), (want, inputs[1])):
        leaves = [x, module.pos_bias_u, module.pos_bias_v, module.linear_out.bias]
        gradients.append(torch.autograd.grad((answer * weight).sum(), leaves, allow_unused=True))
    for mine, reference in zip(*gradients):
        torch.testing.assert_close(mine, torch.zeros_like(mine) if reference is None else reference)
        assert mine.isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_fused_equals_written_out_weights(variant: str) -> None:
    attention_class, positions_class = VARIANTS[variant]
    module, table = attention_class(32, 4).eval(), positions_class(32).table(9)
    x, mask = torch.randn(3, 9, 32), padding_mask(torch.tensor([9, 4, 1]))
    weights = module.weights(x, table, mask)
    values = module.linear_v(x).view(3, 9, 4, 8).transpose(1, 2)
    torch.testing.assert_close(module(x, table, mask), module.linear_out((weights @ values).transpose(1, 2).flatten(2)))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 9))


def test_fully_masked_clip_gives_the_bias() -> None:
    module = RelativeAttention(16, 2).eval()
    mask = padding_mask(torch.tensor([5, 0]), 5)
    out = module(torch.randn(2, 5, 16), RelativePositions(16).table(5), mask)
    torch.testing.assert_close(out[1], module.linear_out.bias.expand(5, 16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_stays_finite(dtype: torch.dtype) -> None:
    module = RelativeAttention(16, 2).to(dtype)
    x = torch.randn(2, 6, 16, dtype=dtype, requires_grad=True)
    out = module(x, RelativePositions(16).table(6).to(dtype), padding_mask(torch.tensor([6, 0]), 6))
    out.float().pow(2).sum().backward()
    assert out.isfinite().all() and x.grad is not None and x.grad.isfinite().all()


def test_padded_keys_do_not_matter() -> None:
    module, table = RelativeAttention(16, 2).eval(), RelativePositions(16).table(8)
    x = torch.randn(1, 8, 16)
    other = x.clone()
    other[:, 5:] = torch.randn(1, 3, 16)
    mask = padding_mask(torch.tensor([5]), 8)
    torch.testing.assert_close(module(x, table, mask)[:, :5], module(other, table, mask)[:, :5])


def test_batched_equals_single() -> None:
    """Attention alone does not mix clips: what offset i - j means does not depend on the padded length."""
    module, positions = RelativeAttention(16, 2).eval(), RelativePositions(16)
    x = torch.randn(2, 9, 16)
    batched = module(x, positions.table(9), padding_mask(torch.tensor([9, 6])))
    torch.testing.assert_close(batched[1:, :6], module(x[1:, :6], positions.table(6)), atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    module, table, x = RelativeAttention(16, 2, dropout=0.5), RelativePositions(16).table(6), torch.randn(1, 6, 16)
    assert not torch.equal(module(x, table), module(x, table))
    module.eval()
    assert torch.equal(module(x, table), module(x, table))


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_shifts_pick_the_defined_entries(frames: int) -> None:
    x = torch.randn(2, 3, frames, 2 * frames - 1)
    shifted = relative_shift(x)
    for i in range(frames):
        for j in range(frames):
            assert torch.equal(shifted[:, :, i, j], x[:, :, i, frames - 1 - i + j])
    m = torch.randn(2, 3, frames, frames)
    legacy = legacy_relative_shift(m)
    assert legacy.shape == m.shape
    for i in range(frames):
        for j in range(frames):
            want = torch.zeros(2, 3)
            if j <= i:
                want = m[:, :, i, frames - 1 + j - i]
            elif j > i + 1:
                want = m[:, :, i + 1, j - i - 2]
            assert torch.equal(legacy[:, :, i, j], want)


def test_heads_must_divide() -> None:
    with pytest.raises(ValueError, match="3 heads"):
        RelativeAttention(16, 3)
