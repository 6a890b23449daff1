"""How a package's console script is assembled: verbs with flags, verbs with Hydra overrides, errors as one line, exit
codes (0 done, 2 the user can mend it, 1 our defect, 130 interrupted), progress, results on stdout or in a file."""

from __future__ import annotations

from viseme.core.device import resolve_device

from .app import App, arg
from .config import compose, config_keys, config_options
from .output import emit
from .progress import Counter, track

__all__ = [
    "App",
    "Counter",
    "arg",
    "compose",
    "config_keys",
    "config_options",
    "emit",
    "resolve_device",
    "track",
]
