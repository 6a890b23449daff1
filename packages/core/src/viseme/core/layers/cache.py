"""Keys and values of the tokens decoded so far, for all layers and all hypotheses of a beam.

Shapes: L tokens so far, R rows (clips x hypotheses), N layers, D model width, H heads, K width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["KeyValueCache"]


class KeyValueCache:
    """A growing (L, R, N, 2, D) store in two buffers that take turns.

    A beam search reorders every row at every step. Time-major order makes the store of the first L tokens one
    contiguous block whatever the number of rows, so that reordering is a single `index_select` of long rows into the
    other buffer: nothing is allocated from step to step (returned memory would have to be faulted in again).

    Args:
        layers: number of layers N.
        dim: model width D.
        rows: rows at the start.
    """

    def __init__(self, layers: int, dim: int, rows: int, *, device: torch.device, dtype: torch.dtype) -> None:
        self.layers, self.dim, self.rows, self.length = layers, dim, rows, 0
        self._buffers = [torch.empty(0, device=device, dtype=dtype) for _ in range(2)]

    def _view(self, which: int, length: int, rows: int) -> Tensor:
        shape = (length, rows, self.layers, 2, self.dim)
        size = length * rows * self.layers * 2 * self.dim
        if self._buffers[which].numel() < size:
            # Room for twice the tokens: the copies of a whole search stay linear in its length.
            grown = self._buffers[which].new_empty(2 * size)
            kept = self._buffers[which].numel()
            grown[:kept] = self._buffers[which]
            self._buffers[which] = grown
        return self._buffers[which][:size].view(shape)

    def begin_step(self) -> None:
        """Make room for one more token per row."""
        self.length += 1
        self._view(0, self.length, self.rows)

    def put(self, layer: int, key_RD: Tensor, value_RD: Tensor) -> None:
        """Store the newest token's key and value of one layer."""
        newest = self._view(0, self.length, self.rows)[-1, :, layer]
        newest[:, 0] = key_RD
        newest[:, 1] = value_RD

    def get(self, layer: int, heads: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, (R, H, L, K) each: views, not copies."""
        stored_LRHK = self._view(0, self.length, self.rows)[:, :, layer].unflatten(-1, (heads, -1))
        return stored_LRHK[:, :, 0].permute(1, 2, 0, 3), stored_LRHK[:, :, 1].permute(1, 2, 0, 3)

    def select(self, rows_R: Tensor) -> None:
        """Row r becomes what row `rows_R[r]` was; the number of rows may change."""
        if self.length:
            source = self._view(0, self.length, self.rows)
            target = self._view(1, self.length, len(rows_R))
            torch.index_select(source, 1, rows_R, out=target)
            self._buffers.reverse()
        self.rows = len(rows_R)
