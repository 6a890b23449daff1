"""Positions, masks, and the conformer encoder."""

from __future__ import annotations

import math

import pytest
import torch

from viseme.core.layers import (
    AbsolutePositions,
    ConformerBlock,
    ConformerEncoder,
    ConvolutionModule,
    CTCHead,
    RelativePositions,
    ReversedPositions,
    causal_mask,
    padding_mask,
)

KINDS = ["relative", "legacy_relative", "absolute"]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def encoder(attention: str = "relative", **changes: object) -> ConformerEncoder:
    return ConformerEncoder(
        **{"dim": 32, "heads": 4, "units": 48, "blocks": 2, "kernel": 7, "attention": attention, **changes}
    )


def test_masks() -> None:
    mask = padding_mask(torch.tensor([3, 1, 0]), 4)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[[True, True, True, False]], [[True, False, False, False]], [[False] * 4]]
    assert padding_mask(torch.tensor([3, 1])).shape == (2, 1, 3)
    assert causal_mask(3).tolist() == [[[True, False, False], [True, True, False], [True, True, True]]]


def test_tables_hold_what_they_say() -> None:
    def row(position: int, dim: int = 8) -> torch.Tensor:
        rates = [10000 ** (-2 * i / dim) for i in range(dim // 2)]
        return torch.tensor([f(position * rate) for rate in rates for f in (math.sin, math.cos)])

    relative = RelativePositions(8).table(4)[0]
    assert relative.shape == (7, 8)
    for index, offset in enumerate(range(3, -4, -1)):
        torch.testing.assert_close(relative[index], row(offset), atol=1e-6, rtol=1e-5)
    backwards = ReversedPositions(8).table(3)[0]
    for index in range(3):
        torch.testing.assert_close(backwards[index], row(4999 - index), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(ReversedPositions(8).table(5003)[0, -1], row(0))
    absolute = AbsolutePositions(8, dropout=0.0)
    x = torch.randn(1, 3, 8)
    torch.testing.assert_close(absolute(x)[0, 2], x[0, 2] * math.sqrt(8) + row(2))
    torch.testing.assert_close(absolute(x[:, 2:], start=2), absolute(x)[:, 2:])


def test_longer_than_any_table() -> None:
    assert AbsolutePositions(4).table(6001).shape == (1, 6001, 4)
    with pytest.raises(ValueError, match="even"):
        RelativePositions(7)


def test_dropout_on_input_and_table() -> None:
    positions, x = RelativePositions(16, dropout=0.5), torch.ones(1, 20, 16)
    scaled, table = positions(x)
    assert (scaled == 0).any() and (table == 0).sum() > (positions.table(20) == 0).sum()
    scaled, table = positions.eval()(x)
    assert torch.equal(scaled, x * 4) and torch.equal(table, positions.table(20))


@pytest.mark.parametrize("attention", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 40])
def test_encoder_shape_and_gradient(attention: str, frames: int) -> None:
    model = encoder(attention)
    x = torch.randn(2, frames, 32, requires_grad=True)
    out = model(x, padding_mask(torch.tensor([frames, max(1, frames - 1)]), frames))
    assert out.shape == x.shape
    (out * torch.randn_like(out)).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("attention", KINDS)
def test_batched_equals_single(attention: str) -> None:
    """Clips of one length do not see each other, and a mask that allows all is as none."""
    model, x = encoder(attention).eval(), torch.randn(3, 11, 32)
    together = model(x)
    torch.testing.assert_close(together[1:2], model(x[1:2]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, model(x, padding_mask(torch.tensor([11, 11, 11]))), atol=1e-5, rtol=1e-5)


def test_clip_without_frames_stays_finite() -> None:
    out = encoder()(torch.randn(2, 5, 32), padding_mask(torch.tensor([5, 0]), 5))
    assert out.isfinite().all()


def test_feed_forwards_start_equal_and_apart() -> None:
    block = ConformerBlock(16, 2, 24, 3)
    first, second = block.feed_forward.state_dict(), block.feed_forward_macaron.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert block.feed_forward.w_1.weight is not block.feed_forward_macaron.w_1.weight


def test_attention_dropout_is_its_own() -> None:
    model = encoder(dropout=0.0, attention_dropout=0.5, blocks=1).train()
    model.encoders[0].conv_module.norm.eval()
    x = torch.randn(1, 6, 32)
    assert not torch.equal(model(x), model(x))
    quiet = encoder(dropout=0.0, attention_dropout=0.0, blocks=1).train()
    assert torch.equal(quiet(x), quiet(x))


def test_convolution_sees_half_a_kernel() -> None:
    module, x = ConvolutionModule(8, 5).eval(), torch.randn(1, 9, 8)
    other = x.clone()
    other[:, 4] += 1
    assert ((module(x) - module(other)).abs().amax(dim=(0, 2)) > 1e-7).tolist() == [False] * 2 + [True] * 5 + [
        False
    ] * 2
    with pytest.raises(ValueError, match="odd"):
        ConvolutionModule(8, 4)


def test_unknown_attention() -> None:
    with pytest.raises(ValueError, match="longformer"):
        ConformerBlock(16, 2, 24, 3, attention="longformer")  # type: ignore[arg-type]


def test_ctc_head_gives_log_probabilities() -> None:
    logp = CTCHead(16, 7).eval()(torch.randn(2, 3, 16))
    torch.testing.assert_close(logp.exp().sum(-1), torch.ones(2, 3))
