"""`avsr transcribe` and `avsr features`: long recordings, folders, standard input, subtitles, word times, faces."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.avsr.cli import app
from viseme.avsr.language_model import LMConfig, save_language_model
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.pipeline import AVSR, Search
from viseme.avsr.recording import PART_S, RecordingReader
from viseme.avsr.subtitles import cues, to_srt, to_vtt
from viseme.avsr.transcript import Transcript, Word, join
from viseme.core.data import Manifest
from viseme.core.errors import ConfigError
from viseme.core.media import read_clip, read_video, write_audio, write_video
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.text import CharUnits
from viseme.core.types import Audio, Video

UNITS = CharUnits.from_texts(["A B C D E"])


@pytest.fixture(scope="module")
def clips(embedded_corpus: Path) -> list[Path]:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    speakers = {row.speaker: manifest.file(row) for row in manifest}
    return list(speakers.values())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model that hears letters in anything (its CTC head prefers units to blanks)."""
    torch.manual_seed(1)
    config = AVSRConfig.preset("tiny", "audiovisual", vocabulary=UNITS.size, optional_modalities=True)
    network = AVSRModel(config)
    with torch.no_grad():
        network.ctc.ctc_lo.weight.mul_(3)
    return AVSR(network, UNITS, device="cpu").save(tmp_path_factory.mktemp("model") / "any")


@pytest.fixture(scope="module")
def long_video(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 s: one face, then a cut to another face, with a second of silence in the first half."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    frames, sounds = [], []
    for clip, seconds in ((clips[0], 13), (clips[1], 27)):
        read = read_clip(clip)
        assert read.video is not None and read.audio is not None
        count = len(read.video.frames)
        wanted = np.arange(seconds * 25) % (2 * count - 2)  # back and forth: no jump
        frames.append(read.video.frames[np.where(wanted < count, wanted, 2 * count - 2 - wanted)])
        sounds.append(np.resize(read.audio.samples, seconds * 16000))
    sound = np.concatenate(sounds)
    sound[int(26.5 * 16000) : int(27.5 * 16000)] = 0
    write_video(path, Video(np.concatenate(frames), 25.0), Audio(sound, 16000))
    return path


def run(*words: object) -> tuple[int, str, str]:
    outcome = run_command(app, [*words, "--device", "cpu"])
    return outcome.code, outcome.out, outcome.err


# ------------------------------------------------------------------------------------------------------ long recordings


def test_long_video_is_read_in_parts(model: Path, long_video: Path) -> None:
    recogniser = AVSR.from_pretrained(model, device="cpu")
    parts = list(recogniser.transcribe_parts(long_video, search=Search(greedy=True)))
    starts = [part.start_s for part in parts]
    assert starts[0] == 0 and all(part.duration_s <= PART_S for part in parts)
    ends = [part.start_s + part.duration_s for part in parts]
    assert starts[1:] == pytest.approx(ends[:-1]) and ends[-1] == pytest.approx(40, abs=0.05)
    assert starts[1] == pytest.approx(13, abs=0.05)  # the cut of the picture
    assert starts[2] == pytest.approx(27, abs=0.6)  # the silence
    whole = recogniser.transcribe(long_video, search=Search(greedy=True))
    assert whole.duration_s == pytest.approx(40, abs=0.05)
    assert [part.text for part in whole.parts] == [part.text for part in parts]
    assert whole.text == " ".join(part.text for part in parts if part.text)
    times = [word.start_s for word in whole.words]
    assert times == sorted(times) and times[-1] > 26


def test_long_sound_is_cut_where_it_is_quiet(model: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(30 * 16000).astype(np.float32) * 0.1
    noise[11 * 16000 : 12 * 16000] = 0
    write_audio(tmp_path / "long.wav", Audio(noise, 16000))
    parts = list(AVSR.from_pretrained(model, device="cpu").transcribe_parts(tmp_path / "long.wav"))
    assert parts[1].start_s == pytest.approx(11.5, abs=0.6)
    assert sum(part.duration_s for part in parts) == pytest.approx(30, abs=0.05)


def test_memory_holds_one_part(model: Path, long_video: Path) -> None:
    """Of a recording of any length no more than one part's crops exist."""
    reader = RecordingReader(AVSR.from_pretrained(model, device="cpu").model.config, AVSR.from_pretrained(model).inputs)
    sizes = [part.crops.nbytes for part in reader.parts(long_video) if part.crops is not None]
    assert len(sizes) >= 3 and max(sizes) <= PART_S * 25 * 96 * 96


# ----------------------------------------------------------------------------------------------------- several faces


@pytest.fixture(scope="module")
def two_faces(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    left, right = (read_video(path).frames[:30] for path in clips[:2])
    path = tmp_path_factory.mktemp("two") / "two.mp4"
    write_video(path, Video(np.concatenate([left, right], axis=2), 25.0))
    return path


def test_one_transcript_a_face(model: Path, two_faces: Path) -> None:
    code, out, err = run("transcribe", two_faces, "--model", model, "--greedy", "--all-faces", "--json")
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert [line["speaker"] for line in found] == [1, 2]
    single = [
        json.loads(run("transcribe", two_faces, "--model", model, "--greedy", "--face", n, "--json")[1]) for n in (1, 2)
    ]
    assert [line["tokens"] for line in found] == [line["tokens"] for line in single]
    code, out, _ = run("transcribe", two_faces, "--model", model, "--greedy", "--all-faces", "--vtt")
    assert out.startswith("WEBVTT") and "<v Face 1>" in out and "<v Face 2>" in out


def test_faces_want_video(model: Path, tmp_path: Path) -> None:
    write_audio(tmp_path / "talk.wav", Audio(np.zeros(16000, np.float32), 16000))
    check_user_error(app, ["transcribe", tmp_path / "talk.wav", "--model", model, "--all-faces"], "video to read")
    command = ["transcribe", tmp_path / "talk.wav", "--model", model, "--all-faces", "--face", "1"]
    check_user_error(app, command, "exclude one another")


# ------------------------------------------------------------------------------------------------- inputs and outputs


def test_folder(model: Path, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "b.mp4").write_bytes(clips[0].read_bytes())
    (tmp_path / "in" / "deep" / "a.MP4").write_bytes(clips[1].read_bytes())
    (tmp_path / "in" / "notes.txt").write_text("no recording")
    code, out, _ = run("transcribe", tmp_path / "in", "--model", model, "--greedy", "--json")
    assert code == 0 and [json.loads(line)["name"] for line in out.splitlines()] == ["b.mp4", "a.MP4"]
    code, _, err = run("transcribe", tmp_path / "in", "--model", model, "--greedy", "--srt", "--out", tmp_path / "out")
    assert code == 0, err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"b.srt", "a.srt"}
    check_user_error(app, ["transcribe", tmp_path / "in", "--model", model, "--srt"], "--out FOLDER")
    (tmp_path / "none").mkdir()
    check_user_error(app, ["transcribe", tmp_path / "none", "--model", model], "no recordings")


def test_standard_input(model: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(clips[0].read_bytes())

    monkeypatch.setattr(sys, "stdin", Input)
    code, out, err = run("transcribe", "-", "--model", model, "--greedy", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["name"] == "standard input"
    direct = json.loads(run("transcribe", clips[0], "--model", model, "--greedy", "--json")[1])
    assert found["tokens"] == direct["tokens"]


def test_one_format_at_a_time(model: Path, clips: list[Path]) -> None:
    check_user_error(app, ["transcribe", clips[0], "--model", model, "--srt", "--json"], "one format")


def test_nbest_and_language_model(model: Path, clips: list[Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_language_model(LMConfig(UNITS.size, 8, 16, 2, 32, 2).build(), tmp_path / "lm")
    save_language_model(LMConfig(UNITS.size + 3, 8, 16, 2, 32, 2).build(), tmp_path / "other")
    base = ("transcribe", clips[0], "--model", model, "--beam", "4", "--json", "--modality", "audio")
    plain = json.loads(run(*base, "--nbest", "3")[1])
    assert len(plain["alternatives"]) == 2 and plain["text"] not in plain["alternatives"]
    fused = json.loads(run(*base, "--lm", tmp_path / "lm", "--lm-weight", "0.5")[1])
    assert fused["score"] != plain["score"]
    check_user_error(app, [*base, "--lm", tmp_path / "other", "--lm-weight", "0.5"], "another vocabulary")
    check_user_error(app, [*base, "--lm-weight", "0.5"], "needs a language model")
    check_user_error(app, [*base, "--nbest", "0"], "nbest")
    check_user_error(app, [*base, "--ctc-weight", "2"], "ctc_weight")


def test_ctc_alone_may_want_the_whole_vocabulary(model: Path, clips: list[Path]) -> None:
    code, _, err = run(
        "transcribe", clips[0], "--model", model, "--beam", "3", "--ctc-weight", "1", "--modality", "audio"
    )
    assert code == 0, err


# --------------------------------------------------------------------------------------------------------- word times


def test_words_have_times_and_confidences(model: Path, clips: list[Path]) -> None:
    found = AVSR.from_pretrained(model, device="cpu").transcribe(clips[0], search=Search(greedy=True))
    assert " ".join(word.text for word in found.words) == found.text
    for word in found.words:
        assert 0 <= word.start_s < word.end_s <= found.duration_s
        assert 0 < word.confidence <= 1
    assert all(a.end_s <= b.start_s for a, b in zip(found.words, found.words[1:]))


def part(words: list[Word], start_s: float = 0.0, speaker: int | None = None) -> Transcript:
    text = " ".join(word.text for word in words)
    return Transcript(
        text, (1,) * len(words), 0.5, -1.0, "video", 5.0, words=tuple(words), start_s=start_s, speaker=speaker
    )


def test_subtitles() -> None:
    words = [Word("HELLO", 0.04, 0.4, 1.0), Word("WORLD", 0.5, 0.9, 1.0), Word("<unk>", 3.0, 3.04, 1.0)]
    found = to_srt([part(words)])
    assert found.startswith("1\n00:00:00,040 --> 00:00:00,900\nHELLO WORLD\n\n2\n00:00:03,000 --> 00:00:03,800\n<unk>")
    assert "&lt;unk&gt;" in to_vtt([part(words, speaker=2)]) and "<v Face 2>HELLO" in to_vtt([part(words, speaker=2)])
    many = [Word(f"WORD{i:02d}", i * 0.3, i * 0.3 + 0.2, 1.0) for i in range(60)]
    for cue in cues([part(many)]):
        assert cue.end_s - cue.start_s <= 6.0 and len(cue.text) <= 84
    timeless = Transcript("NO TIMES", (1, 2), 0.5, -1.0, "video", 2.0, start_s=3661.0)
    assert "01:01:01,000 --> 01:01:03,000" in to_srt([timeless])
    assert to_srt([]) == "" and to_vtt([]) == "WEBVTT\n"


def test_joined_parts() -> None:
    first, second = part([Word("A", 0.0, 0.5, 1.0)]), part([Word("B", 5.0, 5.5, 1.0)], start_s=5.0)
    silent = Transcript("", (), 0.0, -2.0, "audio", 4.0, notes=("no words found",), start_s=10.0)
    whole = join([first, second, silent], name="x", duration_s=14.0)
    assert (whole.text, whole.confidence, whole.score, whole.notes) == ("A B", 0.5, -4.0, ())
    assert len(whole.parts) == 3 and whole.modality == "audiovisual"
    assert join([silent], name="x", duration_s=4.0).notes == ("no words found",)


# ----------------------------------------------------------------------------------------------------------- features


def test_features(model: Path, clips: list[Path], tmp_path: Path) -> None:
    code, out, err = run("features", clips[0], "--model", model, "--out", tmp_path)
    assert code == 0 and "encoder" in out, err
    recogniser = AVSR.from_pretrained(model, device="cpu")
    recording = recogniser.load(clips[0])
    with np.load(tmp_path / f"{clips[0].stem}.npz") as found:
        with torch.inference_mode():
            np.testing.assert_array_equal(found["encoder"], recogniser.encode(recording).numpy())
        assert found["encoder"].shape == (recording.frames, 32)
    code, _, _ = run("features", clips[0], "--model", model, "--out", tmp_path, "--layer", "frontend")
    with np.load(tmp_path / f"{clips[0].stem}.npz") as found:
        assert {name: found[name].shape for name in found} == {n: (recording.frames, 16) for n in ("video", "audio")}


def test_features_of_a_modality_the_model_lacks() -> None:
    network = AVSRModel(AVSRConfig.preset("tiny", "video", vocabulary=UNITS.size)).eval()
    with pytest.raises(ConfigError, match="does not fit"):
        network.frontend_features(None, torch.zeros(1, 640, 1))
