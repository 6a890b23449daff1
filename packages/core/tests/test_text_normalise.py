"""Normalisers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viseme.core.errors import ConfigError
from viseme.core.text import NORMALISERS, normalise


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("none", " As  it\tis. ", " As  it\tis. "),
        ("lower", " As  IT\tis. ", "as it is."),
        ("upper", " As  it\tis. ", "AS IT IS."),
        ("auto_avsr", "It\u2019s a test - really: 3-year-old!", "IT'S A TEST REALLY 3YEAROLD"),
        ("basic_english", "[music] Don't 'quote' (laughs) Café--NOW, y'all!", "don't quote cafe now y'all"),
    ],
)
def test_examples(name: str, text: str, expected: str) -> None:
    assert normalise(text, name) == expected


@given(st.text(max_size=40), st.sampled_from(sorted(set(NORMALISERS) - {"none"})))
def test_no_outer_or_double_blanks(text: str, name: str) -> None:
    result = normalise(text, name)
    assert result == " ".join(result.split())


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="auto_avsr"):
        normalise("x", "autoavsr")
