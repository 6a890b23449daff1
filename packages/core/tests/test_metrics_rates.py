"""Error rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viseme.core.errors import DataError
from viseme.core.metrics import character_error_rate, count_errors, word_error_rate

TOKENS = st.lists(st.sampled_from("abc"), max_size=9)


def edit_distance(a: list[str], b: list[str]) -> int:
    """By the textbook's recursion, to check against."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


@given(TOKENS, TOKENS)
def test_counts_are_the_edit_distance(reference: list[str], hypothesis: list[str]) -> None:
    counts = count_errors(reference, hypothesis)
    assert counts.errors == edit_distance(reference, hypothesis)
    assert counts.length == len(reference)
    assert counts.insertions - counts.deletions == len(hypothesis) - len(reference)
    assert min(counts.substitutions, counts.deletions, counts.insertions) >= 0


@pytest.mark.parametrize(
    "reference, hypothesis, counts",
    [("a b c", "a b c", (0, 0, 0)), ("a b c", "a x c d", (1, 0, 1)), ("a b", "", (0, 2, 0)), ("", "a", (0, 0, 1))],
)
def test_kinds(reference: str, hypothesis: str, counts: tuple[int, int, int]) -> None:
    found = count_errors(reference.split(), hypothesis.split())
    assert (found.substitutions, found.deletions, found.insertions) == counts


def test_word_error_rate_of_a_set() -> None:
    result = word_error_rate(["A b  C d", "", "one"], ["a B c", "extra", "one"])
    assert (result.errors, result.words, result.rate) == (2, 5, 0.4)
    assert [clip.errors for clip in result.clips] == [1, 1, 0]
    assert result.to_dict()["deletions"] == 1 and result.to_dict()["insertions"] == 1


def test_character_error_rate_ignores_blanks() -> None:
    result = character_error_rate(["AB CD"], ["ab xd e"])
    assert (result.errors, result.length) == (2, 4)


def test_agrees_with_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer", reason="jiwer is an extra; the textbook recursion above covers the counts")
    references, hypotheses = ["a b c d", "e f", "g"], ["a c d d x", "f e", ""]
    assert word_error_rate(references, hypotheses).rate == pytest.approx(jiwer.wer(references, hypotheses))


@pytest.mark.parametrize("references, hypotheses", [([], []), (["", " "], ["a", ""]), (["a"], [])])
def test_nothing_to_divide_by(references: list[str], hypotheses: list[str]) -> None:
    for rate in (word_error_rate, character_error_rate):
        with pytest.raises(DataError):
            rate(references, hypotheses)
