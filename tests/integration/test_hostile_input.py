"""Files nobody should trust: damaged in any way, they give one of our errors or are read; hostile, they run nothing and
write nowhere."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.hostile import LAYOUTS, hostile_weights

from viseme.avsr.cli import app as avsr
from viseme.core.checkpoint import load_model_dir, read_arrays_pickle, read_object, read_published, save_model_dir
from viseme.core.cli import App
from viseme.core.data import Manifest
from viseme.core.data.corpora import folder, nist_mrt, online
from viseme.core.data.corpora.cues import read_cues
from viseme.core.data.labels import read_labels
from viseme.core.data.shards import Shard
from viseme.core.demo import find_models
from viseme.core.errors import VisemeError
from viseme.core.faces.landmark_files import read_landmarks
from viseme.core.metrics import collect_provenance, read_evaluation, write_evaluation
from viseme.core.testing.commands import run_command
from viseme.core.text import CharUnits, load_tokenizer
from viseme.im2speech.cli import app as im2speech
from viseme.im2speech.data import read_units
from viseme.lip2speech.cli import app as lip2speech
from viseme.raven.cli import app as raven
from viseme.wav2lip.cli import app as wav2lip

FUZZ = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,  # the same examples in every run: what CI finds can be found again
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


# ------------------------------------------------------------------------------------------------------------ damage


@dataclass(frozen=True)
class Reader:
    """A kind of file: writes a good one into a folder and returns which file to damage, and how it is read."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], object]


def _text(name: str, content: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    return make


def _model(member: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        save_model_dir(root / "model", {"package": "avsr", "a": [1, {"b": 2}]}, {"x": torch.arange(6.0)})
        return root / "model" / member

    return make


def _tokenizer(root: Path) -> Path:
    CharUnits.from_texts(["abc ab"]).save(root)
    return root / "tokenizer.yaml"


def _landmarks(kind: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        points = np.zeros((3, 68, 2), np.float32)
        path = root / f"clip.{kind}"
        if kind == "npz":
            np.savez(path, landmarks=points)
        elif kind == "npy":
            np.save(path, points)
        else:
            path.write_bytes(pickle.dumps([points[0], None, points[2]]))
        return path

    return make


def _shard(root: Path) -> Path:
    from safetensors.numpy import save_file

    frames = {"a/frames": np.zeros((2, 4, 4), np.uint8), "a/samples": np.zeros(8, np.int16)}
    save_file(frames, root / "shard.safetensors", metadata={"rows": json.dumps({"a": {"id": "a"}})})
    return root / "shard.safetensors"


def _evaluation(member: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        clips = [{"id": "a", "reference": "x y", "hypothesis": "x", "errors": 1, "words": 2}]
        provenance = collect_provenance(synthetic=True, normaliser="none", data_sha256="")
        write_evaluation(root, [{"modality": "video", "wer": 0.5}], clips, provenance)
        return root / member

    return make


def _beside_video(suffix: str, content: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / "talk.mp4").write_bytes(b"\0" * 64)
        return _text(f"talk{suffix}", content)(root)

    return make


MANIFEST = 'id,path,frames,fps,text\na,a.mp4,10,25,"hi, there"\nb,b.mp4,,,\n'
SRT = "1\n00:00:00,500 --> 00:00:02,000\nhello there\n\n2\n00:00:02,000 --> 00:00:03,000\nagain\n"
VTT = "WEBVTT\n\n00:00.500 --> 00:02.000 align:start\n<v Ann>hello</v>\n"
READERS = [
    Reader("manifest", _text("manifest.csv", MANIFEST), Manifest.read),
    Reader("label list", _text("labels.csv", "lrs3,trainval/a.mp4,25,3 4 5\nlrs3,b.mp4,9,1\n"), read_labels),
    Reader("srt", _beside_video(".srt", SRT), lambda path: folder.scan(path.parent)),
    Reader("vtt", _beside_video(".vtt", VTT), lambda path: folder.scan(path.parent)),
    Reader("transcript", _beside_video(".txt", "hello there\n"), lambda path: folder.scan(path.parent)),
    Reader("model config", _model("config.yaml"), lambda path: load_model_dir(path.parent)),
    Reader("model checksums", _model("checksums.json"), lambda path: load_model_dir(path.parent)),
    Reader("model weights", _model("model.safetensors"), lambda path: load_model_dir(path.parent)),
    Reader("demo's search for models", _model("config.yaml"), lambda path: find_models([path.parent])),
    Reader("tokenizer", _tokenizer, lambda path: load_tokenizer(path.parent)),
    Reader("landmarks npz", _landmarks("npz"), read_landmarks),
    Reader("landmarks npy", _landmarks("npy"), read_landmarks),
    Reader("landmarks pkl", _landmarks("pkl"), read_landmarks),
    Reader("pickled arrays", _landmarks("pkl"), read_arrays_pickle),
    Reader("shard", _shard, lambda path: Shard(path).get("a", "frames")),
    Reader("results", _evaluation("results.json"), read_evaluation),
    Reader("clips", _evaluation("clips.csv"), read_evaluation),
    Reader("units", _text("units.txt", "a|1 2 3\nb|4\n"), read_units),
    Reader(
        "list of online videos",
        _text("list.csv", "abc,0.0,2.5,0.5,0.5\n"),
        lambda p: online.avspeech(p.parent, lists=[p]),
    ),
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@FUZZ
@given(data=st.data())
def test_damage_of_any_kind_is_our_error_or_nothing(reader: Reader, tmp_path: Path, data: st.DataObject) -> None:
    path = reader.make(tmp_path)
    content = path.read_bytes()
    if data.draw(st.booleans(), label="a piece replaced"):
        start = data.draw(st.integers(0, len(content)), label="from")
        junk = data.draw(
            st.binary(max_size=24) | st.sampled_from([b"\0", b'"', b"\n", b"\xff\xfe", b"9" * 20, b"{" * 20])
        )
        content = content[:start] + junk + content[start + data.draw(st.integers(0, 24), label="in place of") :]
    else:
        content = data.draw(st.binary(max_size=200), label="anything")
    path.write_bytes(content)
    try:
        reader.read(path)
    except VisemeError as error:
        assert str(error)


@FUZZ
@given(text=st.text(max_size=300) | st.text(alphabet="0123456789:,.-> \n\rWEBVT<>/", max_size=200))
def test_subtitles_of_any_text(text: str) -> None:
    with contextlib.suppress(VisemeError):
        for cue in read_cues(text):
            assert cue.end_s >= cue.start_s >= 0


# ------------------------------------------------------------------------------------------------------------ hostile


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_hostile_files_are_hostile(tmp_path: Path, layout: str) -> None:
    path, flag = hostile_weights(tmp_path, layout)
    if layout == "plain":
        pickle.loads(path.read_bytes())  # noqa: S301 - that is the point
    else:
        torch.load(path, weights_only=False)
    assert flag.is_dir()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_readers_run_nothing(tmp_path: Path, layout: str) -> None:
    path, flag = hostile_weights(tmp_path, layout)
    readers = [read_published, read_object, read_landmarks]
    if layout != "legacy":  # several pickles in a row, of which this reader sees the first: a number
        readers.append(read_arrays_pickle)
    for read in readers:
        with pytest.raises(VisemeError):
            read(path)
        assert not flag.exists(), read.__name__


def entrances(evil: Path, out: Path, face: Path) -> list[tuple[App, list[object]]]:
    """Every verb and key that takes weights from outside."""
    sync = ["--face", face, "--audio", face, "--out", out / "o.mp4", "--device", "cpu"]
    return [
        (avsr, ["convert", evil, out / "m"]),
        (avsr, ["convert", evil, out / "m", "--lm", evil]),
        (avsr, ["train", "recipe=tiny", "data.root_dir=.", f"pretrained_model_path={evil}", f"exp_dir={out}"]),
        (raven, ["convert", evil, out / "m"]),
        (lip2speech, ["convert", evil, out / "m"]),
        (im2speech, ["convert", evil, out / "m"]),
        (im2speech, ["convert", evil, out / "m", "--part", "units", "--kmeans", evil]),
        (wav2lip, ["convert", evil, out / "m"]),
        (wav2lip, ["sync", *sync, "--model", evil]),
        (wav2lip, ["infer", "--checkpoint_path", evil, "--face", face, "--audio", face, "--outfile", out / "o.mp4"]),
        (wav2lip, ["score", face, "--syncnet", evil, "--tracks", evil, "--device", "cpu"]),
        (wav2lip, ["export", evil, out / "o.onnx"]),
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_entrance_runs_them(tmp_path: Path, layout: str) -> None:
    evil, flag = hostile_weights(tmp_path, layout)
    face = tmp_path / "face.mp4"
    face.write_bytes(b"\0" * 200)
    for app, words in entrances(evil, tmp_path / "out", face):
        outcome = run_command(app, words)
        line = f"{app.prog} {' '.join(map(str, words[:2]))}"
        assert not flag.exists(), f"{line} ran the file"
        assert outcome.code == 2, f"{line}: {outcome.code} {outcome.err}"
        assert "Traceback" not in outcome.err, line


def test_an_archive_writes_nowhere_else(tmp_path: Path) -> None:
    wheel, out = tmp_path / "mcvqoe.whl", tmp_path / "deep" / "out"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (
            "../../F1_b1_w1_orig.wav",
            "/tmp/F1_b1_w2_orig.wav",
            "a/../../../F1_b1_w3_orig.wav",
            "../evil.txt",
        ):
            archive.writestr(name, b"RIFF")
    with contextlib.suppress(VisemeError):
        nist_mrt.unpack(wheel, out)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert all(name == "mcvqoe.whl" or name.startswith("deep/out/") for name in written), written


def test_a_model_directory_reads_nothing_outside(tmp_path: Path) -> None:
    save_model_dir(tmp_path / "model", {"package": "avsr"}, {"x": torch.ones(1)})
    (tmp_path / "secret.txt").write_text("secret")
    listing = tmp_path / "model" / "checksums.json"
    content = json.loads(listing.read_text())
    content["files"]["../secret.txt"] = {"bytes": 6, "sha256": "0" * 64}
    listing.write_text(json.dumps(content))
    with pytest.raises(VisemeError):
        load_model_dir(tmp_path / "model")


def test_weights_that_claim_to_be_enormous(tmp_path: Path) -> None:
    """A header that promises 2**60 bytes is an error, not an attempt to allocate them."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**58], "data_offsets": [0, 2**60]}}).encode()
    for content in (struct.pack("<Q", len(header)) + header, struct.pack("<Q", 2**62) + b"{}"):
        path = tmp_path / "big.safetensors"
        path.write_bytes(content)
        with pytest.raises(VisemeError):
            read_published(path)
        with pytest.raises(VisemeError):
            Shard(path).get("x", "frames")
