"""Text to unit ids and back, by sub-words, characters or words.

All share one frame: normalise, split into units, look up. Unknown units are counted, and a high rate of them is
reported, because text in the wrong case or with punctuation otherwise trains on `<unk>` in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from viseme.core.errors import ConfigError, DataError, DependencyError
from viseme.core.files import write_bytes_atomic
from viseme.core.text.normalise import NORMALISERS, normalise
from viseme.core.text.units import SPACE, UNKNOWN, UnitList

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

__all__ = ["Tokenizer", "UnitTokenizer", "SentencePieceUnits", "CharUnits", "WordUnits", "load_sentencepiece"]

_log = logging.getLogger(__name__)


@runtime_checkable
class Tokenizer(Protocol):
    """What models, data and decoding ask of a tokenizer."""

    @property
    def size(self) -> int:
        """Number of ids, the marks included."""

    @property
    def blank(self) -> int:
        """Id of the CTC blank."""

    @property
    def sos(self) -> int:
        """Id that starts a sentence."""

    @property
    def eos(self) -> int:
        """Id that ends a sentence."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without sentence marks."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; -1 (padding) and `<eos>` are dropped."""

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.yaml` and what it names into a model directory."""


class UnitTokenizer:
    """What the tokenizers over a `UnitList` have in common.

    Args:
        units: the unit list.
        normaliser: name of the normaliser that `encode` applies first.

    Attributes:
        unknown_rate: share of `<unk>` among all units encoded so far.
    """

    kind: ClassVar[str]
    _WARN_ABOVE, _WARN_AFTER = 0.05, 20

    def __init__(self, units: UnitList, normaliser: str = "none") -> None:
        if normaliser not in NORMALISERS:
            raise ConfigError("no such text normaliser", expected=" | ".join(NORMALISERS), got=normaliser)
        self.units, self.normaliser = units, normaliser
        self._seen = self._unknown = 0
        self._warned = False

    @property
    def size(self) -> int:
        return len(self.units)

    @property
    def blank(self) -> int:
        return self.units.blank

    @property
    def sos(self) -> int:
        return self.units.sos

    @property
    def eos(self) -> int:
        return self.units.eos

    @property
    def unknown_rate(self) -> float:
        return self._unknown / self._seen if self._seen else 0.0

    def pieces(self, text: str) -> list[str]:
        """The units of `text` as strings, known or not."""
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without sentence marks; logs a warning once when more than 5 % of the units are unknown."""
        ids = self.units.ids(self.pieces(normalise(text, self.normaliser)))
        self._seen += len(ids)
        self._unknown += sum(index == self.units.unknown for index in ids)
        if not self._warned and self._seen >= self._WARN_AFTER and self.unknown_rate > self._WARN_ABOVE:
            self._warned = True
            _log.warning(
                "%.0f %% of the text's units are unknown to the tokenizer (last: %r). Wrong case or punctuation? "
                "Choose a normaliser (now %r).",
                100 * self.unknown_rate,
                text,
                self.normaliser,
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids (spec of the published decoder: `UnitList.text`)."""
        return self.units.text(ids)

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.yaml`, `units.txt` and what else this kind needs into `folder`."""
        from viseme.core.text.storage import save_tokenizer

        save_tokenizer(self, folder)

    def _write_files(self, folder: Path) -> list[str]:
        self.units.write(folder / "units.txt")
        return ["units.txt"]

    @classmethod
    def _read_files(cls, folder: Path, normaliser: str) -> UnitTokenizer:
        return cls(UnitList.read(folder / "units.txt"), normaliser)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self)["units"] == vars(other)["units"]

    __hash__ = None  # type: ignore[assignment]


class CharUnits(UnitTokenizer):
    """Characters; a blank is the unit `<space>`."""

    kind = "chars"

    def pieces(self, text: str) -> list[str]:
        return [SPACE if character == " " else character for character in " ".join(text.split())]

    @classmethod
    def from_texts(cls, texts: Iterable[str], normaliser: str = "none") -> CharUnits:
        """The characters of `texts` (normalised) in code-point order after `<unk>`."""
        return cls(_collect(cls, texts, normaliser), normaliser)


class WordUnits(UnitTokenizer):
    """Whole words, for closed vocabularies such as GRID's."""

    kind = "words"

    def pieces(self, text: str) -> list[str]:
        return text.split()

    def decode(self, ids: Iterable[int]) -> str:
        """The words joined by blanks; `<eos>` and padding dropped."""
        return " ".join(self.units.strings(index for index in ids if index != self.eos))

    @classmethod
    def from_texts(cls, texts: Iterable[str], normaliser: str = "none") -> WordUnits:
        """The words of `texts` (normalised) in code-point order after `<unk>`."""
        return cls(_collect(cls, texts, normaliser), normaliser)


def _collect(cls: type[CharUnits] | type[WordUnits], texts: Iterable[str], normaliser: str) -> UnitList:
    splitter = cls(UnitList([UNKNOWN]), normaliser)
    found = {piece for text in texts for piece in splitter.pieces(normalise(text, normaliser))}
    if not found:
        raise DataError("no text to make units from")
    return UnitList([UNKNOWN, *sorted(found - {UNKNOWN})])


class SentencePieceUnits(UnitTokenizer):
    """SentencePiece pieces numbered by a units file (the ids of the SentencePiece model itself are not used).

    Args:
        model: the SentencePiece model: a file, or its content.
        units: the unit list: a units file, or the list.
        normaliser: name of the normaliser that `encode` applies first.

    Raises:
        DataError: an unreadable model or units file.
        DependencyError: sentencepiece is not installed.
    """

    kind = "sentencepiece"

    def __init__(self, model: str | Path | bytes, units: str | Path | UnitList, normaliser: str = "none") -> None:
        super().__init__(units if isinstance(units, UnitList) else UnitList.read(units), normaliser)
        if isinstance(model, bytes):
            self._model = model
        else:
            try:
                self._model = Path(model).read_bytes()
            except OSError as error:
                raise DataError("cannot read the SentencePiece model", path=model, got=str(error)) from error
        self._processor = load_sentencepiece(self._model, None if isinstance(model, bytes) else model)

    def pieces(self, text: str) -> list[str]:
        return list(self._processor.encode(text, out_type=str))

    def _write_files(self, folder: Path) -> list[str]:
        write_bytes_atomic(folder / "sentencepiece.model", self._model)
        return [*super()._write_files(folder), "sentencepiece.model"]

    @classmethod
    def _read_files(cls, folder: Path, normaliser: str) -> SentencePieceUnits:
        return cls(folder / "sentencepiece.model", folder / "units.txt", normaliser)

    def __getstate__(self) -> dict[str, Any]:  # the processor is rebuilt where it arrives (data workers)
        return {key: value for key, value in vars(self).items() if key != "_processor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._processor = load_sentencepiece(self._model, None)


def load_sentencepiece(model: bytes, path: str | Path | None) -> SentencePieceProcessor:
    """A processor of a SentencePiece model's content (`path` only names it in errors)."""
    try:
        import sentencepiece
    except ImportError as error:
        raise DependencyError("sub-word units need sentencepiece", hint="pip install 'viseme-core[text]'") from error
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise DataError("not a SentencePiece model", path=path, got=str(error)) from error
    return processor
