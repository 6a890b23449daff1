"""Networks along time, run over pieces with enough context that nothing depends on where the pieces were cut.

T columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

__all__ = ["in_pieces"]


def in_pieces(
    function: Callable[[Tensor], Tensor], pieces: Iterable[Tensor], *, context: int, hop: int = 1
) -> Iterator[Tensor]:
    """What `function` gives of all pieces (..., t) joined, piece by piece.

    Args:
        function: (..., T) -> (..., hop * T), in which a column moves nothing further away than `context` columns.
        context: columns to either side of a piece that are seen and whose output is not used.
        hop: steps of output a column.
    """
    left = torch.zeros(0)
    held: Tensor | None = None
    for piece in itertools.chain(pieces, [None]):
        if piece is None:
            if held is not None:
                yield function(torch.cat([left, held], -1))[..., hop * left.shape[-1] :]
            return
        if held is None:
            held, left = piece, piece[..., :0]
            continue
        if piece.shape[-1] < context:  # too little to look ahead at: wait for more
            held = torch.cat([held, piece], -1)
            continue
        begin = hop * left.shape[-1]
        made = function(torch.cat([left, held, piece[..., :context]], -1))
        yield made[..., begin : begin + hop * held.shape[-1]]
        left, held = torch.cat([left, held], -1)[..., -context:], piece
