"""Sentences, voices and mouth shapes of the embedded corpus."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from viseme.core.errors import DataError, DependencyError
from viseme.core.synthetic import PARAMETERS, SPEAKERS, VISEMES, Phoneme, make_corpus, mouth_track, synthesise
from viseme.core.synthetic.grid import GRAMMAR, SENTENCES, SPLITS, draw_sentence, sentence, split_of_sentence
from viseme.core.synthetic.visemes import visemes_of


@pytest.fixture
def espeak() -> None:
    pytest.importorskip("espeakng_loader", reason="speaks with espeak-ng (viseme-core[synthetic])")


def column(track: np.ndarray, name: str) -> np.ndarray:
    return track[:, PARAMETERS.index(name)]


def test_grammar_is_grids() -> None:
    assert SENTENCES == 64000
    assert sentence(0) == ("bin", "blue", "at", "A", "zero", "again")
    assert len({sentence(k) for k in range(0, SENTENCES, 7)}) == len(range(0, SENTENCES, 7))
    with pytest.raises(ValueError, match="index"):
        sentence(SENTENCES)


def test_every_sentence_has_one_split() -> None:
    share = Counter(split_of_sentence(sentence(k)) for k in range(0, SENTENCES, 5))
    assert set(share) == set(SPLITS)
    assert share["trainval"] / share.total() == pytest.approx(0.8, abs=0.02)
    rng = np.random.default_rng(0)
    for split in SPLITS:
        assert all(split_of_sentence(draw_sentence(split, rng)) == split for _ in range(20))


def test_speakers_share_no_face_and_no_voice() -> None:
    assert Counter(s.split for s in SPEAKERS) == {"trainval": 18, "val": 3, "test": 3}
    for part in (lambda s: s.identity, lambda s: s.name, lambda s: s.voice.split("+")[1]):
        assert len({part(s) for s in SPEAKERS}) == len(SPEAKERS)


def test_speech_depends_on_its_arguments_only(espeak: None) -> None:
    words = ("bin", "blue", "at", "F", "two", "now")
    first = synthesise(words, "en-us+f2", pitch=40)
    synthesise(("set", "red"), "en-gb-x-rp+m3", words_per_minute=200)
    again = synthesise(words, "en-us+f2", pitch=40)
    assert np.array_equal(first.audio.samples, again.audio.samples)
    assert first.phonemes == again.phonemes and first.words == again.words
    other = synthesise(words, "en-us+f2", pitch=70)
    assert not np.array_equal(first.audio.samples, other.audio.samples[: len(first.audio.samples)])


def test_words_have_their_times(espeak: None) -> None:
    speech = synthesise(("place", "white", "with", "A", "nine", "please"), "en-us")
    assert [w.text for w in speech.words] == ["place", "white", "with", "A", "nine", "please"]
    assert all(0.03 < w.end_s - w.start_s < 1 for w in speech.words)
    assert all(a.end_s == b.start_s for a, b in zip(speech.words, speech.words[1:], strict=False))
    assert speech.words[-1].end_s <= speech.audio.duration_s
    letter = speech.words[3]
    sounds = "".join(p.symbol for p in speech.phonemes if letter.start_s <= p.start_s < letter.end_s)
    assert "eɪ" in sounds, "A is the letter, not the article"


def test_every_voice_can_be_seen(espeak: None) -> None:
    for speaker in SPEAKERS:
        for slot in GRAMMAR:
            for phoneme in synthesise(slot[:10], speaker.voice).phonemes:
                assert set(visemes_of(phoneme.symbol)) <= set(VISEMES)


def test_unknown_voice_and_phoneme(espeak: None) -> None:
    with pytest.raises(DataError, match="voice"):
        synthesise(("bin",), "en-nowhere")
    with pytest.raises(DataError, match="viseme"):
        visemes_of("ɮ")


def test_without_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DependencyError, match=r"viseme-core\[synthetic\]"):
        make_corpus(tmp_path / "corpus", 4)
    assert not list(tmp_path.rglob("*.mp4"))


def test_visemes_of_marked_and_compound_symbols() -> None:
    assert visemes_of("ˈaɪ") == ("a", "ih")
    assert visemes_of("dʒ") == ("sh",)
    assert visemes_of("t̪") == ("t",)
    assert visemes_of("") == ("silence",)


@pytest.mark.parametrize(
    ("symbol", "raised"), [("b", "press"), ("v", "tuck"), ("θ", "dental"), ("w", "round"), ("l", "tongue")]
)
def test_a_short_consonant_between_vowels_shows(symbol: str, raised: str) -> None:
    word = [Phoneme("ɑ", 0.2, 0.4), Phoneme(symbol, 0.4, 0.46), Phoneme("ɑ", 0.46, 0.7)]
    track = mouth_track(word, 25, 25.0)
    assert track.shape == (25, len(PARAMETERS)) and track.dtype == np.float32
    assert track.min() >= 0 and track.max() <= 1
    shown = column(track, raised)
    assert shown[10] > 0.6 and shown[10] > 2 * shown[6]
    if symbol == "b":
        assert column(track, "open")[10] < 0.05, "lips meet"
    assert column(track, "open")[6] > 0.5


def test_rounding_is_anticipated_where_the_consonant_does_not_care() -> None:
    def before(vowel: str) -> float:
        return float(column(mouth_track([Phoneme("t", 0.1, 0.2), Phoneme(vowel, 0.2, 0.4)], 12, 25.0), "round")[3])

    assert before("u") > 0.25 + before("i")
