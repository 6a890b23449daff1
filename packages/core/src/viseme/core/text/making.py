"""The text units that a configuration asks for: read from files, taken from a model, or made from the training text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from viseme.core.errors import ConfigError
from viseme.core.text.listed import ListedUnits
from viseme.core.text.storage import load_tokenizer
from viseme.core.text.tokenizers import CharUnits, SentencePieceUnits, Tokenizer, WordUnits
from viseme.core.text.training import train_sentencepiece
from viseme.core.text.units import UnitList

__all__ = ["UnitsOptions", "make_tokenizer", "units_of"]


def make_tokenizer(
    units: str,
    texts: Sequence[str] | None = None,
    *,
    model: str | Path | None = None,
    file: str | Path | None = None,
    size: int = 1000,
    normaliser: str = "none",
) -> Tokenizer:
    """Units by what is said of them.

    Args:
        units: `words`, `chars` or `sentencepiece`, made from `texts`; or a model directory to take them from.
        texts: training text; None where units must not be made.
        model, file: a SentencePiece model and its units file, instead of `units`; a file alone gives `ListedUnits`.
        size: pieces of a SentencePiece model to make.
        normaliser: applied to text before splitting, by name.

    Raises:
        ConfigError: units that are neither given nor can be made.
        CheckpointError, DataError: unreadable units.
    """
    if model and not file:
        raise ConfigError("a SentencePiece model needs its units file", got=str(model))
    if file:
        return SentencePieceUnits(model, file, normaliser) if model else ListedUnits(UnitList.read(file), normaliser)
    if units not in ("words", "chars", "sentencepiece"):
        return load_tokenizer(units)
    if texts is None:
        raise ConfigError("no text to make units from", got=units)
    match units:
        case "words":
            return WordUnits.from_texts(texts, normaliser)
        case "chars":
            return CharUnits.from_texts(texts, normaliser)
    return train_sentencepiece(texts, vocab_size=size, normaliser=normaliser)


class UnitsOptions(Protocol):
    """The part of a data configuration that says what a recogniser's units are; see `make_tokenizer`."""

    @property
    def units(self) -> str: ...
    @property
    def units_model(self) -> str | None: ...
    @property
    def units_file(self) -> str | None: ...
    @property
    def units_size(self) -> int: ...
    @property
    def normaliser(self) -> str: ...


def units_of(options: UnitsOptions, texts: Sequence[str] | None) -> Tokenizer:
    """`make_tokenizer` as a configuration says; raises as that does."""
    return make_tokenizer(
        options.units,
        texts,
        model=options.units_model,
        file=options.units_file,
        size=options.units_size,
        normaliser=options.normaliser,
    )
