"""Speech units as the captioner's token ids, and back.

The published numbering keeps BERT's special ids, which the decoder was pre-trained with: 0 padding, 101 start, 102 end.
Units up to 100 are shifted by one and those above by three, so that unit 100 shares its id with the start (the shift
should have begun one unit earlier) and 103 is never used. Weights trained with it depend on it. The `plain` numbering
gives every unit an id of its own: 0 padding, 1 start, 2 end, unit u is u + 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from viseme.core.errors import ConfigError, DataError

__all__ = ["Numbering", "UnitTokens", "deduplicate", "published_parse", "unit_error_rate"]

Numbering = Literal["published", "plain"]


def deduplicate(units: Iterable[int]) -> list[int]:
    """Immediate repeats removed."""
    kept: list[int] = []
    for unit in units:
        if not kept or kept[-1] != unit:
            kept.append(int(unit))
    return kept


@dataclass(frozen=True)
class UnitTokens:
    """The numbering of a model.

    Attributes:
        units: how many there are.
        numbering: `published` or `plain`.
    """

    units: int = 200
    numbering: Numbering = "plain"

    def __post_init__(self) -> None:
        if self.numbering not in ("published", "plain"):
            raise ConfigError("no such numbering of units", expected="published | plain", got=self.numbering)

    @property
    def vocabulary(self) -> int:
        return self.units + 3

    @property
    def pad(self) -> int:
        return 0

    @property
    def bos(self) -> int:
        return 101 if self.numbering == "published" else 1

    @property
    def eos(self) -> int:
        return 102 if self.numbering == "published" else 2

    def encode(self, unit: int) -> int:
        """The id of a unit.

        Raises:
            DataError: no such unit.
        """
        if not 0 <= unit < self.units:
            raise DataError("no such unit", expected=f"0 .. {self.units - 1}", got=unit)
        if self.numbering == "plain":
            return unit + 3
        return unit + 1 if unit <= 100 else unit + 3

    def decode(self, token: int) -> int:
        """The unit of an id; the ids that stand for none give what the published arithmetic gives (-1 for padding)."""
        if self.numbering == "plain":
            return token - 3 if token > 2 else -1
        return token - 1 if token - 1 <= 100 else token - 3

    def target(self, units: Iterable[int]) -> list[int]:
        """A training sequence: repeats removed, start in front, end behind."""
        return [self.bos, *(self.encode(unit) for unit in deduplicate(units)), self.eos]

    def parse(self, tokens: Sequence[int]) -> list[int]:
        """The units of a generated row: its start dropped, cut at the first end, padding left out."""
        row = list(tokens[1:] if tokens and tokens[0] == self.bos else tokens)
        if self.eos in row:
            row = row[: row.index(self.eos)]
        return [unit for token in row if token != self.pad and (unit := self.decode(token)) >= 0]


def published_parse(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """What the published scripts wrote for a batch of generated rows, their cutting errors included.

    They looked for the text " 102 " between blanks: an end id that is the last of its row (the longest row of every
    batch) was not found, and one character was cut off instead; an end id that comes first was not found either. Only
    for comparing with published scores, which contain the error.
    """
    tokens = UnitTokens(numbering="published")
    found = []
    for row in rows:
        text = " ".join(map(str, row[1:]))
        text = text[: text.find(" 102 ")]  # -1, where there is none, cuts the last character
        found.append([tokens.decode(int(word)) for word in text.split()])
    return found


def unit_error_rate(prediction: Sequence[object], truth: Sequence[object]) -> float:
    """Levenshtein distance divided by the length of the truth."""
    from viseme.core.metrics import count_errors

    if not truth:
        raise DataError("an error rate needs something to compare with")
    errors = count_errors([str(item) for item in truth], [str(item) for item in prediction])
    return errors.errors / errors.length
