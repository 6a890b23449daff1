"""The recognisers that VCA-GAN's generated speech was scored with: sentences on GRID, words on LRW.

B clips, S mel columns at 100 Hz, T = S / 4, V classes. State-dict keys are the published ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from viseme.core.metrics import count_errors
from viseme.lip2speech.models.discriminators import MelFront

__all__ = ["GRID_COLUMNS", "GRID_LETTERS", "LRW_COLUMNS", "GridRecogniser", "LrwRecogniser", "grid_errors", "grid_text"]

GRID_LETTERS = "_ ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Classes of the GRID recogniser in order; the first is the blank."""

GRID_COLUMNS, LRW_COLUMNS = 300, 116
"""What log mels are zero-padded to (GRID), or cut and zero-padded to (LRW)."""


class GridBack(nn.Module):
    """A bidirectional GRU and a linear layer on each frame."""

    def __init__(self, features: int, layers: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(features, features, layers, bidirectional=True, dropout=dropout, batch_first=True)
        self.fc = nn.Linear(2 * features, classes)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.fc(self.gru(x_BTD)[0])


class LrwBack(GridBack):
    """The same with a mean over the clip before the linear layer."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.fc(self.gru(x_BTD)[0].mean(1))


class GridRecogniser(nn.Module):
    """Natural-log mel (B, 1, 80, S) to logits (B, S / 4, V), read by `grid_text`."""

    def __init__(
        self, front: tuple[int, int] = (32, 64), features: int = 256, layers: int = 2, classes: int = len(GRID_LETTERS)
    ) -> None:
        super().__init__()
        self.front = MelFront(front, features, kernel=5, prelu=True, dropout=0.3)
        self.back = GridBack(features, layers, classes, 0.3)

    def forward(self, log_mel_B1FS: Tensor) -> Tensor:
        return self.back(self.front(log_mel_B1FS))


class LrwRecogniser(nn.Module):
    """Natural-log mel (B, 1, 80, S) to logits (B, V) over words."""

    def __init__(
        self, front: tuple[int, int] = (128, 256), features: int = 512, layers: int = 2, classes: int = 500
    ) -> None:
        super().__init__()
        self.front = MelFront(front, features, dropout=0.3)
        self.back = LrwBack(features, layers, classes, 0.0)

    def forward(self, log_mel_B1FS: Tensor) -> Tensor:
        return self.back(self.front(log_mel_B1FS))


def grid_text(path: Sequence[int], letters: str = GRID_LETTERS) -> str:
    """Text of an arg-max path, as published: runs of blanks between words and of any character collapse, and only then
    the CTC blanks go, so that "space, blank, space" leaves two spaces."""
    text = "".join(letters[index] for index in path)
    collapsed = "".join(now for before, now in zip("\0" + text, text) if now != before)
    return collapsed.replace(letters[0], "")


def grid_errors(output: str, label: str) -> tuple[float, float]:
    """Character and word error rate of one clip, as published: words are what single spaces separate."""
    characters = count_errors(label, output).errors / len(label)
    words = label.split(" ")
    return characters, count_errors(words, output.split(" ")).errors / len(words)
