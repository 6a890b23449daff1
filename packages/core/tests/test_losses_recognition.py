"""CTC and smoothed cross-entropy on the shapes that break naive ones."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from viseme.core.errors import ConfigError
from viseme.core.losses import (
    decoder_targets,
    label_smoothed_ce,
    linear_ctc_loss,
    linear_label_smoothed_ce,
    token_accuracy,
)


def brute_force_ctc(logp_TV: torch.Tensor, labels: list[int], blank: int) -> float:
    """Sum over every path of frames that collapses to the labels."""
    frames, vocabulary = logp_TV.shape
    total = 0.0
    for path in itertools.product(range(vocabulary), repeat=frames):
        collapsed = [unit for unit, _ in itertools.groupby(path) if unit != blank]
        if collapsed == labels:
            total += math.exp(sum(float(logp_TV[t, unit]) for t, unit in enumerate(path)))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("labels", [[], [1], [1, 1], [1, 3, 1], [3, 3, 3]])
def test_ctc_equals_the_sum_over_paths(labels: list[int], blank: int) -> None:
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(1, 4, 3).double(), torch.randn(4, 3).double(), torch.randn(4).double()
    targets = torch.tensor([[*labels, -1]])
    loss = linear_ctc_loss(hidden, weight, bias, targets, torch.tensor([4]), torch.tensor([len(labels)]), blank)
    expected = brute_force_ctc((hidden @ weight.T + bias).log_softmax(-1)[0], labels, blank)
    assert float(loss) == pytest.approx(0.0 if math.isinf(expected) else expected, abs=1e-9)


def test_ctc_counts_an_impossible_clip_as_nothing_but_divides_by_it() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(5, 4).double(), torch.zeros(5).double()
    targets, lengths = torch.tensor([[1, 2, -1, -1], [1, 1, 1, 1]]), torch.tensor([2, 4])
    loss = linear_ctc_loss(hidden, weight, bias, targets, torch.tensor([3, 3]), lengths)
    first = linear_ctc_loss(hidden[:1], weight, bias, targets[:1], torch.tensor([3]), lengths[:1])
    assert torch.allclose(loss, first / 2)
    loss.backward()
    assert hidden.grad is not None and not hidden.grad[1].any() and hidden.grad[0].any()


def test_ctc_gradient() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    targets, lengths = torch.tensor([[1, 1, 2], [3, -1, -1]]), torch.tensor([3, 1])
    assert torch.autograd.gradcheck(
        lambda h, w, b: linear_ctc_loss(h, w, b, targets, torch.tensor([5, 4]), lengths), (hidden, weight, bias)
    )


def test_ctc_in_bfloat16_is_computed_in_float32() -> None:
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(1, 6, 8).bfloat16(), torch.randn(5, 8).bfloat16(), torch.zeros(5).bfloat16()
    loss = linear_ctc_loss(hidden, weight, bias, torch.tensor([[1, 2]]), torch.tensor([6]), torch.tensor([2]))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("normalize", ["batch", "length"])
def test_smoothed_ce_is_the_divergence(smoothing: float, normalize: str) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 4, 7).double(), torch.randint(0, 7, (3, 4))
    targets[1, 2:] = targets[2] = -1
    wanted = torch.full_like(logits, smoothing / 6)
    wanted.scatter_(-1, targets.clamp(min=0).unsqueeze(-1), 1 - smoothing)
    divergence = torch.special.xlogy(wanted, wanted).sum(-1) - (wanted * logits.log_softmax(-1)).sum(-1)
    expected = divergence[targets != -1].sum() / (3 if normalize == "batch" else 6)
    got = label_smoothed_ce(logits, targets, smoothing, normalize=normalize)  # type: ignore[arg-type]
    assert torch.allclose(got, expected)


def test_smoothed_ce_of_nothing_is_zero_with_a_finite_gradient() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = label_smoothed_ce(logits, torch.full((2, 3), -1), normalize="length")
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_linear_form_equals_plain_form() -> None:
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(2, 3, 4).double(), torch.randn(9, 4).double(), torch.randn(9).double()
    targets = torch.tensor([[1, 2, 8], [0, -1, -1]])
    plain = label_smoothed_ce(hidden @ weight.T + bias, targets)
    assert torch.allclose(linear_label_smoothed_ce(hidden, weight, bias, targets), plain)


@pytest.mark.parametrize(("smoothing", "normalize"), [(1.0, "batch"), (-0.1, "batch"), (0.1, "tokens")])
def test_smoothed_ce_refuses_nonsense(smoothing: float, normalize: str) -> None:
    with pytest.raises(ConfigError):
        label_smoothed_ce(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.long), smoothing, normalize=normalize)  # type: ignore[arg-type]


def test_decoder_targets() -> None:
    inputs, targets = decoder_targets(torch.tensor([[3, 4, -1], [-1, -1, -1], [5, -1, -1]]), sos=9, eos=8)
    assert inputs.tolist() == [[9, 3, 4], [9, 8, 8], [9, 5, 8]]
    assert targets.tolist() == [[3, 4, 8], [8, -1, -1], [5, 8, -1]]


def test_token_accuracy_ignores_padding() -> None:
    logits = torch.eye(4)[None]
    assert float(token_accuracy(logits, torch.tensor([[0, 1, 3, -1]]))) == pytest.approx(2 / 3)
    assert float(token_accuracy(logits, torch.full((1, 4), -1))) == 0
