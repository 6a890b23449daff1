"""Text normalisers, by name, so that a result can say which one it was measured under.

| name            | what it does                                                                                     |
|-----------------|--------------------------------------------------------------------------------------------------|
| `none`          | nothing                                                                                          |
| `lower`         | lower-cases and collapses white space                                                            |
| `upper`         | upper-cases and collapses white space                                                            |
| `auto_avsr`     | Auto-AVSR's labels: drops `, ? . ! - ; : "`, upper-cases, ASCII apostrophes, collapses white space |
| `basic_english` | for comparing systems: lower-cases, drops bracketed remarks and diacritics, turns every other sign |
|                 | but apostrophes inside words into a blank (after Whisper's basic normaliser, Radford et al. 2022)  |
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from viseme.core.errors import ConfigError

__all__ = ["NORMALISERS", "normalise"]

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})
_PUNCTUATION = str.maketrans("", "", ',?.!-;:"')


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _none(text: str) -> str:
    return text


def _lower(text: str) -> str:
    return _collapse(text.lower())


def _upper(text: str) -> str:
    return _collapse(text.upper())


def _auto_avsr(text: str) -> str:
    return _collapse(text.translate(_PUNCTUATION).upper().translate(_APOSTROPHES))


def _basic_english(text: str) -> str:
    text = text.lower().translate(_APOSTROPHES)
    text = re.sub(r"[<\[][^>\]]*[>\]]|\([^)]*\)", " ", text)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn")
    text = re.sub(r"(?<!\w)'|'(?!\w)|[^\w\s']|_", " ", text)
    return _collapse(text)


NORMALISERS: dict[str, Callable[[str], str]] = {
    "none": _none,
    "lower": _lower,
    "upper": _upper,
    "auto_avsr": _auto_avsr,
    "basic_english": _basic_english,
}


def normalise(text: str, name: str) -> str:
    """`text` under the normaliser of this name (see the module's table).

    Raises:
        ConfigError: no normaliser of this name.
    """
    if name not in NORMALISERS:
        raise ConfigError("no such text normaliser", expected=" | ".join(NORMALISERS), got=name)
    return NORMALISERS[name](text)
