"""Activation checkpointing that leaves no trace: activations are computed again in the backward pass instead of kept
(Chen et al. 2016), and batch norms do not count the second time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

__all__ = ["frozen_statistics", "recomputed"]


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms of `module` normalise by the batch, but leave their running statistics as they are."""
    norms = [inner for inner in module.modules() if isinstance(inner, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            # A step of zero changes nothing. The counter, which is added to in place, is a copy meanwhile.
            norm.momentum = 0.0
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked = norm.num_batches_tracked.clone()
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def recomputed(module: nn.Module, *inputs: Tensor | None, call: Callable[..., Tensor] | None = None) -> Tensor:
    """`module(*inputs)`, its activations dropped after the forward pass and made again for the backward pass.

    Values, gradients, dropout and running statistics are those of the plain call.

    Args:
        module: what to run; its batch norms are looked after.
        inputs: its arguments.
        call: what to call instead of the module itself (a method of it).
    """

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), frozen_statistics(module)

    found: Tensor = checkpoint(call or module, *inputs, use_reentrant=False, context_fn=contexts)
    return found
