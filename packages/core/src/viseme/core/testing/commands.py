"""Checks of a command line, run in this process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

from viseme.core.cli import App

__all__ = ["Outcome", "check_user_error", "run_command"]


@dataclass(frozen=True)
class Outcome:
    """Exit code and the two outputs of a command."""

    code: int
    out: str
    err: str


def run_command(app: App, argv: Sequence[object]) -> Outcome:
    """Run a command line and collect what it says."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app.main([str(word) for word in argv])
    return Outcome(code, out.getvalue(), err.getvalue())


def check_user_error(app: App, argv: Sequence[object], *mentions: str) -> str:
    """The command fails as the user's mistake: exit code 2, one last line that names the matter, no traceback.

    Returns:
        The line.
    """
    outcome = run_command(app, argv)
    assert outcome.code == 2, f"exit code {outcome.code}, expected 2: {outcome.err}"
    assert "Traceback" not in outcome.err, outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith(app.prog)]
    assert len(lines) == 1, f"expected one line of {app.prog}, got: {outcome.err!r}"
    for word in mentions:
        assert word in lines[0], f"{word!r} is not in: {lines[0]}"
    return lines[0]
