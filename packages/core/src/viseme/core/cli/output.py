"""Where a verb's results go: standard output, or a file written atomically. Everything else goes to standard error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from viseme.core.files import write_text_atomic

__all__ = ["emit"]


def emit(results: Iterable[Any], *, out: str | None = None, as_json: bool = False) -> None:
    """Write results, one a line, as each comes.

    Args:
        results: strings, mappings, or objects with `to_dict()`; as text, an object is its `str()`.
        out: a path, or `-` or None for standard output. A file appears whole or not at all.
        as_json: one JSON object a line.
    """
    if out in (None, "-"):
        for result in results:
            print(_line(result, as_json), flush=True)
        return
    write_text_atomic(str(out), "".join(_line(result, as_json) + "\n" for result in results))


def _line(result: Any, as_json: bool) -> str:
    if not as_json:
        return str(result)
    plain = result.to_dict() if hasattr(result, "to_dict") else result
    return json.dumps(dict(plain) if isinstance(plain, Mapping) else plain, ensure_ascii=False, default=str)
