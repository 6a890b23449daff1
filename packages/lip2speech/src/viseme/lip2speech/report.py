"""`report.html` of an evaluation: the table, and clips to listen to and to look at, in one file without network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from viseme.core.files import write_text_atomic
from viseme.core.metrics.playable import clip_section, figure, playable_page, player, score_table, spectrum
from viseme.core.types import Audio
from viseme.lip2speech.scores import CHANCE, GENERATED, REAL, Heard, Row
from viseme.lip2speech.synthesis import mel_picture

__all__ = ["Sample", "write_report"]

RATE = 16_000

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
    table = score_table(
        ["speech", *(title for title, *_ in shown), "clips"], [(row.speech, _cells(row, shown)) for row in rows]
    )
    page = playable_page("lip2speech", "Speech from lips", notes, table, [_sample(sample) for sample in samples])
    write_text_atomic(path, page)


def _cells(row: Row, columns: Sequence[tuple[str, str, float, int]]) -> list[str]:
    values = [(getattr(row, name), factor, digits) for _, name, factor, digits in columns]
    return ["-" if value is None else f"{factor * value:.{digits}f}" for value, factor, digits in values] + [
        str(row.clips)
    ]


def _sample(sample: Sample) -> str:
    clip = sample.heard
    figures = [
        _figure("real", clip.reference, clip.mel_real, None),
        _figure(REAL, clip.vocoded, None, sample.understood.get(REAL)),
        _figure(GENERATED, clip.generated, clip.mel, sample.understood.get(GENERATED)),
    ]
    if CHANCE in sample.understood:
        figures.append(figure(caption=CHANCE, heard=sample.understood[CHANCE]))
    return clip_section(f"{clip.row.id}: {clip.row.text}" if clip.row.text else clip.row.id, figures)


def _figure(what: str, samples: np.ndarray, mel: np.ndarray | None, understood: str | None) -> str:
    picture = [] if mel is None else [spectrum(mel_picture(mel, height=160))]
    return figure(*picture, player(Audio(samples, RATE)), caption=what, heard=understood)
