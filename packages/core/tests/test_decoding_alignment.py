"""CTC alignment against the sum over all paths written out."""

from __future__ import annotations

import itertools

import pytest
import torch

from viseme.core.decoding import ctc_align
from viseme.core.errors import DataError


def collapse(path: tuple[int, ...]) -> list[int]:
    return [unit for unit, _ in itertools.groupby(path) if unit != 0]


@pytest.mark.parametrize("tokens", [[1], [1, 2], [2, 2], [1, 2, 1], [3, 3, 1]])
def test_best_of_all_paths(tokens: list[int]) -> None:
    logp = torch.randn(6, 4, generator=torch.Generator().manual_seed(len(tokens))).log_softmax(-1)
    paths = [path for path in itertools.product(range(4), repeat=6) if collapse(path) == tokens]
    best = max(paths, key=lambda path: float(sum(logp[t, unit] for t, unit in enumerate(path))))
    spans = ctc_align(logp, tokens)
    assert spans is not None
    frames = [0] * 6
    for unit, span in zip(tokens, spans):
        frames[span.start : span.end] = [unit] * (span.end - span.start)
        assert span.logp == pytest.approx(float(logp[span.start : span.end, unit].mean()))
    assert tuple(frames) == best


def test_texts_that_do_not_fit() -> None:
    logp = torch.zeros(3, 4).log_softmax(-1)
    assert ctc_align(logp, [1, 1, 2]) is None  # needs a blank between the equal ones
    assert ctc_align(logp, [1, 2, 3, 1]) is None
    assert ctc_align(logp, [1, 2, 3]) is not None
    assert ctc_align(logp, []) == []
    with pytest.raises(DataError, match="cannot be aligned"):
        ctc_align(logp, [0])
    with pytest.raises(DataError, match="cannot be aligned"):
        ctc_align(logp, [4])


def test_one_frame() -> None:
    spans = ctc_align(torch.tensor([[0.1, 0.9]]).log(), [1])
    assert spans is not None and (spans[0].start, spans[0].end) == (0, 1)
