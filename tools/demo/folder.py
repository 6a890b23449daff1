"""What a demo remembers in its folder: what it was made with, and how long each stage took."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

from viseme.core.errors import DataError
from viseme.core.files import write_text_atomic

__all__ = ["DemoFolder", "say"]


class DemoFolder:
    """Refuses to mix two demos in one folder, and takes up the times of the stages that were done before.

    Args:
        path: file to remember in.
        settings: what the demo is made with.

    Raises:
        DataError: another demo is there.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if {name: found.get(name) for name in self.settings} != self.settings:
                hint = "Choose another --out."
                raise DataError("another demo is there", path=path.parent, expected=settings, got=found, hint=hint)
            self.seconds = found["seconds"]
        self._write()

    def took(self, name: str, seconds: float) -> None:
        """Add to what a stage took so far."""
        with self._lock:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 1)
            self._write()

    def _write(self) -> None:
        write_text_atomic(self.path, json.dumps({**self.settings, "seconds": self.seconds}, indent=2) + "\n")


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)
