"""`report.html` of an evaluation: the table, and clips to listen to and to look at, in one file without network."""

from __future__ import annotations

import base64
import html
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from viseme.core.files import write_text_atomic
from viseme.lip2speech.scores import CHANCE, GENERATED, REAL, Heard, Row
from viseme.lip2speech.synthesis import mel_picture

__all__ = ["Sample", "write_report"]

RATE = 16_000

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse}
td,th{text-align:left;padding:.15em 1.2em .15em 0}td.n{text-align:right}
.clip{display:flex;flex-wrap:wrap;gap:1.5em;margin:.6em 0}figure{margin:0}
figcaption{font-size:.9em;max-width:340px}figure img{display:block;width:340px;height:160px}audio{width:340px}"""

_COLUMNS = (
    ("STOI", "stoi", 1.0, 3),
    ("ESTOI", "estoi", 1.0, 3),
    ("PESQ", "pesq", 1.0, 2),
    ("WER %", "wer", 100.0, 1),
    ("DNSMOS", "dnsmos", 1.0, 2),
    ("LSE-D", "lse_d", 1.0, 2),
    ("LSE-C", "lse_c", 1.0, 2),
)


@dataclass(frozen=True, eq=False)
class Sample:
    """A clip to be shown, and what was understood of each kind of its speech (empty without a recogniser)."""

    heard: Heard
    understood: dict[str, str]


def write_report(path: Path, rows: Sequence[Row], samples: Sequence[Sample], notes: Sequence[str]) -> None:
    """Write the report.

    Args:
        notes: what a reader should know: that the data are synthetic, which recogniser, which way back to sound.
    """
    shown = [column for column in _COLUMNS if any(getattr(row, column[1]) is not None for row in rows)]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>lip2speech</title><style>{_STYLE}</style>",
        "<h1>Speech from lips</h1>",
        *(f"<p>{html.escape(note)}</p>" for note in notes if note),
        "<table><tr><th>speech" + "".join(f"<th>{title}" for title, *_ in shown) + "<th>clips</tr>",
        *(_line(row, shown) for row in rows),
        "</table><h2>Clips</h2>",
        *(_sample(sample) for sample in samples),
    ]
    write_text_atomic(path, "\n".join(parts) + "\n")


def _line(row: Row, columns: Sequence[tuple[str, str, float, int]]) -> str:
    def cell(name: str, factor: float, digits: int) -> str:
        value = getattr(row, name)
        return "<td class=n>" + ("-" if value is None else f"{factor * value:.{digits}f}")

    cells = "".join(cell(name, factor, digits) for _, name, factor, digits in columns)
    return f"<tr><td>{html.escape(row.speech)}{cells}<td class=n>{row.clips}</tr>"


def _sample(sample: Sample) -> str:
    clip = sample.heard
    title = f"{clip.row.id}: {clip.row.text}" if clip.row.text else clip.row.id
    figures = [
        _figure("real", clip.reference, clip.mel_real, ""),
        _figure(REAL, clip.vocoded, None, sample.understood.get(REAL, "")),
        _figure(GENERATED, clip.generated, clip.mel, sample.understood.get(GENERATED, "")),
    ]
    if CHANCE in sample.understood:
        figures.append(
            f"<figure><figcaption>{CHANCE}: “{html.escape(sample.understood[CHANCE])}”</figcaption></figure>"
        )
    return f"<h3>{html.escape(title)}</h3><div class=clip>{''.join(figures)}</div>"


def _figure(what: str, samples: np.ndarray, mel: np.ndarray | None, understood: str) -> str:
    picture = ""
    if mel is not None:
        _, content = cv2.imencode(".png", mel_picture(mel, height=160))
        picture = f'<img alt="mel spectrogram" src="data:image/png;base64,{_plain(content.tobytes())}">'
    said = f": “{html.escape(understood)}”" if understood else ""
    sound = f'<audio controls preload=none src="data:audio/wav;base64,{_plain(_wav(samples))}"></audio>'
    return f"<figure>{picture}{sound}<figcaption>{html.escape(what)}{said}</figcaption></figure>"


def _plain(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _wav(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return content.getvalue()
