"""A soak of CI's size; `python -m tools.soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.soak import BROKEN, Soak


@pytest.mark.heavy
def test_nothing_good_is_lost_and_everything_broken_is_named(tmp_path: Path) -> None:
    result = Soak(tmp_path / "soak", clips=2 * len(BROKEN), workers=1).run()
    assert not result["problems"]
    assert result["kinds"] == dict.fromkeys(BROKEN, 1)
    assert 0 < result["done_when_killed"] < 2 * len(BROKEN) and result["prepared_twice"] == 0
