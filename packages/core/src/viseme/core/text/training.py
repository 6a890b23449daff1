"""Training sub-word units on one's own text, as Auto-AVSR's units were made."""

from __future__ import annotations

import io
from collections.abc import Iterable

from viseme.core.errors import ConfigError, DataError, DependencyError
from viseme.core.text.normalise import normalise
from viseme.core.text.tokenizers import SentencePieceUnits, load_sentencepiece
from viseme.core.text.units import UNKNOWN, UnitList

__all__ = ["train_sentencepiece"]


def train_sentencepiece(
    texts: Iterable[str], *, vocab_size: int = 5000, model_type: str = "unigram", normaliser: str = "none"
) -> SentencePieceUnits:
    """A SentencePiece model of `texts` and its unit list: the pieces that occur in them by code point, after `<unk>`.

    Args:
        texts: sentences; normalised first, empty ones dropped.
        vocab_size: pieces of the model, its own marks included.
        model_type: `unigram` (as published), `bpe`, `char` or `word`.
        normaliser: applied here and kept for `encode`.

    Raises:
        DataError: no text.
        ConfigError: the text cannot give a vocabulary of this size.
        DependencyError: sentencepiece is not installed.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise DependencyError("training units needs sentencepiece", hint="pip install 'viseme-core[text]'") from error
    sentences = [line for text in texts if (line := " ".join(normalise(text, normaliser).split()))]
    if not sentences:
        raise DataError("no text to train units on")
    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(sentences),
            model_writer=writer,
            vocab_size=vocab_size,
            model_type=model_type,
            input_sentence_size=100_000_000,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"cannot train {vocab_size} {model_type} units on {len(sentences)} sentences",
            got=str(error).strip().splitlines()[-1].rstrip("."),
            hint="Choose another vocab_size.",
        ) from error
    processor = load_sentencepiece(writer.getvalue(), None)
    found = {piece for pieces in processor.encode(sentences, out_type=str) for piece in pieces}
    return SentencePieceUnits(writer.getvalue(), UnitList([UNKNOWN, *sorted(found - {UNKNOWN})]), normaliser)
