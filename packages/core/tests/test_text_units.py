"""Unit lists: numbering, the published file format, decoding."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viseme.core.errors import DataError
from viseme.core.text import UnitList


def test_numbering_and_marks() -> None:
    units = UnitList(["<unk>", "a", "b"])
    assert units.tokens == ("<blank>", "<unk>", "a", "b", "<eos>")
    assert (units.blank, units.sos, units.eos, units.unknown, len(units)) == (0, 4, 4, 1, 5)
    assert units.ids(["b", "nowhere", "a"]) == [3, 1, 2]


def test_text_follows_the_published_rules() -> None:
    units = UnitList(["<unk>", "\u2581HE", "LLO", "<space>"])
    assert units.text([2, 3, -1, 2, 5, 5]) == "HELLO HE"
    assert units.text([2, 5], keep_eos=True) == "HE<eos>"
    assert units.text([0, 2, 4, 1]) == "<blank> HE <unk>"


def test_no_unknown_means_an_error() -> None:
    with pytest.raises(DataError, match="'z'"):
        UnitList(["a"]).ids(["z"])


def test_ids_outside_the_list() -> None:
    with pytest.raises(DataError, match=r"0\.\.2"):
        UnitList(["a"]).text([3])


@pytest.mark.parametrize("wrong", [["a", "a"], ["a", ""], ["<blank>"], ["<eos>"]])
def test_repeated_empty_reserved(wrong: list[str]) -> None:
    with pytest.raises(DataError):
        UnitList(wrong)


@given(st.lists(st.text(st.characters(blacklist_categories=("Zs", "Cc", "Cs", "Zl", "Zp")), min_size=1), unique=True))
def test_file_round_trip(tmp_path_factory: pytest.TempPathFactory, units: list[str]) -> None:
    path = tmp_path_factory.mktemp("units") / "units.txt"
    made = UnitList(["<unk>", *(unit for unit in units if unit not in ("<unk>", "<blank>", "<eos>"))])
    made.write(path)
    assert UnitList.read(path) == made


def test_reads_windows_files(tmp_path: Path) -> None:
    (tmp_path / "units.txt").write_bytes("\ufeff<unk> 1\r\n\u2581É 2\r\n".encode())
    assert UnitList.read(tmp_path / "units.txt").tokens[1:-1] == ("<unk>", "\u2581É")


@pytest.mark.parametrize("content", ["", "a 1\nb 3\n", "a\n", "a one\n", "\udcff 1\n"])
def test_bad_files_name_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "my units.txt"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"my units\.txt"):
        UnitList.read(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.txt"):
        UnitList.read(tmp_path / "nothing.txt")


def test_from_tokens_needs_the_marks() -> None:
    assert UnitList.from_tokens(["<blank>", "a", "<eos>"]) == UnitList(["a"])
    with pytest.raises(DataError):
        UnitList.from_tokens(["a", "b"])
