"""Tokenizers: round trips, unknown units, training, model directories."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viseme.core.errors import CheckpointError, ConfigError, DataError
from viseme.core.text import (
    CharUnits,
    SentencePieceUnits,
    Tokenizer,
    UnitList,
    UnitTokenizer,
    WordUnits,
    load_tokenizer,
    train_sentencepiece,
)

SENTENCES = [
    "BIN BLUE AT F TWO NOW",
    "LAY GREEN BY A NINE SOON",
    "PLACE RED IN Z ONE PLEASE",
    "SET WHITE WITH C ZERO AGAIN",
    "BIN GREEN WITH Q SEVEN SOON",
    "DON'T PLACE BLUE AT B FOUR",
]


@pytest.fixture(scope="module")
def pieces() -> SentencePieceUnits:
    return train_sentencepiece(SENTENCES, vocab_size=40)


@pytest.fixture(params=["pieces", "chars", "words"])
def tokenizer(request: pytest.FixtureRequest, pieces: SentencePieceUnits) -> UnitTokenizer:
    made = {"pieces": pieces, "chars": CharUnits.from_texts(SENTENCES), "words": WordUnits.from_texts(SENTENCES)}
    return made[request.param]


def test_round_trip(tokenizer: UnitTokenizer) -> None:
    assert isinstance(tokenizer, Tokenizer)
    for text in SENTENCES:
        ids = tokenizer.encode(text)
        assert tokenizer.decode([*ids, tokenizer.eos, -1]) == text
        assert all(tokenizer.blank < index < tokenizer.eos for index in ids)
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.unknown_rate == 0


@given(st.lists(st.sampled_from(" ".join(SENTENCES).split()), max_size=8))
def test_any_mix_of_known_words(words: list[str]) -> None:
    text = " ".join(words)
    for made in (CharUnits.from_texts(SENTENCES), WordUnits.from_texts(SENTENCES)):
        assert made.decode(made.encode(text)) == text


def test_model_directory(tokenizer: UnitTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "ein Modell")
    loaded = load_tokenizer(tmp_path / "ein Modell")
    assert loaded == tokenizer
    assert loaded.encode(SENTENCES[0]) == tokenizer.encode(SENTENCES[0])


def test_survives_the_trip_to_a_worker(tokenizer: UnitTokenizer) -> None:
    assert pickle.loads(pickle.dumps(tokenizer)).encode(SENTENCES[1]) == tokenizer.encode(SENTENCES[1])  # noqa: S301


def test_normaliser_is_applied_and_kept(tmp_path: Path) -> None:
    made = WordUnits.from_texts(["bin Blue, at f!"], normaliser="auto_avsr")
    assert made.units.tokens[1:-1] == ("<unk>", "AT", "BIN", "BLUE", "F")
    made.save(tmp_path)
    assert load_tokenizer(tmp_path).decode(load_tokenizer(tmp_path).encode("blue?")) == "BLUE"
    with pytest.raises(ConfigError):
        WordUnits(UnitList(["a"]), normaliser="nothing of the kind")


def test_high_unknown_rate_is_reported_once(tokenizer: UnitTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    fresh = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            fresh.encode("a lower case sentence, in which nothing at all is known to these units by any means")
        fresh.encode("and so on and on and on and on and on")
    assert fresh.unknown_rate > 0.2
    assert len([r for r in caplog.records if "unknown" in r.message]) == 1


def test_missing_and_altered_files(tokenizer: UnitTokenizer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.yaml"):
        load_tokenizer(tmp_path)
    tokenizer.save(tmp_path)
    with (tmp_path / "units.txt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=r"units\.txt"):
        load_tokenizer(tmp_path)
    (tmp_path / "units.txt").unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["kind: [", "kind: magic\nfiles: {}\n", "just text", ""])
def test_bad_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.yaml"):
        load_tokenizer(tmp_path)


def test_trained_units_are_those_that_occur(pieces: SentencePieceUnits) -> None:
    units = pieces.units.tokens[1:-1]
    assert units[0] == "<unk>"
    assert list(units[1:]) == sorted({piece for text in SENTENCES for piece in pieces.pieces(text)})


def test_training_errors() -> None:
    with pytest.raises(ConfigError, match="vocab_size"):
        train_sentencepiece(["A B"], vocab_size=5000)
    with pytest.raises(DataError):
        train_sentencepiece(["", "  "])
    with pytest.raises(DataError):
        CharUnits.from_texts([])


def test_not_a_sentencepiece_model(tmp_path: Path) -> None:
    (tmp_path / "a.model").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"a\.model"):
        SentencePieceUnits(tmp_path / "a.model", UnitList(["<unk>"]))
    with pytest.raises(DataError, match=r"b\.model"):
        SentencePieceUnits(tmp_path / "b.model", UnitList(["<unk>"]))
