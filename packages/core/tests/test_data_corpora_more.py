"""Readers of corpora as they are distributed, on small copies of their layouts; and the cutting of long recordings."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from viseme.core.data import Manifest, ManifestRow
from viseme.core.data.corpora import READERS, folder, grid, lrw, muavic, online, reader, voxceleb2
from viseme.core.data.cutting import cut_long, pauses_cut
from viseme.core.errors import ConfigError, DataError
from viseme.core.media import write_audio
from viseme.core.testing import clips
from viseme.core.types import Audio


def touch(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", READERS)
def test_every_reader_says_what_it_expects_of_an_empty_folder(name: str, tmp_path: Path):
    with pytest.raises(DataError):
        reader(name)(tmp_path)
    with pytest.raises(DataError):
        reader(name)(tmp_path / "none")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch):
    touch(tmp_path, "open/a.mp4", "shut/b.mp4")
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    manifest = folder.scan(tmp_path)
    assert [row.id for row in manifest] == ["open/a"]
    assert manifest.skipped == [("shut", "this folder cannot be read: Permission denied")]


def test_lrw(tmp_path: Path):
    touch(tmp_path, "lipread_mp4/ABOUT/train/ABOUT_00001.mp4", "lipread_mp4/ABOUT/test/ABOUT_00002.mp4")
    touch(tmp_path, "lipread_mp4/ABOUT/train/ABOUT_00001.txt", text="Disk Reference: 1\nDuration: 0.53 seconds\n")
    touch(tmp_path, "lipread_mp4/ABOUT/val/OTHER_00001.mp4")
    manifest = lrw.scan(tmp_path)
    first, second = manifest
    assert (second.id, second.text, second.split) == ("ABOUT/train/ABOUT_00001", "ABOUT", "train")
    assert second.extra["word_s"] == "0.53" and first.split == "test" and "word_s" not in first.extra
    assert [name for name, _ in manifest.skipped] == ["ABOUT/val/OTHER_00001.mp4"]


def test_voxceleb2(tmp_path: Path):
    for name, frames in ("dev/mp4/id1/vidA/00001", 30), ("dev/mp4/id1/vidA/00002", 71), ("test/mp4/id2/v/00003", 8):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        clips.write_clip(tmp_path / f"{name}.mp4", frames=frames, rate=None)
    touch(tmp_path, "dev/aac/id1/vidA/00002.m4a")
    manifest = voxceleb2.scan(tmp_path, max_s=1.2)
    assert [r.id.split("/")[-1] for r in manifest] == ["00001", "00002_00", "00002_01"]  # 11 frames are too few
    last = manifest[-1]
    assert (last.start_s, last.end_s, last.speaker, last.split) == (1.2, 2.4, "id1", "train")
    assert last.audio == "dev/aac/id1/vidA/00002.m4a" and manifest[0].audio == ""
    assert [name for name, why in manifest.skipped] == ["test/mp4/id2/v/00003.mp4"]
    touch(tmp_path, "en.id", text="id1/vidA/00002\nid9/gone/00001\n")
    chosen = voxceleb2.scan(tmp_path, ids=tmp_path / "en.id", max_s=None)
    assert [r.id for r in chosen] == ["dev/mp4/id1/vidA/00002"]
    assert "id9/gone/00001" in chosen.skipped[0][0]


def test_avspeech_takes_whole_and_cut_videos_and_names_the_missing(tmp_path: Path):
    lines = "AAAAAAAAAAA,1.5,4.5,0.4,0.6\nBBBBBBBBBBB,10.000000,13.2,0.5,0.5\nCCCCCCCCCCC,0,3,0.5,0.5\n"
    touch(tmp_path, "avspeech_train.csv", text=lines)
    touch(tmp_path, "x/AAAAAAAAAAA.mp4", "x/BBBBBBBBBBB_10.000000_13.200000.mp4")
    manifest = online.avspeech(tmp_path)
    whole, cut = manifest
    assert (whole.start_s, whole.end_s, whole.path, whole.split) == (1.5, 4.5, "x/AAAAAAAAAAA.mp4", "train")
    assert whole.extra == {"face_x": "0.4", "face_y": "0.6"} and whole.dataset == "avspeech"
    assert (cut.start_s, cut.end_s) == (None, None)
    assert manifest.skipped == [("CCCCCCCCCCC.mp4", "in the list, but there is no such video")]


def test_multivsr_by_the_names_of_columns(tmp_path: Path):
    head = "Video_ID\tStart_Time\tEnd_Time\tLanguage\tTranscript\n"
    touch(tmp_path, "test_fr.tsv", text=head + "a\t0\t2.5\tfr\tbonjour à tous\nb\t0\tx\tfr\tnon\na\t3\t2\tfr\tnon\n")
    touch(tmp_path, "a.mp4", "b.mp4")
    manifest = online.multivsr(tmp_path)
    (row,) = manifest
    assert (row.text, row.language, row.split, row.end_s) == ("bonjour à tous", "fr", "test", 2.5)
    assert len(manifest.skipped) == 2  # a time that is none, an end before the start
    touch(tmp_path, "test_fr.tsv", text="colour\tsize\nred\t1\n")
    with pytest.raises(DataError, match="header"):
        online.multivsr(tmp_path)


def test_visper_nested_json(tmp_path: Path):
    tree = {"vid1": {"clip0": {"start": 1, "end": 3, "label": "你好"}, "clip1": {"start": 5, "end": 6, "label": "x"}}}
    touch(tmp_path, "train.json", text=json.dumps(tree, ensure_ascii=False))
    touch(tmp_path, "vid1.mp4", "vid1/clip1.mp4")
    first, second = online.visper(tmp_path, language="zh")
    assert (first.path, first.start_s, first.text, first.language) == ("vid1.mp4", 1.0, "你好", "zh")
    assert (second.path, second.start_s, second.id) == ("vid1/clip1.mp4", None, "vid1/clip1")
    touch(tmp_path, "train.json", text="{")
    with pytest.raises(DataError, match="not JSON"):
        online.visper(tmp_path)


def test_muavic(tmp_path: Path):
    listed = "/\nt1/t1_0000\tvideo/train/t1/t1_0000.mp4\taudio/train/t1/t1_0000.wav\t50\t32000\n"
    touch(tmp_path, "es/train.tsv", text=listed + "t1/t1_0001\tvideo/gone.mp4\taudio/gone.wav\t5\t3200\n")
    touch(tmp_path, "es/train.es", text="hola a todos\nadiós\n")
    touch(tmp_path, "es/video/train/t1/t1_0000.mp4", "es/audio/train/t1/t1_0000.wav")
    manifest = muavic.scan(tmp_path)
    (row,) = manifest
    assert (row.id, row.text, row.language, row.split) == ("es/t1/t1_0000", "hola a todos", "es", "train")
    assert row.audio == "es/audio/train/t1/t1_0000.wav" and len(manifest.skipped) == 1
    touch(tmp_path, "es/train.es", text="one line\n")
    with pytest.raises(DataError, match="do not match"):
        muavic.scan(tmp_path)


def test_grid(tmp_path: Path):
    touch(tmp_path, "s1/video/mpg_6000/bbaf2n.mpg", "s2/lwwz9s.mpg", "s9/video/strange.mpg", "else/x.mpg")
    touch(
        tmp_path, "alignments/s1/bbaf2n.align", text="0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35000 sp\n"
    )
    manifest = grid.scan(tmp_path)
    assert [(r.id, r.text, r.split) for r in manifest] == [
        ("s1/bbaf2n", "BIN BLUE", "train"),
        ("s2/lwwz9s", "LAY WHITE WITH Z NINE SOON", "test"),
    ]
    assert len(manifest.skipped) == 2
    assert grid.spelled("pgwzzp") == "place green with z zero please" and grid.spelled("xx") is None


def test_cuts_fall_into_pauses():
    loud = np.ones(6000)
    pauses = [(700, 740), (1450, 1500), (2300, 2340), (3020, 3070), (3900, 3930), (4500, 4550), (5300, 5320)]
    for begin, end in pauses:
        loud[begin:end] = 0
    spans = pauses_cut(loud, 10.0)
    assert spans[0][0] == 0 and spans[-1][1] == 60 and all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert all(1 < end - start <= 10 for start, end in spans)
    assert all(any(p[0] - 5 <= 100 * end <= p[1] + 5 for p in pauses) for _, end in spans[:-1])
    assert pauses_cut(np.zeros(950), 10.0) == [(0.0, 9.5)]
    with pytest.raises(ConfigError):
        pauses_cut(loud, 0.5)


@pytest.mark.parametrize("seconds", [10.01, 10.5, 12, 19.99, 20.01, 33.3])
@pytest.mark.parametrize("quiet", [False, True])
def test_no_span_is_too_long_or_a_splinter(seconds: float, quiet: bool):
    loud = np.random.default_rng(0).random(round(seconds * 100)) * (0 if quiet else 1)
    assert all(2 <= end - start <= 10 + 1e-9 for start, end in pauses_cut(loud, 10.0))


def test_long_recordings_are_cut_and_transcribed_ones_are_named(tmp_path: Path):
    for name in ("talk", "told", "short", "mute"):
        clips.write_clip(tmp_path / f"{name}.mp4", frames=40 if name == "short" else 150, rate=None)
    sound = np.random.default_rng(0).standard_normal(96000).astype(np.float32) / 9
    sound[40000:46000] = 0
    write_audio(tmp_path / "talk.flac", Audio(sound, 16000))
    rows = [ManifestRow(n, f"{n}.mp4", "talk.flac" if n == "talk" else "") for n in ("talk", "short", "mute")]
    rows += [ManifestRow("told", "told.mp4", text="words"), ManifestRow("gone", "gone.mp4")]
    manifest = cut_long(Manifest(rows, tmp_path), 4.0)
    assert [r.id for r in manifest] == ["talk_00", "talk_01", "short", "mute_00", "mute_01", "told", "gone"]
    assert 2.5 <= manifest[0].end_s <= 2.9 and manifest[1].start_s == manifest[0].end_s
    assert manifest[1].end_s == pytest.approx(6.0)
    assert [name for name, _ in manifest.skipped] == ["told.mp4"]
