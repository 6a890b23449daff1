"""Word times: the manifest's column, and the path that they draw through the frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viseme.core.data.word_times import format_word_times, frame_units, parse_word_times
from viseme.core.decoding import ctc_greedy
from viseme.core.errors import DataError
from viseme.core.text import CharUnits, WordUnits

WORDS = [("BIN", 0.16, 0.40), ("BLUE", 0.40, 0.80), ("BLUE", 0.88, 1.0)]


def collapse(path: list[int]) -> list[int]:
    """What CTC makes of a path."""
    torch = pytest.importorskip("torch")
    return ctc_greedy(torch.nn.functional.one_hot(torch.tensor([path]), 64).float())[0]


def test_column_there_and_back() -> None:
    assert parse_word_times(format_word_times(WORDS)) == WORDS
    assert parse_word_times("") == []


@pytest.mark.parametrize("text", ["BIN 0.1", "BIN one two", "BIN 0.5 0.4", "BIN -1 0.4", "BIN 0 1 2; BLUE"])
def test_not_word_times(text: str) -> None:
    with pytest.raises(DataError, match="word times"):
        parse_word_times(text)


def test_a_word_that_the_column_cannot_hold() -> None:
    for word in ("two words", "semi;colon", ""):
        with pytest.raises(DataError, match="cannot hold"):
            format_word_times([(word, 0.0, 1.0)])


def test_words_lie_where_they_are_said() -> None:
    units = WordUnits.from_texts(["BIN BLUE"])
    path = frame_units(WORDS, 25, units)
    bin_, blue = units.encode("BIN")[0], units.encode("BLUE")[0]
    assert len(path) == 25
    assert path[:4] == [units.blank] * 4
    assert path[4:10] == [bin_] * 6 and path[10:20] == [blue] * 10
    assert path[20:22] == [units.blank] * 2 and path[22:] == [blue] * 3
    assert collapse(path) == units.encode("BIN BLUE BLUE")


def test_a_repeated_unit_has_its_blank() -> None:
    units = CharUnits.from_texts(["GREEN"])
    path = frame_units([("GREEN", 0.0, 1.0), ("NEE", 1.0, 2.0)], 50, units)
    assert collapse(path) == units.encode("GREEN") + units.encode("NEE")


@given(st.lists(st.tuples(st.sampled_from(["A", "AB", "BBA"]), st.integers(6, 20)), max_size=6), st.integers(0, 40))
def test_a_path_always_collapses_to_its_words(words: list[tuple[str, int]], gap: int) -> None:
    units, at, timed = CharUnits.from_texts(["AB"]), gap, []
    for word, frames in words:
        timed.append((word, at / 25, (at + frames) / 25))
        at += frames
    assert collapse(frame_units(timed, at + 1, units)) == [unit for word, _ in words for unit in units.encode(word)]


def test_words_may_be_asked_for_later() -> None:
    units = WordUnits.from_texts(["BIN BLUE"])
    path = frame_units(WORDS, 30, units, delay_frames=3)
    assert path == [units.blank] * 3 + frame_units(WORDS, 27, units)
    # No later than the clip goes on.
    assert frame_units(WORDS, 26, units, delay_frames=3) == [units.blank, *frame_units(WORDS, 25, units)]
    assert frame_units(WORDS, 20, units, delay_frames=3) == frame_units(WORDS, 20, units)


def test_words_beyond_the_clip_are_cut() -> None:
    units = WordUnits.from_texts(["BIN BLUE"])
    assert len(frame_units(WORDS, 12, units)) == 12
    assert frame_units(WORDS, 0, units) == []
