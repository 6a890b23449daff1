"""Pseudo-labels: resumable, filtered, named; and the recognisers' confidence and language."""

from __future__ import annotations

import csv
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from viseme.core.cli.viseme import main
from viseme.core.data import Manifest, ManifestRow, pack
from viseme.core.errors import ConfigError, DataError
from viseme.core.metrics.labelling import label
from viseme.core.metrics.recogniser import Heard, hear, load_recogniser
from viseme.core.testing import clips


class Listener:
    """Hears the pitch of a tone: says what is in the list at that place."""

    def __init__(self, *heard: Heard, name: str = "listener") -> None:
        self.heard, self.name, self.calls = heard, name, 0

    def hear(self, recordings) -> list[Heard]:
        self.calls += len(recordings)
        return [self.heard[int(np.abs(np.fft.rfft(x)).argmax() * 16000 / len(x) / 400 + 0.5) - 1] for x in recordings]

    def __call__(self, recordings) -> list[str]:
        return [heard.text for heard in self.hear(recordings)]


SAID = (
    Heard("Hello, world!", 0.9, "en"),
    Heard("Bonjour.", 0.95, "fr"),
    Heard("mumble", 0.2, "en"),
    Heard(" ... ", 0.9, "en"),
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = [ManifestRow("told", "audio/0.flac", text="OLD WORDS", samples=16000, rate=16000, frames=0)]
    (tmp_path / "audio").mkdir()
    for number in range(4):
        tone = 0.3 * np.sin(2 * np.pi * 400 * (number + 1) * np.arange(16000) / 16000)
        clips.write_sound(tmp_path / f"audio/{number}.flac", sound=tone.astype(np.float32), rate=16000)
        rows.append(ManifestRow(f"spk/{number}", f"audio/{number}.flac", frames=0, samples=16000, rate=16000))
    rows.append(ManifestRow("gone", "audio/gone.flac", frames=0, samples=16000, rate=16000))
    Manifest(rows, tmp_path).write(tmp_path / "manifest.csv")
    return tmp_path


def test_clips_without_transcript_get_one_and_the_others_keep_theirs(store: Path):
    report = label(store, Listener(*SAID), languages=["en"], min_confidence=0.5)
    written = Manifest.read(store / "manifest_labelled.csv")
    assert written == report.manifest
    assert [(row.id, row.text) for row in written] == [("told", "OLD WORDS"), ("spk/0", "HELLO WORLD")]
    assert written[1].language == "en"
    assert written[1].extra == {"text_by": "listener", "text_confidence": "0.900", "text_normaliser": "auto_avsr"}
    assert report.rejected["spk/1"] == "language fr" and report.rejected["spk/2"] == "confidence 0.200"
    assert report.rejected["spk/3"] == "nothing was heard" and "gone" in report.rejected
    with (store / "labels_rejected.csv").open(newline="") as file:
        assert {line["id"] for line in csv.DictReader(file)} == set(report.rejected)


def test_what_was_heard_is_kept_and_filters_may_change(store: Path):
    listener = Listener(*SAID)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(store, listener, batch=2, progress=stop)
    assert listener.calls == 2
    (journal,) = (store / ".label").glob("*.jsonl")
    journal.write_bytes(journal.read_bytes()[:-9])  # torn: the last of the two is heard again
    report = label(store, listener, batch=2)
    assert report.reused == 1 and listener.calls == 2 + 3 and report.labelled == 3
    assert label(store, listener, languages=["fr"]).labelled == 1 and listener.calls == 5 + 0
    assert label(store, Listener(*SAID, name="another"), batch=2).reused == 0


def test_packed_stores_and_other_places(store: Path, tmp_path: Path):
    pack(store, tmp_path / "packed")
    report = label(tmp_path / "packed", Listener(*SAID), out=tmp_path / "else" / "m.csv", relabel=True)
    moved = Manifest.read(tmp_path / "else" / "m.csv")
    assert [row.text for row in moved] == ["HELLO WORLD", "HELLO WORLD", "BONJOUR", "MUMBLE"]
    assert moved.file(moved[0]).as_posix().startswith(str(tmp_path / "packed")) and report.labelled == 4


def test_filters_that_a_recogniser_cannot_serve(store: Path):
    class Plain:
        name = "plain"

        def __call__(self, recordings):
            return ["words"] * len(recordings)

    assert hear(Plain(), [np.zeros(5)]) == [Heard("words")]
    for options, match in ({"languages": ["en"]}, "languages apart"), ({"min_confidence": 0.1}, "no confidence"):
        with pytest.raises(DataError, match=match):
            label(store, Plain(), **options)
    with pytest.raises(DataError, match="no clip has a transcript"):
        label(store, Listener(*[Heard("", 0.9, "en")] * 4), relabel=True)


def test_whisper_says_how_sure_it_is_and_in_what_language(monkeypatch):
    """Of faster-whisper's own answer: segments with mean log-probabilities, and the language."""
    segment = types.SimpleNamespace(text=" Good day.", tokens=[1, 2, 3], avg_logprob=-0.1)
    other = types.SimpleNamespace(text=" Sir.", tokens=[1], avg_logprob=-0.5)
    asked = {}

    class WhisperModel:
        def __init__(self, name, device, compute_type):
            asked["name"] = name

        def transcribe(self, samples, **options):
            return iter([segment, other]), types.SimpleNamespace(language="en")

    monkeypatch.setitem(sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=WhisperModel))
    (heard,) = load_recogniser("whisper:small").hear([np.zeros(100)])
    assert heard == Heard("Good day. Sir.", pytest.approx(np.exp(-0.2)), "en") and asked["name"] == "small"


def test_a_transformers_model_says_how_sure_it_is(tmp_path: Path):
    transformers = pytest.importorskip(
        "transformers", reason="a user's choice of recogniser; whisper's is tested above"
    )
    letters = {letter: number for number, letter in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B"])}
    (tmp_path / "vocab.json").write_text(json.dumps(letters))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    features = transformers.Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16000, padding_value=0.0)
    transformers.Wav2Vec2Processor(features, tokenizer).save_pretrained(tmp_path / "model")
    config = transformers.Wav2Vec2Config(
        vocab_size=7, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=[8] * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    transformers.Wav2Vec2ForCTC(config).save_pretrained(tmp_path / "model")
    recogniser = load_recogniser(f"transformers:{tmp_path / 'model'}")
    noise = np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    (heard,) = hear(recogniser, [noise])
    assert 0 <= heard.confidence <= 1 and heard.language == ""
    assert recogniser([noise]) == [heard.text.lower()]


def test_command_line(store: Path, monkeypatch, capsys):
    monkeypatch.setattr("viseme.core.metrics.recogniser.load_recogniser", lambda spec, device: Listener(*SAID))
    assert main(["label", str(store), "--asr", "whisper:x", "--languages", "en,fr", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labelled"] == 3
    monkeypatch.undo()
    with pytest.raises(ConfigError):
        load_recogniser("nonsense")
    assert main(["label", str(store), "--asr", "nonsense"]) == 2
