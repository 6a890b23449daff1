"""Schedules (the published values are pinned by the parity tests)."""

from __future__ import annotations

import itertools

import pytest
import torch

from viseme.core.errors import ConfigError
from viseme.core.training.schedules import SCHEDULE_VARIANTS, warmup_cosine, warmup_cosine_scheduler

RUN = {"warmup_epochs": 2, "total_epochs": 10, "steps_per_epoch": 3}


@pytest.mark.parametrize("variant", SCHEDULE_VARIANTS)
def test_scheduler_gives_the_function(variant: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([{"params": [parameter], "lr": 0.5}])
    scheduler = warmup_cosine_scheduler(optimizer, variant=variant, **RUN)
    for step in range(40):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(warmup_cosine(step, lr=0.5, variant=variant, **RUN))
        optimizer.step()
        scheduler.step()


def test_fixed_variant_never_stands_still_and_never_turns_up() -> None:
    rates = [warmup_cosine(step, lr=1.0, **RUN) for step in range(60)]
    assert max(rates) == rates[5] == 1.0
    assert all(a < b for a, b in itertools.pairwise(rates[:6])) and rates[0] > 0
    assert all(a >= b for a, b in itertools.pairwise(rates[5:]))
    assert rates[29:] == [0.0] * 31


def test_no_warmup() -> None:
    assert warmup_cosine(0, lr=1.0, warmup_epochs=0, total_epochs=2, steps_per_epoch=5) == pytest.approx(
        0.9755, abs=1e-4
    )


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match="fixed"):
        warmup_cosine(0, lr=1.0, variant="latest", **RUN)
    with pytest.raises(ConfigError, match="warm-up"):
        warmup_cosine(0, lr=1.0, warmup_epochs=10, total_epochs=10, steps_per_epoch=3)
