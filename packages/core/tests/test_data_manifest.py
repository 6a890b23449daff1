"""The manifest: exact round trips, clear errors."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import DataError, DependencyError

TEXT = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=("Cs",)), max_size=12)
ROWS = st.builds(
    ManifestRow,
    id=TEXT.filter(bool),
    path=TEXT.filter(bool),
    audio=TEXT,
    frames=st.none() | st.integers(0, 10**6),
    fps=st.none() | st.floats(0.1, 240),
    samples=st.none() | st.integers(0, 10**9),
    rate=st.none() | st.integers(1, 192_000),
    start_s=st.none() | st.floats(0, 1e5),
    end_s=st.none() | st.floats(0, 1e5),
    text=TEXT,
    speaker=TEXT,
    split=TEXT,
    extra=st.dictionaries(st.sampled_from(["colour", "view, side", 'with "quotes"', "ü"]), TEXT),
)


@given(st.lists(ROWS, max_size=5, unique_by=lambda row: row.id))
def test_csv_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, rows: list[ManifestRow]) -> None:
    path = tmp_path_factory.mktemp("manifest") / "m.csv"
    Manifest(rows).write(path)
    read = Manifest.read(path)
    assert read.rows == rows
    assert read.sha256() == Manifest(rows).sha256()
    assert read.root == path.parent


def test_parquet_round_trip(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, an optional dependency; CSV is tested above")
    rows = [ManifestRow("a", "a.mp4", frames=3, fps=25.0, text='x "ü"\r\n'), ManifestRow("b", "b", extra={"k": "1"})]
    Manifest(rows).write(tmp_path / "m.parquet")
    assert Manifest.read(tmp_path / "m.parquet").rows == rows


def test_parquet_without_pyarrow_says_so(tmp_path: Path) -> None:
    with mock.patch.dict(sys.modules, {"pyarrow": None}), pytest.raises(DependencyError, match="pyarrow"):
        Manifest([]).write(tmp_path / "m.parquet")
    assert list(tmp_path.iterdir()) == []


def test_file_names_that_are_not_unicode(tmp_path: Path) -> None:
    manifest = Manifest([ManifestRow("a", "caf\udce9.mp4")])
    manifest.write(tmp_path / "m.csv")
    assert b"caf\xe9.mp4" in (tmp_path / "m.csv").read_bytes()
    assert Manifest.read(tmp_path / "m.csv") == manifest


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("", "id"),
        ("a,b\n1,2\n", "column"),
        ("id,path\na\n", "line 2"),
        ("id,path,frames\na,b,many\n", "frames"),
        ("id,path\na,b\na,c\n", "unique"),
        ("id,path\na,\n", "path"),
        ('id,path\n"a,b\n', "CSV"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "bad one.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=complaint) as caught:
        Manifest.read(path)
    assert "bad one.csv" in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.csv"):
        Manifest.read(tmp_path / "m.csv")
    (tmp_path / "m.parquet").write_bytes(b"no")
    pytest.importorskip("pyarrow", reason="the Parquet half needs pyarrow; its absence is tested above")
    with pytest.raises(DataError, match="Parquet"):
        Manifest.read(tmp_path / "m.parquet")


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    Manifest([ManifestRow("a", "a")]).write(path)
    before = path.read_bytes()
    with mock.patch.object(Path, "replace", side_effect=OSError("disk full")), pytest.raises(OSError, match="full"):
        Manifest([ManifestRow("b", "b")]).write(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.csv"]


def test_filter_slice_and_lengths() -> None:
    rows = [
        ManifestRow("a", "a", frames=10, split="train"),
        ManifestRow("b", "b", frames=0, samples=48000, rate=48000, split="test"),
        ManifestRow("c", "c", split="train"),
    ]
    manifest = Manifest(rows)
    assert [row.id for row in manifest.filter(split="train")] == ["a", "c"]
    assert [row.id for row in manifest.filter(lambda row: row.id > "a")] == ["b", "c"]
    assert manifest[:2].lengths() == [10, 25]
    with pytest.raises(DataError, match="'c'"):
        manifest.lengths()
    with pytest.raises(DataError, match=r"'test' \| 'train'"):
        manifest.filter(split="dev")


def test_with_root(tmp_path: Path) -> None:
    manifest = Manifest([ManifestRow("a", "x/a.mp4", audio="x/a.wav"), ManifestRow("b", "/elsewhere/b.mp4")], tmp_path)
    moved = manifest.with_root(tmp_path / "x")
    assert (moved[0].path, moved[0].audio, moved[1].path) == ("a.mp4", "a.wav", "/elsewhere/b.mp4")
    assert moved.file(moved[0]) == manifest.file(manifest[0])
    assert moved.audio_file(moved[0]) == tmp_path / "x" / "a.wav"
    assert moved.audio_file(moved[1]) == Path("/elsewhere/b.mp4")
