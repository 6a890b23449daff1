"""Caption scores as the COCO caption tools define them, without Java: BLEU-1..4, ROUGE-L, CIDEr, the tokenisation that
they see, and sacreBLEU's corpus score. (METEOR and SPICE need Java: `captions_java`.)

Texts are given per image: one hypothesis, any number of references. Scores are shares (0.259 is a BLEU-4 of 25.9);
CIDEr is on its usual scale of 0 to 10.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from viseme.core.errors import DataError

__all__ = ["CaptionScores", "SacreBleu", "bleu", "caption_scores", "cider", "ptb_tokenise", "rouge_l", "sacre_bleu"]

Grams = Counter[tuple[str, ...]]

# Chen et al. 2015 keep these out of every score.
_PUNCTUATION = {
    "''",
    "'",
    "``",
    "`",
    "-lrb-",
    "-rrb-",
    "-lcb-",
    "-rcb-",
    ".",
    "?",
    "!",
    ",",
    ":",
    "-",
    "--",
    "...",
    ";",
}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "{": "-lcb-", "}": "-rcb-"}
_TOKEN = re.compile(
    r"""\.\.\.|--+                                  # ellipsis, dashes
    |(?:[a-z]\.){2,}                                # u.s.
    |\d+(?:[.,:/]\d+)*(?:st|nd|rd|th)?(?:-[a-z]+)*  # 3.5, 10:30, 2nd, 3-legged
    |[^\W\d_]+(?:[-'&][^\W_]+)*[^\W_]*              # words, hyphens and apostrophes inside
    |``|''|'\w+|\S""",
    re.VERBOSE,
)
_CONTRACTION = re.compile(r"(.+?)(n't|'s|'m|'d|'ll|'re|'ve)")
_MERGED = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "lemme": "lem me",
    "gimme": "gim me",
}


def ptb_tokenise(text: str) -> str:
    """Lower-case Penn-Treebank tokens joined by blanks, punctuation left out, as the COCO tools compare them.

    The rules that occur in captions, not the whole of CoreNLP: contractions (`there 's`, `do n't`), numbers,
    hyphenated words, abbreviations.
    """
    tokens: list[str] = []
    for token in _TOKEN.findall(text.lower().replace("’", "'").replace("“", "``").replace("”", "''")):
        if match := _CONTRACTION.fullmatch(token):
            tokens += match.groups()
        elif token in _MERGED:
            tokens += _MERGED[token].split()
        else:
            tokens.append(_BRACKETS.get(token, token))
    return " ".join(token for token in tokens if token not in _PUNCTUATION and token.strip('"'))


def _grams(text: str, order: int = 4) -> Grams:
    words = text.split()
    return Counter(tuple(words[i : i + n]) for n in range(1, order + 1) for i in range(len(words) - n + 1))


def _check(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise DataError("each hypothesis needs its references", expected=len(references), got=len(hypotheses))
    if not hypotheses or not all(references):
        raise DataError("no captions to score, or an image without references")


# ------------------------------------------------------------------------------------------------------------ BLEU

_SMALL, _TINY = 1e-9, 1e-15


def _bleu_of(correct: Sequence[int], guessed: Sequence[int], length: int, reference: int) -> list[float]:
    """BLEU-1..n of counts; tiny numbers keep what has no match from being nothing at all, as the COCO tools have it."""
    scores, product = [], 1.0
    ratio = (length + _TINY) / (reference + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    for n, (right, all_) in enumerate(zip(correct, guessed), start=1):
        product *= (right + _TINY) / (all_ + _SMALL)
        scores.append(product ** (1 / n) * brevity)
    return scores


def bleu(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str], order: int = 4
) -> tuple[list[float], list[list[float]]]:
    """BLEU-1..`order` (Papineni et al. 2002) over all images, and of each image: `[score of n]`, `[n][image]`.

    The reference length is the closest one. Texts are tokenised already.
    """
    _check(references, hypotheses)
    total_correct, total_guessed, total_length, total_reference = [0] * order, [0] * order, 0, 0
    single: list[list[float]] = [[] for _ in range(order)]
    for texts, hypothesis in zip(references, hypotheses):
        length = len(hypothesis.split())
        closest = min((abs(len(text.split()) - length), len(text.split())) for text in texts)[1]
        most: Grams = Counter()
        for text in texts:
            most |= _grams(text, order)
        matched = _grams(hypothesis, order) & most
        correct = [sum(count for gram, count in matched.items() if len(gram) == n) for n in range(1, order + 1)]
        guessed = [max(0, length - n) for n in range(order)]
        for scores, score in zip(single, _bleu_of(correct, guessed, length, closest)):
            scores.append(score)
        total_correct = [a + b for a, b in zip(total_correct, correct)]
        total_guessed = [a + b for a, b in zip(total_guessed, guessed)]
        total_length, total_reference = total_length + length, total_reference + closest
    return _bleu_of(total_correct, total_guessed, total_length, total_reference), single


# --------------------------------------------------------------------------------------------------------- ROUGE-L


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = diagonal + 1 if word == other else max(above, row[column - 1])
            diagonal = above
    return row[-1]


def rouge_l(references: Sequence[Sequence[str]], hypotheses: Sequence[str], beta: float = 1.2) -> list[float]:
    """ROUGE-L (Lin 2004) of each image: best precision and best recall over its references, weighted by `beta`."""
    _check(references, hypotheses)
    scores = []
    for texts, hypothesis in zip(references, hypotheses):
        words = hypothesis.split()
        common = [_common(text.split(), words) for text in texts]
        precision = max(c / max(1, len(words)) for c in common)
        recall = max(c / max(1, len(text.split())) for c, text in zip(common, texts))
        both = precision and recall
        scores.append((1 + beta**2) * precision * recall / (recall + beta**2 * precision) if both else 0.0)
    return scores


# ----------------------------------------------------------------------------------------------------------- CIDEr


class _Vector:
    """TF-IDF weights of a text's n-grams by n, their norms, and its length in bigrams (as published)."""

    def __init__(self, grams: Grams, documents: Mapping[tuple[str, ...], int], images: float) -> None:
        self.weights: list[dict[tuple[str, ...], float]] = [{}, {}, {}, {}]
        for gram, count in grams.items():
            rarity = images - math.log(max(1.0, documents.get(gram, 0)))
            self.weights[len(gram) - 1][gram] = count * rarity
        self.norms = [math.sqrt(sum(w * w for w in weights.values())) for weights in self.weights]
        self.length = sum(count for gram, count in grams.items() if len(gram) == 2)

    def similarity(self, reference: _Vector, sigma: float) -> list[float]:
        closeness = math.exp(-((self.length - reference.length) ** 2) / (2 * sigma**2))
        values = []
        for mine, theirs, norm, other in zip(self.weights, reference.weights, self.norms, reference.norms):
            product = sum(min(w, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, w in mine.items())
            values.append(product / (norm * other) * closeness if norm and other else product * closeness)
        return values


def cider(references: Sequence[Sequence[str]], hypotheses: Sequence[str], sigma: float = 6.0) -> list[float]:
    """CIDEr-D (Vedantam et al. 2015) of each image; document frequencies are those of the references given."""
    _check(references, hypotheses)
    grams = [[_grams(text) for text in texts] for texts in references]
    documents: Counter[tuple[str, ...]] = Counter()
    for texts in grams:
        documents.update({gram for counts in texts for gram in counts})
    images = math.log(len(references))
    scores = []
    for texts, hypothesis in zip(grams, hypotheses):
        vector = _Vector(_grams(hypothesis), documents, images)
        similar = [vector.similarity(_Vector(text, documents, images), sigma) for text in texts]
        scores.append(10 * sum(map(sum, similar)) / (4 * len(texts)))
    return scores


# --------------------------------------------------------------------------------------------------------- together


@dataclass(frozen=True)
class CaptionScores:
    """Scores over all images (`corpus`) and of each (`per_image`), by name: Bleu_1..4, ROUGE_L, CIDEr."""

    corpus: dict[str, float]
    per_image: dict[str, list[float]]


def caption_scores(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str], *, tokenised: bool = False
) -> CaptionScores:
    """All scores that need no Java.

    Args:
        references: texts of each image.
        hypotheses: one of each image.
        tokenised: the texts have been through `ptb_tokenise`.

    Raises:
        DataError: nothing to score, numbers that differ, or an image without references.
    """
    _check(references, hypotheses)
    if not tokenised:
        references = [[ptb_tokenise(text) for text in texts] for texts in references]
        hypotheses = [ptb_tokenise(text) for text in hypotheses]
    blended, single = bleu(references, hypotheses)
    per_image = {f"Bleu_{n}": scores for n, scores in enumerate(single, start=1)}
    per_image |= {"ROUGE_L": rouge_l(references, hypotheses), "CIDEr": cider(references, hypotheses)}
    corpus = {f"Bleu_{n}": score for n, score in enumerate(blended, start=1)}
    corpus |= {name: math.fsum(per_image[name]) / len(hypotheses) for name in ("ROUGE_L", "CIDEr")}
    return CaptionScores(corpus, per_image)


# -------------------------------------------------------------------------------------------------------- sacreBLEU


@dataclass(frozen=True)
class SacreBleu:
    """Corpus BLEU in percent, its precisions, brevity penalty and lengths; `str()` prints it as sacreBLEU does."""

    score: float
    precisions: tuple[float, ...]
    brevity: float
    hypothesis_length: int
    reference_length: int

    def __str__(self) -> str:
        ratio = self.hypothesis_length / self.reference_length if self.reference_length else 0.0
        precisions = "/".join(f"{p:.1f}" for p in self.precisions)
        return (
            f"BLEU = {self.score:.2f} {precisions} (BP = {self.brevity:.3f} ratio = {ratio:.3f} "
            f"hyp_len = {self.hypothesis_length} ref_len = {self.reference_length})"
        )


def _tokenise_13a(text: str) -> str:
    """mteval-v13a's tokenisation of one line."""
    for escaped, sign in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(escaped, sign)
    text = f" {text} "
    text = re.sub(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])", r" \1 ", text)
    text = re.sub(r"([^0-9])([\.,])", r"\1 \2 ", text)
    text = re.sub(r"([\.,])([^0-9])", r" \1 \2", text)
    text = re.sub(r"([0-9])(-)", r"\1 \2 ", text)
    return " ".join(text.split())


def sacre_bleu(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> SacreBleu:
    """Corpus BLEU with sacreBLEU's defaults (Post 2018: 13a tokens, exponential smoothing), on texts as they are."""
    _check(references, hypotheses)
    correct, guessed, length, closest_length = [0] * 4, [0] * 4, 0, 0
    for texts, hypothesis in zip(references, hypotheses):
        words = _tokenise_13a(hypothesis)
        tokenised = [_tokenise_13a(text) for text in texts]
        size = len(words.split())
        length += size
        closest_length += min((abs(len(text.split()) - size), len(text.split())) for text in tokenised)[1]
        most: Grams = Counter()
        for text in tokenised:
            most |= _grams(text)
        for gram, count in (_grams(words) & most).items():
            correct[len(gram) - 1] += count
        for n in range(4):
            guessed[n] += max(0, size - n)
    precisions, smooth = [0.0] * 4, 1.0
    for n, (right, all_) in enumerate(zip(correct, guessed)):
        if not all_:
            break
        if right:
            precisions[n] = 100 * right / all_
        else:
            smooth *= 2
            precisions[n] = 100 / (smooth * all_)
    brevity = 1.0 if length >= closest_length else math.exp(1 - closest_length / length) if length else 0.0
    score = 0.0
    if any(correct) and all(precisions):
        score = brevity * math.exp(sum(map(math.log, precisions)) / 4)
    return SacreBleu(score, tuple(precisions), brevity, length, closest_length)
