"""CTC and smoothed cross-entropy over a linear layer against their definitions, in float64, on awkward shapes.

`test_kernels_interpreted.py` runs this file once more through the Triton kernels.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from viseme.core.layers import linear as products
from viseme.core.losses import (
    label_smoothed_ce,
    linear_ctc_loss,
    linear_label_smoothed_ce,
    linear_label_smoothed_ce_accuracy,
    token_accuracy,
)
from viseme.core.losses import linear as chunked
from viseme.core.losses.ctc import plain_linear_ctc_loss

LABELS = 30 if os.environ.get("TRITON_INTERPRET") == "1" else 300  # interpreted, every frame takes milliseconds
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}

# frames, vocabulary, labels of the four clips, frames of the four clips, scale of the logits
CTC_CASES = {
    "one frame": (1, 7, [[1], [], [2], [3, 4]], [1, 1, 1, 1], 1.0),
    "no labels at all": (5, 3, [[], [], [], []], [5, 4, 1, 0], 1.0),
    "repeated labels": (9, 13, [[1, 1, 1], [2, 2], [5, 4, 5, 4], [3, 3, 3, 3, 3]], [9, 3, 9, 9], 1.0),
    "no frames": (4, 5, [[1, 2], [1], [], [2, 2]], [0, 4, 0, 3], 1.0),
    "odd vocabulary": (12, 97, [[96, 1], [50], [3, 2, 1], [7, 7]], [12, 11, 10, 5], 3.0),
    "huge logits": (10, 11, [[1, 2, 3], [4, 4], [], [10]], [10, 9, 8, 10], 1e4),
    "none possible": (3, 5, [[1, 1, 1], [2, 2, 2], [1, 2, 3, 4], [1, 1, 2]], [3, 3, 3, 3], 1.0),
    "as many labels as frames": (6, 40, [[1, 2, 3, 4, 5, 6], [9, 8, 9, 8, 9, 8], [1], [39] * 3], [6, 6, 6, 6], 1.0),
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks even of these sizes, the last one not full; float32 by way of oneDNN, where large products go."""
    monkeypatch.setattr(chunked, "CHUNK_BYTES", {"cpu": 1200, "cuda": 1200})
    monkeypatch.setattr(products, "SMALLEST", 1)


def layer(batch: int, frames: int, vocabulary: int, scale: float, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(frames * vocabulary)
    shapes = ((batch, frames, 6), (vocabulary, 6), (vocabulary,))
    parts = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    parts[0] *= scale
    return [part.requires_grad_() for part in parts]


def gradients(loss: Tensor, inputs: list[Tensor], upstream: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad((loss * upstream.to(loss)).sum(), inputs))


def agree(got: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    for mine, theirs in zip(got, wanted, strict=True):
        assert torch.isfinite(mine).all()
        error = (mine.detach().double() - theirs.detach()).abs().max() / (1 + theirs.detach().abs().max())
        assert error < tolerance, f"{error:.2e}"


def ctc_case(name: str, blank: int) -> tuple[Tensor, Tensor, Tensor]:
    _, vocabulary, labels, frames, _ = CTC_CASES[name]
    targets = torch.full((4, max(1, *map(len, labels)) + 1), -1)
    for row, units in zip(targets, labels, strict=True):
        row[: len(units)] = torch.tensor([(unit + blank) % vocabulary for unit in units], dtype=torch.long)
    return targets, torch.tensor(frames), torch.tensor([len(units) for units in labels])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("reduction", "blank"), [("batch", 0), ("none", 2)])
@pytest.mark.parametrize("name", CTC_CASES)
def test_ctc(name: str, reduction: Any, blank: int, dtype: torch.dtype) -> None:
    frames, vocabulary, _, _, scale = CTC_CASES[name]
    targets, input_lengths, target_lengths = ctc_case(name, blank)
    mine = layer(4, frames, vocabulary, scale, dtype)
    exact = [part.detach().double().requires_grad_() for part in mine]
    upstream = torch.tensor([1.0, 0.3, 0.0, -2.0] if reduction == "none" else 1.7, dtype=torch.float64)
    rest = (targets, input_lengths, target_lengths, blank, reduction)
    got, wanted = linear_ctc_loss(*mine, *rest), plain_linear_ctc_loss(*exact, *rest)
    assert got.dtype == dtype and got.shape == wanted.shape
    # Of logits of 1e5, float32 has no more than two decimals.
    tolerance = TOLERANCE[dtype] * (1 if scale < 100 or dtype == torch.float64 else 500)
    agree([got, *gradients(got, mine, upstream)], [wanted, *gradients(wanted, exact, upstream)], tolerance)


def test_ctc_of_many_labels() -> None:
    targets = torch.arange(LABELS).remainder(7)[None] + 1
    mine = layer(1, LABELS + 20, 9, 1.0, torch.float64)
    rest = (targets, torch.tensor([LABELS + 20]), torch.tensor([LABELS]))
    got, wanted = linear_ctc_loss(*mine, *rest), plain_linear_ctc_loss(*mine, *rest)
    one = torch.ones((), dtype=torch.float64)
    agree([got, *gradients(got, mine, one)], [wanted, *gradients(wanted, mine, one)], 1e-9)


def test_ctc_without_bias_and_with_frozen_parts() -> None:
    hidden, weight, _ = layer(2, 5, 7, 1.0, torch.float64)
    rest = (torch.tensor([[1, 2], [3, 3]]), torch.tensor([5, 5]), torch.tensor([2, 2]))
    got = linear_ctc_loss(hidden, weight.detach(), None, *rest)
    wanted = plain_linear_ctc_loss(hidden, weight.detach(), None, *rest)
    one = torch.ones((), dtype=torch.float64)
    agree([got, *gradients(got, [hidden], one)], [wanted, *gradients(wanted, [hidden], one)], 1e-10)
    assert not linear_ctc_loss(hidden.detach(), weight.detach(), None, *rest).requires_grad


def test_ctc_passes_on_what_is_not_a_number() -> None:
    hidden, weight, bias = layer(2, 5, 7, 1.0, torch.float64)
    rest = (torch.tensor([[1, 2], [3, 3]]), torch.tensor([5, 5]), torch.tensor([2, 2]))
    broken = hidden.detach().clone()
    broken[0, 2] = torch.nan
    loss = linear_ctc_loss(broken, weight, bias, *rest, reduction="none")
    assert loss[0].isnan() and loss[1].isfinite()


def test_ctc_never_reads_padding() -> None:
    hidden, weight, bias = layer(2, 6, 7, 1.0, torch.float64)
    rest = (torch.tensor([[1, 2], [3, 3]]), torch.tensor([6, 4]), torch.tensor([2, 2]))
    padded = hidden.detach().clone()
    padded[1, 4:] = torch.nan
    padded.requires_grad_()
    loss = linear_ctc_loss(padded, weight, bias, *rest)
    assert torch.equal(loss, linear_ctc_loss(hidden, weight, bias, *rest))
    (gradient,) = torch.autograd.grad(loss, padded)
    assert gradient.isfinite().all() and not gradient[1, 4:].any()


# real tokens of the three clips of four, vocabulary, scale of the logits
CE_CASES = {
    "one token": ([1, 0, 0], 5, 1.0),
    "two classes": ([4, 2, 0], 2, 1.0),
    "prime vocabulary": ([4, 1, 3], 211, 2.0),
    "nothing real": ([0, 0, 0], 7, 1.0),
    "huge logits": ([4, 4, 4], 13, 1e4),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("normalize", "smoothing"), [("batch", 0.1), ("length", 0.0), ("length", 0.4)])
@pytest.mark.parametrize("name", CE_CASES)
def test_smoothed_ce(name: str, normalize: Any, smoothing: float, dtype: torch.dtype) -> None:
    real, vocabulary, scale = CE_CASES[name]
    targets = torch.randint(0, vocabulary, (3, 4), generator=torch.Generator().manual_seed(0))
    for row, count in zip(targets, real, strict=True):
        row[count:] = -1
    mine = layer(3, 4, vocabulary, scale, dtype)
    exact = [part.detach().double().requires_grad_() for part in mine]
    logits = exact[0] @ exact[1].T + exact[2]
    got, accuracy = linear_label_smoothed_ce_accuracy(*mine, targets, smoothing, -1, normalize)
    wanted = label_smoothed_ce(logits, targets, smoothing, -1, normalize)
    upstream = torch.tensor(0.7, dtype=torch.float64)
    agree([got, *gradients(got, mine, upstream)], [wanted, *gradients(wanted, exact, upstream)], TOLERANCE[dtype])
    assert got.dtype == dtype and accuracy == token_accuracy(logits, targets)
    assert torch.equal(got, linear_label_smoothed_ce(*mine, targets, smoothing, -1, normalize))


def test_first_of_equal_logits_is_the_answer() -> None:
    nothing = torch.zeros(1, 3, 2), torch.zeros(5, 2), torch.zeros(5)
    targets = torch.tensor([[0, 1, 4]])
    assert float(linear_label_smoothed_ce_accuracy(*nothing, targets).accuracy) == pytest.approx(1 / 3)


def both(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    targets = torch.tensor([[1, 2, 2, -1], [4, -1, -1, -1]])
    ctc = linear_ctc_loss(hidden, weight, bias, targets, torch.tensor([8, 6]), torch.tensor([3, 1]))
    return ctc + linear_label_smoothed_ce(hidden[:, :4], weight, bias, targets)


def test_gradcheck() -> None:
    def tiny(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        targets = torch.tensor([[1, 1]])
        ctc = linear_ctc_loss(hidden, weight, bias, targets, torch.tensor([3]), torch.tensor([2]))
        return ctc + linear_label_smoothed_ce(hidden[:, :2], weight, bias, targets)

    assert torch.autograd.gradcheck(
        tiny,
        [
            part[..., :2].detach().requires_grad_() if part.ndim > 1 else part
            for part in layer(1, 3, 3, 1.0, torch.float64)
        ],
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_scored_in_float32(dtype: torch.dtype) -> None:
    parts = layer(2, 8, 5, 1.0, dtype)
    exact = [part.detach().double().requires_grad_() for part in parts]
    got, wanted = both(*parts), both(*exact)
    assert got.dtype == torch.float32 and abs(float(got.detach()) - float(wanted.detach())) < 1e-4
    made = torch.autograd.grad(got, parts)
    assert [g.dtype for g in made] == [dtype] * 3
    agree(list(made), list(torch.autograd.grad(wanted, exact)), 5e-3)


def test_autocast() -> None:
    parts = layer(2, 8, 5, 1.0, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        cast = both(parts[0].bfloat16(), *parts[1:])
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, both(*parts), rtol=0.02, atol=0.02)


def test_the_same_bits_every_time() -> None:
    parts = layer(2, 8, 5, 1.0, torch.float32)
    first, second = (torch.autograd.grad(both(*parts), parts) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_backward_twice() -> None:
    parts = layer(2, 8, 5, 1.0, torch.float64)
    loss = both(*parts)
    first, second = (torch.autograd.grad(loss, parts, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_backward_of_a_multiple_and_what_is_handed_on_stays() -> None:
    parts = layer(2, 8, 5, 1.0, torch.float64)
    plain = torch.autograd.grad(both(*parts), parts)
    loss = 3 * both(*parts)
    first = torch.autograd.grad(loss, parts, retain_graph=True)
    kept = [part.clone() for part in first]
    second = torch.autograd.grad(loss, parts)
    for base, one, copy, two in zip(plain, first, kept, second, strict=True):
        torch.testing.assert_close(one, 3 * base)
        assert torch.equal(one, copy), "what the first pass gave was changed by the second"
        torch.testing.assert_close(two, one)
