"""Caption scores on cases that can be seen through (the published figures are among the parity tests)."""

from __future__ import annotations

import pytest

from viseme.core.errors import ConfigError, DataError, DependencyError
from viseme.core.metrics.captions import bleu, caption_scores, cider, ptb_tokenise, rouge_l, sacre_bleu
from viseme.core.metrics.captions_java import METEOR_JAR, find_jar
from viseme.core.metrics.recogniser import load_recogniser

CAPTIONS = ["a red ball above a blue box", "two dogs run on the green grass", "a man rides a wave on a board"]


def test_the_right_caption_has_the_best_scores() -> None:
    perfect = caption_scores([[text] for text in CAPTIONS], CAPTIONS).corpus
    assert perfect["Bleu_4"] == pytest.approx(1, abs=1e-6) and perfect["ROUGE_L"] == pytest.approx(1)
    assert perfect["CIDEr"] == pytest.approx(10, abs=1e-6)
    swapped = caption_scores([[text] for text in CAPTIONS], CAPTIONS[1:] + CAPTIONS[:1]).corpus
    assert all(swapped[name] < 0.3 * perfect[name] for name in ("Bleu_4", "ROUGE_L", "CIDEr"))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A dog, running!", "a dog running"),
        ("There's a man (he can't swim).", "there 's a man he ca n't swim"),
        ("It cannot be 3.5 metres; 10:30 a.m.", "it can not be 3.5 metres 10:30 a.m."),
        ('A T-shirt -- blue/white & "new"', "a t-shirt blue / white & new"),
        ("men's room", "men 's room"),
        ("  ", ""),
        ("Ein Café, naïve", "ein café naïve"),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert ptb_tokenise(text).replace("-lrb- ", "") == tokens


def test_brevity_and_clipping() -> None:
    corpus, single = bleu([["the cat is on the mat"]], ["the the the the"])
    assert single[0][0] == pytest.approx(2 / 4 * 2.718281828 ** (1 - 6 / 4), rel=1e-4)
    assert corpus[0] == single[0][0]
    assert sacre_bleu([["the cat is on the mat"]], ["the cat is on the mat"]).score == pytest.approx(100)
    assert sacre_bleu([["the cat"]], [" "]).score == 0
    assert "BP = 1.000" in str(sacre_bleu([["a b c d e"]], ["a b c d e"]))


def test_rouge_takes_the_longest_common_subsequence() -> None:
    (score,) = rouge_l([["a b c d"]], ["a x c d"])
    assert score == pytest.approx(0.75)
    assert rouge_l([["a b"]], [""]) == [0.0]
    assert cider([["a b"], ["c d"]], ["", "c d"])[0] == 0.0


def test_nothing_to_score() -> None:
    for references, hypotheses in (([], []), ([[]], ["a"]), ([["a"]], ["a", "b"])):
        with pytest.raises(DataError):
            caption_scores(references, hypotheses)


def test_java_scores_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISEME_METEOR_JAR", "/nowhere/meteor.jar")
    with pytest.raises(DependencyError, match="meteor"):
        find_jar(METEOR_JAR)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DependencyError, match="Java"):
        find_jar(METEOR_JAR)


def test_recognisers_by_name() -> None:
    for spec in ("", "avsr", "other:x", "whisper:"):
        with pytest.raises(ConfigError, match="no such recogniser"):
            load_recogniser(spec)
