"""The published label lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.core.data import LabelRow, labels_to_manifest, manifest_to_labels, read_labels, write_labels
from viseme.core.errors import DataError
from viseme.core.text import WordUnits

LINE = "lrs3,lrs3_video_seg24s/test/0Fi83BHQsMA/00002.mp4,38,4903 3832 1725\n"


def test_published_line_both_ways(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(LINE)
    rows = read_labels(tmp_path / "a.csv")
    assert rows == [LabelRow("lrs3", "lrs3_video_seg24s/test/0Fi83BHQsMA/00002.mp4", 38, (4903, 3832, 1725))]
    write_labels(tmp_path / "b.csv", rows)
    assert (tmp_path / "b.csv").read_text() == LINE


def test_forgives_blanks_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfmine, some where/a, b.mp4, 7, 1 2\r\n\r\n")
    assert read_labels(tmp_path / "a.csv") == [LabelRow("mine", "some where/a, b.mp4", 7, (1, 2))]


@pytest.mark.parametrize("content", ["", "\n", LINE + "lrs3,a.mp4,many,1\n", LINE + "lrs3,a.mp4\n", "a,b,1,x y\n"])
def test_bad_lists_name_file_and_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad list.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"bad list\.csv.*(empty|line)"):
        read_labels(path)


def test_missing_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_labels(tmp_path / "x.csv")


def test_names_the_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write_labels(tmp_path / "a.csv", [LabelRow("a,b", "c.mp4", 1, (1,))])
    assert list(tmp_path.iterdir()) == []


def test_manifest_both_ways(tmp_path: Path) -> None:
    words = WordUnits.from_texts(["BIN BLUE AT"])
    rows = [LabelRow("lrs3", "v/test/s/1.mp4", 20, tuple(words.encode("AT BLUE")))]
    manifest = labels_to_manifest(rows, tmp_path, words, split="test")
    row = manifest[0]
    assert (row.id, row.text, row.frames, row.samples, row.split) == ("lrs3/v/test/s/1", "AT BLUE", 20, 12800, "test")
    assert manifest.file(row) == tmp_path / "lrs3/v/test/s/1.mp4"
    assert manifest.audio_file(row) == tmp_path / "lrs3/v/test/s/1.wav"
    assert manifest_to_labels(manifest, words) == rows
