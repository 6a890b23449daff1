"""Pages with clips to listen to and to look at: one HTML file that fetches nothing, whatever it shows lies in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
import soundfile

from viseme.core.types import Audio

__all__ = ["clip_section", "figure", "photo", "playable_page", "player", "score_table", "spectrum"]

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse}
td,th{text-align:left;padding:.15em 1.2em .15em 0}td.n{text-align:right}
.clip{display:flex;flex-wrap:wrap;gap:1.5em;margin:.6em 0 1.6em}figure{margin:0}
figcaption{font-size:.9em;max-width:340px}img.s{display:block;width:340px;height:160px}audio{width:340px}"""


def playable_page(title: str, heading: str, notes: Sequence[str], table: str, sections: Sequence[str]) -> str:
    """The page: notes that a reader should know first, the table of scores, then clips.

    Args:
        table: of `score_table`.
        sections: of `clip_section`.
    """
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    said = [f"<p>{escape(note)}</p>" for note in notes if note]
    return "\n".join([head, f"<h1>{escape(heading)}</h1>", *said, table, "<h2>Clips</h2>", *sections]) + "\n"


def score_table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table of scores: the first column's heading is `columns[0]`; each row: a name, and the others as texts."""
    head = "".join(f"<th>{escape(column)}" for column in columns)
    lines = (
        f"<tr><td>{escape(name)}{''.join(f'<td class=n>{escape(v)}' for v in values)}</tr>" for name, values in rows
    )
    return "\n".join([f"<table><tr>{head}</tr>", *lines, "</table>"])


def clip_section(title: str, figures: Sequence[str]) -> str:
    """A clip: its title, and figures side by side."""
    return f"<h3>{escape(title)}</h3><div class=clip>{''.join(figures)}</div>"


def figure(*content: str, caption: str = "", heard: str | None = None) -> str:
    """Pictures and players above one another, with what they are, and what a recogniser understood of them."""
    text = escape(caption) + ("" if heard is None else f": \u201c{escape(heard)}\u201d")
    return f"<figure>{''.join(content)}{f'<figcaption>{text}</figcaption>' if text else ''}</figure>"


def player(sound: Audio) -> str:
    """A player of the sound, which is held as 16-bit FLAC."""
    content = io.BytesIO()
    soundfile.write(content, np.clip(sound.samples, -1, 1), sound.rate, format="FLAC", subtype="PCM_16")
    return f'<audio controls preload=none src="data:audio/flac;base64,{_plain(content.getvalue())}"></audio>'


def spectrum(picture: np.ndarray) -> str:
    """A spectrogram, drawn as (H, W, 3) uint8 BGR; shown in one size whatever its own."""
    return f'<img class=s alt="spectrogram" src="data:image/png;base64,{_encoded(picture, ".png")}">'


def photo(picture: np.ndarray, height: int) -> str:
    """A photograph, (H, W, 3) uint8 RGB, in a height in pixels."""
    width = max(1, round(height * picture.shape[1] / picture.shape[0]))
    small = cv2.resize(picture[..., ::-1], (width, height), interpolation=cv2.INTER_AREA)
    return f'<img alt="" src="data:image/jpeg;base64,{_encoded(small, ".jpg")}">'


def _encoded(picture_BGR: np.ndarray, suffix: str) -> str:
    return _plain(cv2.imencode(suffix, picture_BGR)[1].tobytes())


def _plain(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
