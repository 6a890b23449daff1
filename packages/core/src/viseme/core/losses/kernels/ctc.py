"""The parts of linear + log-softmax + CTC (`viseme.core.losses.ctc`): alignment, and softmax minus occupancy in place.

No atomics: the same bits every time. B clips, T frames, K = L + 1 blank and labels, S = 2L + 1 states (a blank before,
between and behind labels), C rows of a chunk, V vocabulary.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from viseme.core.losses.ctc import _align as plain_align

__all__ = ["align", "align_kernel", "score", "softmax_kernel", "subtract_kernel"]

MOST_STATES = 8192  # of one program; beyond, torch's own kernels align


@triton.jit
def _add_logs(a, b, c):
    """log(exp(a) + exp(b) + exp(c)), -inf where all are."""
    largest = tl.maximum(tl.maximum(a, b), c)
    safe = tl.where(largest == float("-inf"), 0.0, largest)
    total = tl.exp(a - safe) + tl.exp(b - safe) + tl.exp(c - safe)
    return tl.where(largest == float("-inf"), largest, safe + tl.log(total))


@triton.jit
def _shift(x, s, by, SIZE: tl.constexpr):
    """x[s + by], -inf outside."""
    place = s + by
    inside = (place >= 0) & (place < SIZE)
    return tl.where(inside, tl.gather(x, tl.where(inside, place, 0), 0), float("-inf"))


@triton.jit
def align_kernel(logits, columns, frames_B, labels_B, alpha, occupancy, loss, T, L, SIZE: tl.constexpr):
    """One clip a program: forward over frames (alpha kept), then backward. Values stay relative to a frame's largest,
    so that float32 is enough; the loss is summed in float64."""
    clip = tl.program_id(0).to(tl.int64)
    frames = tl.load(frames_B + clip).to(tl.int32)
    labels = tl.load(labels_B + clip).to(tl.int32)
    columns += clip * L
    logits += clip * T * (L + 1)
    occupancy += clip * T * (L + 1)
    alpha += clip * T * SIZE
    s = tl.arange(0, SIZE)
    states = 2 * labels + 1
    real = s < states
    label = s // 2
    odd = (s % 2 == 1) & real
    here = tl.load(columns + label, mask=odd, other=-1)
    before = tl.load(columns + label - 1, mask=odd & (label > 0), other=-1)
    after = tl.load(columns + label + 1, mask=odd & (label + 1 < labels), other=-1)
    skips = odd & (label > 0) & (here != before)  # may be entered from two states back
    skipped = odd & (label + 1 < labels) & (here != after)  # may go two states on
    position = tl.where(odd, label + 1, 0)
    never = tl.full((SIZE,), float("-inf"), logits.dtype.element_ty)

    value = tl.where(s == 0, tl.zeros_like(never), never)
    scale = tl.zeros((), tl.float64)
    broken = tl.zeros((), tl.int32)
    for t in range(frames):
        x = tl.load(logits + t * (L + 1) + position, mask=real, other=float("-inf"))
        broken += tl.sum((x != x).to(tl.int32), 0)
        two = tl.where(skips, _shift(value, s, -2, SIZE), never)
        value = _add_logs(value, _shift(value, s, -1, SIZE), two) + x
        value = tl.where(real, value, never)
        top = tl.max(value, 0)
        top = tl.where(top == float("-inf"), 0.0, top).to(value.dtype)
        value -= top
        scale += top.to(tl.float64)
        tl.store(alpha + t * SIZE + s, value)
    last = tl.where(real & (s >= states - 2), value, never)
    top = tl.max(last, 0)
    possible = top != float("-inf")
    safe = tl.where(possible, top, 0.0)
    total = scale + safe.to(tl.float64) + tl.log(tl.sum(tl.exp(last - safe), 0)).to(tl.float64)
    answer = tl.where(possible, -total, float("inf"))
    tl.store(loss + clip, tl.where(broken > 0, float("nan"), answer))

    tl.debug_barrier()
    value = tl.where(s == states - 1, tl.zeros_like(never), never)
    for step in range(frames):
        t = frames - 1 - step
        two = tl.where(skipped, _shift(value, s, 2, SIZE), never)
        behind = _add_logs(value, _shift(value, s, 1, SIZE), two)
        both = tl.where(real, tl.load(alpha + t * SIZE + s) + behind, never)
        top = tl.max(both, 0)
        share = tl.exp(both - tl.where(top == float("-inf"), 0.0, top).to(both.dtype))
        total_share = tl.sum(share, 0)
        share = share / tl.where(total_share > 0, total_share, 1.0).to(share.dtype)
        tl.store(occupancy + t * (L + 1), tl.sum(tl.where(odd, 0.0, share), 0))
        tl.store(occupancy + t * (L + 1) + position, share, mask=odd)
        x = tl.load(logits + t * (L + 1) + position, mask=real, other=float("-inf"))
        value = behind + x
        top = tl.max(value, 0)
        value = tl.where(real, value - tl.where(top == float("-inf"), 0.0, top).to(value.dtype), never)


@triton.jit
def softmax_kernel(logits, weight, norm, V, DIFFERENTIATE: tl.constexpr, SIZE: tl.constexpr):
    """One row a program: log of the sum of exponentials; logits become weight * softmax."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * V
    share = tl.load(weight + row)
    v = tl.arange(0, SIZE)
    if share != 0:
        largest = tl.full((), float("-inf"), logits.dtype.element_ty)
        total = tl.zeros((), logits.dtype.element_ty)
        for start in range(0, V, SIZE):
            x = tl.load(logits + start + v, mask=start + v < V, other=float("-inf"))
            new = tl.maximum(largest, tl.max(x, 0))
            safe = tl.where(new == float("-inf"), 0.0, new).to(x.dtype)
            total = total * tl.exp(largest - safe) + tl.sum(tl.exp(x - safe), 0)
            largest = new
        sum_log = largest + tl.log(total)
        tl.store(norm + row, sum_log)
        if DIFFERENTIATE:
            for start in range(0, V, SIZE):
                x = tl.load(logits + start + v, mask=start + v < V, other=float("-inf"))
                tl.store(logits + start + v, share * tl.exp(x - sum_log), mask=start + v < V)
    else:
        tl.store(norm + row, share)
        if DIFFERENTIATE:
            for start in range(0, V, SIZE):
                tl.store(logits + start + v, tl.zeros((SIZE,), logits.dtype.element_ty), mask=start + v < V)


@triton.jit
def subtract_kernel(
    gradient, weight, occupancy, units, columns, clip_C, V, K, SIZE: tl.constexpr, OTHERS: tl.constexpr
):
    """Some columns of one row a program: weight * occupancy, summed over the columns of one unit, comes off in one
    place, which no other thread touches."""
    row = tl.program_id(0).to(tl.int64)
    clip = tl.load(clip_C + row).to(tl.int64)
    share = tl.load(weight + row)
    if share != 0:
        units += clip * K
        columns += clip * K
        k = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
        first = (k < K) & (tl.load(columns + k, mask=k < K, other=-1) == k)
        total = tl.zeros((SIZE,), gradient.dtype.element_ty)
        for start in range(0, K, OTHERS):
            j = start + tl.arange(0, OTHERS)
            column = tl.load(columns + j, mask=j < K, other=-1)
            part = tl.load(occupancy + row * K + j, mask=j < K, other=0.0)
            total += tl.sum(tl.where(column[None, :] == k[:, None], part[None, :], 0.0), 1)
        place = gradient + row * V + tl.load(units + k, mask=first, other=0)
        tl.store(place, tl.load(place, mask=first, other=0.0) - share * total, mask=first)


def align(
    logits_BTK: Tensor, columns_BL: Tensor, input_lengths_B: Tensor, target_lengths_B: Tensor
) -> tuple[Tensor, Tensor]:
    """As the plain function, in the logits' type."""
    clips, frames, columns = logits_BTK.shape
    size = max(16, triton.next_power_of_2(2 * columns - 1))
    if size > MOST_STATES:
        return plain_align(logits_BTK, columns_BL, input_lengths_B, target_lengths_B)
    alpha = logits_BTK.new_empty((clips, frames, size))
    occupancy_BTK = torch.zeros_like(logits_BTK)
    loss_B = logits_BTK.new_empty(clips, dtype=torch.float64)
    if clips:
        align_kernel[(clips,)](
            logits_BTK.contiguous(),
            columns_BL.contiguous(),
            input_lengths_B,
            target_lengths_B,
            alpha,
            occupancy_BTK,
            loss_B,
            frames,
            columns - 1,
            SIZE=size,
            num_warps=4 if size <= 1024 else 8,
        )
    return loss_B, occupancy_BTK


def score(
    logits_CV: Tensor,
    weight_C: Tensor,
    units_BK: Tensor,
    columns_BK: Tensor,
    clip_C: Tensor,
    occupancy_CK: Tensor,
    differentiate: bool,
) -> Tensor:
    """As the plain function; a row of weight 0 gets 0."""
    rows, vocabulary = logits_CV.shape
    columns = units_BK.shape[1]
    norm_C = torch.empty_like(weight_C)
    size = min(4096, triton.next_power_of_2(vocabulary))
    softmax_kernel[(rows,)](logits_CV, weight_C, norm_C, vocabulary, DIFFERENTIATE=differentiate, SIZE=size)
    if differentiate:
        subtract_kernel[(rows, triton.cdiv(columns, 64))](
            logits_CV,
            weight_C,
            occupancy_CK.contiguous(),
            units_BK,
            columns_BK.contiguous(),
            clip_C,
            vocabulary,
            columns,
            SIZE=64,
            OTHERS=32,
        )
    return norm_C
