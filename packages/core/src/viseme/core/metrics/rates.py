"""Word and character error rates: edit operations over the reference's length, summed over the set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from viseme.core.errors import DataError

__all__ = ["ClipErrors", "ErrorRate", "character_error_rate", "count_errors", "word_error_rate"]


@dataclass(frozen=True)
class ClipErrors:
    """Edit operations that turn one reference into its hypothesis, fewest in sum, and the reference's length."""

    substitutions: int
    deletions: int
    insertions: int
    length: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class ErrorRate:
    """Errors over a set of clips.

    Attributes:
        errors: edit operations in all.
        length: words (or characters) of all references.
        clips: the counts of each clip, in order.
    """

    errors: int
    length: int
    clips: tuple[ClipErrors, ...] = field(repr=False)

    @property
    def rate(self) -> float:
        """errors / length: 0 is perfect, and more than 1 is possible."""
        return self.errors / self.length

    @property
    def words(self) -> int:
        """The same as `length`, in the term of word error rates."""
        return self.length

    def to_dict(self) -> dict[str, float]:
        """Rate, counts and kinds of errors, for a results file."""
        return {
            "rate": self.rate,
            "errors": self.errors,
            "length": self.length,
            "substitutions": sum(clip.substitutions for clip in self.clips),
            "deletions": sum(clip.deletions for clip in self.clips),
            "insertions": sum(clip.insertions for clip in self.clips),
            "clips": len(self.clips),
        }


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ClipErrors:
    """The fewest edit operations between two sequences (Levenshtein), by kind.

    Where several shortest ways exist, substitutions are preferred to pairs of deletion and insertion.
    """
    codes: dict[str, int] = {}
    ref = np.array([codes.setdefault(token, len(codes)) for token in reference], dtype=np.int64)
    hyp = np.array([codes.setdefault(token, len(codes)) for token in hypothesis], dtype=np.int64)
    steps = np.arange(len(hyp) + 1)
    distance = np.empty((len(ref) + 1, len(hyp) + 1), dtype=np.int64)
    distance[0] = steps
    for i, token in enumerate(ref, start=1):
        row = distance[i - 1] + 1  # deletion
        row[1:] = np.minimum(row[1:], distance[i - 1, :-1] + (hyp != token))
        distance[i] = np.minimum.accumulate(row - steps) + steps  # insertions
    i, j, counts = len(ref), len(hyp), [0, 0, 0]
    while i or j:
        if i and j and distance[i, j] == distance[i - 1, j - 1] + (ref[i - 1] != hyp[j - 1]):
            counts[0] += int(ref[i - 1] != hyp[j - 1])
            i, j = i - 1, j - 1
        elif i and distance[i, j] == distance[i - 1, j] + 1:
            counts[1] += 1
            i -= 1
        else:
            counts[2] += 1
            j -= 1
    substitutions, deletions, insertions = counts
    return ClipErrors(substitutions, deletions, insertions, len(ref))


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRate:
    """Word error rate over a set: case is ignored and words are what white space separates; anything else
    (punctuation) is for the normaliser before.

    Args:
        references: one text a clip; a single empty one is fine (its words in the hypothesis are insertions).
        hypotheses: as many; may be empty.

    Raises:
        DataError: differing numbers of texts, or not one word in all references.
    """
    return _rate(references, hypotheses, lambda text: text.lower().split(), "word")


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str], *, blanks: bool = False) -> ErrorRate:
    """Character error rate over a set; case is ignored. Arguments and errors as `word_error_rate`.

    Args:
        blanks: count the blanks between words as characters, as RAVEn's published figures do.
    """
    joint = " " if blanks else ""
    return _rate(references, hypotheses, lambda text: list(joint.join(text.lower().split())), "character")


def _rate(
    references: Sequence[str], hypotheses: Sequence[str], split: Callable[[str], list[str]], unit: str
) -> ErrorRate:
    if len(references) != len(hypotheses):
        raise DataError(
            "references and hypotheses must pair up", expected=f"{len(references)} hypotheses", got=len(hypotheses)
        )
    clips = tuple(count_errors(split(ref), split(hyp)) for ref, hyp in zip(references, hypotheses))
    length = sum(clip.length for clip in clips)
    if length == 0:
        raise DataError(
            f"a {unit} error rate needs references",
            expected=f"at least one {unit}",
            got=f"{len(references)} clips without any",
            hint="Does the manifest have transcripts for this split?",
        )
    return ErrorRate(sum(clip.errors for clip in clips), length, clips)
