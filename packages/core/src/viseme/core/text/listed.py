"""Sub-word units of which only the list was published, not the SentencePiece model that split text into them."""

from __future__ import annotations

from viseme.core.text.tokenizers import UnitTokenizer
from viseme.core.text.units import UNKNOWN, WORD_START

__all__ = ["ListedUnits"]


class ListedUnits(UnitTokenizer):
    """Units by their list alone. Decoding is exact; encoding takes the fewest units that spell each word, longer ones
    first, which need not be the split that the lost model would have made."""

    kind = "listed"

    def pieces(self, text: str) -> list[str]:
        return [piece for word in text.split() for piece in self._split(WORD_START + word)]

    def _split(self, word: str) -> list[str]:
        """The fewest units that spell `word`; `<unk>` for a character that no unit holds."""
        # fewest[n]: (how many units spell the first n characters, where the last of them starts)
        fewest: list[tuple[int, int]] = [(0, 0)]
        for stop in range(1, len(word) + 1):
            ways = [
                (fewest[start][0] + 1, start) for start in range(stop) if word[start:stop] in self.units
            ]  # of equally few, the one whose last unit is longest
            fewest.append(min(ways) if ways else (fewest[stop - 1][0] + len(word), stop - 1))
        pieces, stop = [], len(word)
        while stop:
            start = fewest[stop][1]
            piece = word[start:stop]
            pieces.append(piece if piece in self.units else UNKNOWN)
            stop = start
        return [piece for piece in pieces[::-1] if piece != WORD_START] or [UNKNOWN]
