"""Text of the multi-task system: SentencePiece pieces under the model's own ids, blank and padding 0.

Models of our own may use any of core's tokenizers instead; `load_text` finds which.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from viseme.core.errors import DataError
from viseme.core.files import write_bytes_atomic
from viseme.core.text import Tokenizer, load_tokenizer
from viseme.core.text.tokenizers import load_sentencepiece

__all__ = ["PieceTokenizer", "load_text"]

PIECES_FILE = "pieces.model"


class PieceTokenizer:
    """A SentencePiece model with ids 0 `<pad>` (and CTC blank), 1 `<sos>`, 2 `<eos>`, 3 `<unk>`.

    Text is lower-cased first, as the published pieces have no capitals.

    Args:
        model: the SentencePiece model: a file, or its content.
        most: pieces kept of one text.

    Raises:
        DataError: not a readable SentencePiece model.
        DependencyError: sentencepiece is not installed.
    """

    kind: ClassVar[str] = "pieces"
    blank, sos, eos, unknown = 0, 1, 2, 3

    def __init__(self, model: str | Path | bytes, most: int = 150) -> None:
        path = None if isinstance(model, bytes) else Path(model)
        try:
            self._model = model if isinstance(model, bytes) else Path(model).read_bytes()
        except OSError as error:
            raise DataError("cannot read the SentencePiece model", path=path, got=str(error)) from error
        self.most = most
        self._processor = load_sentencepiece(self._model, path)

    @property
    def size(self) -> int:
        return self._processor.get_piece_size()

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text as strings."""
        return self._processor.encode(text, out_type=str)

    def encode(self, text: str, *, lower: bool = True) -> list[int]:
        """Ids of at most `most` pieces, no sentence marks."""
        return self._processor.encode(text.lower() if lower else text)[: self.most]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; padding and sentence marks are dropped, unknown pieces show as a mark."""
        return self._processor.decode([index for index in map(int, ids) if index > self.eos])

    def save(self, folder: str | Path) -> None:
        """Write the model into a model directory."""
        write_bytes_atomic(Path(folder) / PIECES_FILE, self._model)

    def __getstate__(self) -> dict:  # the processor is rebuilt where it arrives (data workers)
        return {"model": self._model, "most": self.most}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["model"], state["most"])  # type: ignore[misc]


def load_text(folder: str | Path) -> PieceTokenizer | Tokenizer | None:
    """The tokenizer of a model directory, or None where it has none."""
    folder = Path(folder)
    if (folder / PIECES_FILE).is_file():
        return PieceTokenizer(folder / PIECES_FILE)
    return load_tokenizer(folder) if (folder / "tokenizer.yaml").is_file() else None
