"""Errors that say what was expected, what came, and what to do next.

A command line turns a `VisemeError` into one message and exit code 2 (the user can mend it); any other exception is a
defect of ours and exits with 1. Batch work catches `VisemeError` per clip, writes it to `failures.csv` and goes on.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "VisemeError",
    "MediaError",
    "FaceError",
    "DataError",
    "CheckpointError",
    "ConfigError",
    "DependencyError",
]


class VisemeError(Exception):
    """A problem with what the user gave.

    Args:
        what: one line that says what went wrong.
        path: the file concerned, if any; named first in the message.
        expected: what would have been right.
        got: what came instead.
        hint: what to do next.
    """

    def __init__(
        self,
        what: str,
        *,
        path: str | Path | None = None,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.path, self.expected, self.got, self.hint = what, path, expected, got, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.path}: {self.what}" if self.path is not None else self.what
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.got is not None:
            text += f"; got {self.got}" if self.expected is None else f", got {self.got}"
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple:  # keyword arguments survive the trip back from a worker process
        return (_rebuild, (type(self), self.what, self.path, self.expected, self.got, self.hint))


def _rebuild(
    cls: type[VisemeError], what: str, path: str | None, expected: object, got: object, hint: str | None
) -> VisemeError:
    return cls(what, path=path, expected=expected, got=got, hint=hint)


class MediaError(VisemeError):
    """A file that cannot be decoded or encoded, or lacks the stream that was asked for."""


class FaceError(VisemeError):
    """No usable face where one is needed."""


class DataError(VisemeError):
    """A manifest, label list, transcript or prepared store that does not fit."""


class CheckpointError(VisemeError):
    """Weights or a model directory that cannot be used, or must not be trusted."""


class ConfigError(VisemeError):
    """An option, recipe or override that does not make sense."""


class DependencyError(VisemeError):
    """An optional dependency that is needed here and not installed or not usable."""
