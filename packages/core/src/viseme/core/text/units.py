"""The list of output units of a recogniser: index 0 is `<blank>`, the last index is `<eos>` (which is also sos)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from viseme.core.errors import DataError
from viseme.core.files import write_text_atomic

__all__ = ["BLANK", "EOS", "SPACE", "UNKNOWN", "WORD_START", "UnitList"]

BLANK, EOS, UNKNOWN, SPACE = "<blank>", "<eos>", "<unk>", "<space>"
WORD_START = "\u2581"  # SentencePiece's mark of a word's start


class UnitList:
    """Units and their ids, as Auto-AVSR numbers them.

    Args:
        units: the units proper, in order; they get ids 1, 2, ...

    Attributes:
        tokens: all strings by id: `<blank>`, the units, `<eos>`.
        blank: id of the CTC blank (0).
        sos, eos: id of the sentence mark (the last one, both the same).
        unknown: id of `<unk>`, or None where the list has none.

    Raises:
        DataError: an empty, repeated or reserved unit.
    """

    def __init__(self, units: Sequence[str]) -> None:
        self.tokens: tuple[str, ...] = (BLANK, *units, EOS)
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens) or "" in self._ids:
            wrong = next(token for index, token in enumerate(self.tokens) if not token or self._ids[token] != index)
            raise DataError("a unit is empty, repeated or reserved", got=repr(wrong))
        self.blank = 0
        self.sos = self.eos = len(self.tokens) - 1
        self.unknown = self._ids.get(UNKNOWN)

    @classmethod
    def from_tokens(cls, tokens: Sequence[str]) -> UnitList:
        """From a full list that starts with `<blank>` and ends with `<eos>` (`char_list` of the zoo's `model.json`)."""
        if len(tokens) < 2 or tokens[0] != BLANK or tokens[-1] != EOS:
            raise DataError(
                "a token list needs its two marks", expected=f"{BLANK} first and {EOS} last", got=list(tokens[:1])
            )
        return cls(tokens[1:-1])

    @classmethod
    def read(cls, path: str | Path) -> UnitList:
        """From a published units file: UTF-8, a line `unit id` each, ids 1, 2, ... in order.

        Raises:
            DataError: not such a file.
        """
        try:
            lines = Path(path).read_bytes().decode("utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError("cannot read the units file", path=path, got=str(error)) from error
        units: list[str] = []
        for number, line in enumerate(lines, start=1):
            if not (line := line.rstrip("\r")):
                continue
            unit, _, index = line.rpartition(" ")
            if not unit or index != str(len(units) + 1):
                raise DataError(
                    f"line {number} of the units file", path=path, expected="`unit id`, ids 1, 2, ...", got=line
                )
            units.append(unit)
        if not units:
            raise DataError("the units file is empty", path=path)
        return cls(units)

    def write(self, path: str | Path) -> None:
        """Write the published format that `read` takes."""
        lines = (f"{unit} {index}\n" for index, unit in enumerate(self.tokens[1:-1], start=1))
        write_text_atomic(path, "".join(lines))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, unit: str) -> bool:
        return unit in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnitList) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def ids(self, units: Iterable[str]) -> list[int]:
        """Ids of `units`; one that is not in the list gets the id of `<unk>`.

        Raises:
            DataError: a unit that is not in the list, which has no `<unk>`.
        """
        found = []
        for unit in units:
            index = self._ids.get(unit, self.unknown)
            if index is None:
                raise DataError("a unit that the list does not have, and it has no <unk>", got=repr(unit))
            found.append(index)
        return found

    def strings(self, ids: Iterable[int]) -> list[str]:
        """Strings of `ids`, padding (-1) dropped.

        Raises:
            DataError: an id outside the list.
        """
        ids = [int(index) for index in ids if index != -1]
        if wrong := [index for index in ids if not 0 <= index < len(self.tokens)]:
            raise DataError("no such unit id", expected=f"0..{len(self.tokens) - 1}", got=wrong[0])
        return [self.tokens[index] for index in ids]

    def text(self, ids: Iterable[int], *, keep_eos: bool = False) -> str:
        """Text of sub-word or character ids as published: strings joined, `<space>` and word starts become blanks,
        stripped, `<eos>` removed unless `keep_eos`. `<blank>` and `<unk>` stay visible."""
        text = "".join(self.strings(ids)).replace(SPACE, " ").replace(WORD_START, " ").strip()
        return text if keep_eos else text.replace(EOS, "")
