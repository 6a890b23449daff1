"""Loss and gradients of a linear layer to a vocabulary: ours, which never holds all logits, against torch's parts.

Peak memory minus set-up memory is what a row's method itself takes. The quality figure is the loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from tools.bench.registry import Work, case
from torch import Tensor

from viseme.core.losses import label_smoothed_ce, linear_ctc_loss, linear_label_smoothed_ce
from viseme.core.losses.ctc import plain_linear_ctc_loss

CLIPS, FRAMES, LABELS, VOCABULARY = 16, 200, 40, 5000


def work(width: int, loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Work:
    """Forward and backward of a loss of (hidden, weight, bias, targets)."""
    torch.manual_seed(0)
    hidden = torch.randn(CLIPS, FRAMES, width, requires_grad=True)
    weight = (torch.randn(VOCABULARY, width) / width**0.5).requires_grad_()
    bias = torch.zeros(VOCABULARY, requires_grad=True)
    targets = torch.randint(1, VOCABULARY, (CLIPS, FRAMES))
    few, units = torch.randn(CLIPS, 2 * LABELS, 64, requires_grad=True), torch.randn(512, 64, requires_grad=True)
    loss(few, units, torch.zeros(512), targets[:, : 2 * LABELS] % 512).backward()  # libraries' own memory is set-up

    def run() -> str:
        hidden.grad = weight.grad = bias.grad = None
        value = loss(hidden, weight, bias, targets)
        value.backward()
        return f"loss {value.item():.3f}"

    return run


def ctc(function: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    labels = torch.full((CLIPS,), LABELS)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        return function(hidden, weight, bias, targets[:, :LABELS], torch.full((CLIPS,), hidden.shape[1]), labels)

    return loss


def plain_ce(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return label_smoothed_ce(torch.nn.functional.linear(hidden, weight, bias), targets)


SIZE = f"{CLIPS} x {FRAMES} frames, {VOCABULARY} units, width"


@case("linear + CTC, width 256", f"{SIZE} 256", runs=7)
def ctc_256() -> Work:
    return work(256, ctc(linear_ctc_loss))


@case("linear + CTC, width 256", f"{SIZE} 256", "torch", runs=7)
def ctc_256_torch() -> Work:
    return work(256, ctc(plain_linear_ctc_loss))


@case("linear + CTC, width 768", f"{SIZE} 768", runs=7)
def ctc_768() -> Work:
    return work(768, ctc(linear_ctc_loss))


@case("linear + CTC, width 768", f"{SIZE} 768", "torch", runs=7)
def ctc_768_torch() -> Work:
    return work(768, ctc(plain_linear_ctc_loss))


@case("linear + smoothed CE", f"{SIZE} 256", runs=7)
def ce() -> Work:
    return work(256, linear_label_smoothed_ce)


@case("linear + smoothed CE", f"{SIZE} 256", "torch", runs=7)
def ce_torch() -> Work:
    return work(256, plain_ce)
