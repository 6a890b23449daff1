"""No kind of vector is left without a test."""

from __future__ import annotations

import re

import harness
import pytest

SYSTEM = "wav2lip"


def test_every_kind_has_a_test() -> None:
    kinds = {entry["kind"] for entry in harness.vectors(SYSTEM).values()}
    if not kinds:
        pytest.skip(f"the folder has no vectors of {SYSTEM}")
    tests = "".join(path.read_text(encoding="utf-8") for path in harness.HERE.glob(f"test_{SYSTEM}_*.py"))
    named = set(re.findall(r'"([a-z0-9_]+(?:/[a-z0-9_]+)?)"', tests))
    assert kinds <= named, f"not tested: {sorted(kinds - named)}"
