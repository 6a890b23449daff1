"""Text: normalisers by name, unit lists as the published systems number them, and tokenizers over them (SentencePiece
sub-words, characters, words) that live in model directories as `tokenizer.yaml` and the files it names."""

from __future__ import annotations

from viseme.core.text.listed import ListedUnits
from viseme.core.text.making import UnitsOptions, make_tokenizer, units_of
from viseme.core.text.normalise import NORMALISERS, normalise
from viseme.core.text.storage import TOKENIZER_FILE, load_tokenizer
from viseme.core.text.tokenizers import CharUnits, SentencePieceUnits, Tokenizer, UnitTokenizer, WordUnits
from viseme.core.text.training import train_sentencepiece
from viseme.core.text.units import UnitList

__all__ = [
    "NORMALISERS",
    "normalise",
    "UnitList",
    "Tokenizer",
    "UnitTokenizer",
    "SentencePieceUnits",
    "CharUnits",
    "WordUnits",
    "ListedUnits",
    "UnitsOptions",
    "make_tokenizer",
    "units_of",
    "train_sentencepiece",
    "load_tokenizer",
    "TOKENIZER_FILE",
]
