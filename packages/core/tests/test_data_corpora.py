"""Readers of corpora: layouts, transcripts, and what is left out."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest

from viseme.core.data.corpora import folder, lrs2, lrs3, nist_mrt
from viseme.core.data.corpora.cues import Cue, join_cues, read_cues
from viseme.core.data.corpora.lrs_text import split_pretrain
from viseme.core.errors import ConfigError, DataError
from viseme.core.media import write_audio
from viseme.core.types import Audio

WORDS = "\n\nWORD START END ASDSCORE\nONE 0.10 0.90 1.0\nTWO 1.50 2.00 1.0\nTHREE 2.10 2.52 1.0\n"


def put(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


# ------------------------------------------------------------------------------------------------------- LRS


def test_lrs3(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = put(
        tmp_path,
        {
            "pretrain/s1/00001.mp4": "",
            "pretrain/s1/00001.txt": "Text:  ONE TWO THREE\r\nConf:  5" + WORDS.replace("\n", "\r\n"),
            "trainval/s2/00001.mp4": "",
            "trainval/s2/00001.txt": "Text:  SO {NS} IT GOES\nConf:  3\n",
            "val/s3/a b.mp4": "",
            "val/s3/a b.txt": "Text:  ÉCOLE\n".encode("latin-1"),
            "test/s4/00001.mp4": "",
            "test/s4/00002.mp4": "",
            "test/s4/00002.txt": "Text:  FINE\n",
        },
    )
    with caplog.at_level(logging.WARNING):
        manifest = lrs3.scan(root, max_s=1.1)
    assert [(row.id, row.split, row.speaker, row.text) for row in manifest] == [
        ("pretrain/s1/00001_00", "train", "s1", "ONE"),
        ("pretrain/s1/00001_01", "train", "s1", "TWO THREE"),
        ("trainval/s2/00001", "train", "s2", "SO NS IT GOES"),
        ("val/s3/a b", "val", "s3", "ÉCOLE"),
        ("test/s4/00002", "test", "s4", "FINE"),
    ]
    segment = manifest[1]
    assert (segment.start_s, segment.end_s, segment.frames) == (37 / 25, 63 / 25, 26)
    assert manifest.file(segment) == root / "pretrain/s1/00001.mp4"
    assert [name for name, _ in manifest.skipped] == ["test/s4/00001.mp4"]
    assert "1 clips left out" in caplog.text


def test_lrs3_single_segment_stays_whole(tmp_path: Path) -> None:
    files = {"pretrain/s/1.mp4": "", "pretrain/s/1.txt": "Text:  ONE TWO THREE\nConf:  5" + WORDS}
    row = lrs3.scan(put(tmp_path, files), max_s=16)[0]
    assert (row.id, row.start_s, row.end_s, row.text) == ("pretrain/s/1", None, None, "ONE TWO THREE")


def test_a_word_longer_than_the_limit_stands_alone() -> None:
    segments = split_pretrain("Text:  A B\n\nWORD START END ASDSCORE\nA 0.0 5.0 1\nB 5.1 5.2 1\n", 2.0)
    assert [(s.content, s.start, s.end) for s in segments] == [("A", 0.0, 5.0), ("B", 5.1, 5.2)]


@pytest.mark.parametrize("text", ["Text:  A\n", "Text:  A\n\nWORD START END ASDSCORE\nA zero 1\n"])
def test_bad_word_times(text: str) -> None:
    with pytest.raises(DataError):
        split_pretrain(text, 16)


def test_lrs3_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        lrs3.scan(tmp_path / "nowhere")
    with pytest.raises(DataError, match="trainval"):
        lrs3.scan(tmp_path)
    with pytest.raises(DataError, match="no usable clips"):
        lrs3.scan(put(tmp_path, {"test/s/1.mp4": ""}))


def test_lrs2(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "train.txt": "a/1\n",
        "pretrain.txt": "p/1\n",
        "test.txt": "b/1 NF\nb/2 MV\n",
        "mvlrs_v1/main/a/1.mp4": "",
        "mvlrs_v1/main/a/1.txt": "Text:  HELLO\n",
        "mvlrs_v1/main/b/1.mp4": "",
        "mvlrs_v1/main/b/1.txt": "Text:  THERE\n",
        "mvlrs_v1/pretrain/p/1.mp4": "",
        "mvlrs_v1/pretrain/p/1.txt": "Text:  ONE TWO THREE\nConf:  5" + WORDS,
    }
    manifest = lrs2.scan(put(tmp_path, files) / "mvlrs_v1")
    assert [(row.id, row.split, row.dataset) for row in manifest] == [
        ("main/a/1", "train", "lrs2"),
        ("pretrain/p/1", "train", "lrs2"),
        ("main/b/1", "test", "lrs2"),
    ]
    assert manifest.skipped[0][0] == "main/b/2.mp4"
    with pytest.raises(DataError, match="lists"):
        lrs2.scan(put(tmp_path / "other" / "root", {"main/a/1.mp4": ""}))


# ---------------------------------------------------------------------------------------------------- folders


SRT = """\ufeff1
00:00:01,000 --> 00:00:02,500
Hello <i>there</i>,

2
00:00:02,600 --> 00:00:03,000
{\\an8}you &amp; me

3
00:01:00,5 --> 00:01:01,500
later
"""


def test_any_folder(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        {
            "no words.MP4": "",
            "ü/with text.mov": "",
            "ü/with text.txt": "One line,\nand another\n",
            "talk.mkv": "",
            "talk.srt": SRT,
            "talk.wav": "",
            "lrs.mp4": "",
            "lrs.txt": "Text:  LIKE LRS\nConf: 3\n",
            "only sound.flac": "",
            ".hidden/x.mp4": "",
            "notes.md": "",
        },
    )
    rows = {row.id: row for row in folder.scan(root, language="en", split="test")}
    assert sorted(rows) == ["lrs", "no words", "only sound", "talk", "ü/with text"]
    assert rows["no words"].text == "" and rows["no words"].path == "no words.MP4"
    assert rows["ü/with text"].text == "One line, and another"
    assert rows["lrs"].text == "LIKE LRS"
    assert (rows["talk"].text, rows["talk"].audio) == ("Hello there, you & me later", "talk.wav")
    assert rows["only sound"].frames == 0 and rows["talk"].frames is None
    assert {(row.language, row.split) for row in rows.values()} == {("en", "test")}
    parts = [row for row in folder.scan(root, max_s=5) if row.path == "talk.mkv"]
    assert [(row.id, row.start_s, row.end_s, row.text) for row in parts] == [
        ("talk_00", 1.0, 3.0, "Hello there, you & me"),
        ("talk_01", 60.5, 61.5, "later"),
    ]


def test_folder_with_a_table(tmp_path: Path) -> None:
    header = "File,Transcription,speaker,start_s,end_s"
    lines = [header, "a.mp4,first,s1,0,1.5", "a.mp4,second,s1,2,3", "b,third,s2,,", "gone.mp4,x,,,", ""]
    table = "\r\n".join(lines)
    root = put(tmp_path, {"a.mp4": "", "b.mp4": "", "c.mp4": "", "transcripts.csv": table})
    manifest = folder.scan(root)
    assert [(row.id, row.text, row.speaker, row.start_s) for row in manifest] == [
        ("a_00", "first", "s1", 0.0),
        ("a_01", "second", "s1", 2.0),
        ("b", "third", "s2", None),
        ("c", "", "", None),
    ]
    assert [name for name, _ in manifest.skipped] == ["gone.mp4"]


def test_same_stem_twice_keeps_ids_apart(tmp_path: Path) -> None:
    manifest = folder.scan(put(tmp_path, {"a.mp4": "", "a.mov": ""}))
    assert [row.id for row in manifest] == ["a.mov", "a.mp4"]


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable clips"):
        folder.scan(tmp_path)
    put(tmp_path, {"a.mp4": "", "labels.csv": "x,y\n1,2\n"})
    with pytest.raises(DataError, match=r"labels\.csv"):
        folder.scan(tmp_path)
    put(tmp_path, {"labels.csv": "path,text\na.mp4\n"})
    with pytest.raises(DataError, match="row 2"):
        folder.scan(tmp_path)


def test_unreadable_subtitles_keep_the_clip(tmp_path: Path) -> None:
    manifest = folder.scan(put(tmp_path, {"a.mp4": "", "a.vtt": "WEBVTT\n\nno times\n"}))
    assert [(row.id, row.text) for row in manifest] == [("a", "")]
    assert "subtitles" in manifest.skipped[0][1]


def test_webvtt() -> None:
    text = "WEBVTT\n\nNOTE no cue\n\nid\n01:02.000 --> 01:03.250 align:start\nHi\nyou\n"
    assert read_cues(text) == [Cue(62.0, 63.25, "Hi you")]
    with pytest.raises(DataError, match="ends before"):
        read_cues("00:02.000 --> 00:01.000\nx\n")


def test_join_cues_keeps_the_limit() -> None:
    cues = [Cue(i, i + 0.9, str(i)) for i in range(7)] + [Cue(10, 30, "long")]
    joined = join_cues(cues, 3.0)
    assert [cue.text for cue in joined] == ["0 1 2", "3 4 5", "6", "long"]
    assert all(cue.end_s - cue.start_s <= 3 for cue in joined[:-1])


# ------------------------------------------------------------------------------------------------------- NIST


def test_word_lists() -> None:
    lists = nist_mrt.WORD_LISTS
    assert len(lists) == 50 and all(len(set(words)) == 6 for words in lists)
    # Each list varies one consonant: its words share their beginning or their end (as far as spelling shows).
    shared = [
        max(len({word[:n] for word in words}) == 1 or len({word[-n:] for word in words}) == 1 for n in (1, 2))
        for words in lists
    ]
    assert sum(shared) >= 48


def test_nist_mrt(tmp_path: Path) -> None:
    sound = tmp_path / "x.wav"
    write_audio(sound, Audio(np.zeros(4800, np.float32), 48000))
    wheel = tmp_path / "mcvqoe_intelligibility-1.1.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("F1_b1_w1", "F1_b50_w6", "M3_b10_w2", "M4_b10_w2"):
            archive.write(sound, f"mcvqoe/intelligibility/audio_clips/{name}_orig.wav")
        archive.writestr("mcvqoe/intelligibility/__init__.py", "")
        archive.writestr("../../F1_b2_w1_orig.wav", sound.read_bytes())
    root = nist_mrt.unpack(wheel, tmp_path / "out" / "mrt")
    assert len(list(root.iterdir())) == 5 and not list(tmp_path.glob("F1*"))
    manifest = nist_mrt.scan(root, test_talker="M4", val_words=(6,))
    assert {row.id: (row.text, row.split) for row in manifest} == {
        "F1_b1_w1": ("PLEASE SELECT THE WORD WENT", "train"),
        "F1_b2_w1": ("PLEASE SELECT THE WORD HOLD", "train"),
        "F1_b50_w6": ("PLEASE SELECT THE WORD NUN", "val"),
        "M3_b10_w2": ("PLEASE SELECT THE WORD SIN", "train"),
        "M4_b10_w2": ("PLEASE SELECT THE WORD SIN", "test"),
    }
    assert manifest.lengths() == [2] * 5


def test_nist_mrt_errors(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"a\.whl"):
        nist_mrt.unpack(tmp_path / "a.whl", tmp_path / "out")
    with pytest.raises(ConfigError, match="F1"):
        nist_mrt.scan(tmp_path, test_talker="F2")
    with pytest.raises(DataError, match="no usable clips"):
        nist_mrt.scan(tmp_path)
