"""Freed blocks stay with the process while it trains, and go back to the kernel after."""

from __future__ import annotations

import resource
import sys

import pytest
import torch

from viseme.core.training.allocator import kept_memory

NUMBERS = 16_000_000  # 64 MB: glibc learns to keep blocks by itself, but none above 32 MiB


def faults_of_another_block() -> int:
    """Pages that the kernel had to give while a block was made that is as large as one just freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(NUMBERS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings; elsewhere nothing is changed")
def test_blocks_are_kept_within_and_given_back_after() -> None:
    torch.ones(NUMBERS)
    assert faults_of_another_block() > 10
    with kept_memory() as able:
        if not able:
            pytest.skip("this C library is not glibc: nothing to set")
        for _ in range(20):  # a few blocks come before the first that fits exactly where another was
            torch.ones(NUMBERS)
        assert sum(faults_of_another_block() for _ in range(4)) < 40
    # Given back, the first block costs its pages again.
    assert faults_of_another_block() > 10


def test_an_error_within_passes_through() -> None:
    with pytest.raises(ValueError, match="as raised"), kept_memory():
        raise ValueError("as raised")
