"""`report.html`: a prepared store to look at, in one file without scripts or network."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import VisemeError
from viseme.core.files import write_text_atomic
from viseme.core.media import stream_audio
from viseme.core.prepare.facts import read_opening
from viseme.core.prepare.sheet import strip

__all__ = ["write_report"]

_SAMPLED = 16
_BINS = 24
_WIDTH, _HEIGHT = 1152, 90

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse}
td,th{text-align:left;padding:.15em 1.2em .15em 0;vertical-align:top}td.n{text-align:right}
.charts{display:flex;flex-wrap:wrap;gap:1.5em}figure{margin:0}figcaption{color:#555;font-size:.9em}
.clip{margin:1.2em 0}.clip img,.clip svg{display:block;max-width:100%}.bar{fill:#4a7fb5}.wave{fill:#b9c7d6}
.lips{fill:none;stroke:#c23b22;stroke-width:1.5}text{font:11px system-ui,sans-serif;fill:#555}"""


def write_report(
    path: Path,
    manifest: Manifest,
    failures: Mapping[str, str],
    openings: Mapping[str, str],
    options: Mapping[str, object],
) -> None:
    """Write the report: counts, durations, failures by reason, distributions, and for up to sixteen clips, spread
    evenly, their crops and the sound's loudness with the opening of the mouth over it.

    Args:
        failures: id -> reason.
        openings: id -> `facts.opening_of`, where it is known.
        options: what the store was made with.
    """
    chosen = np.unique(np.linspace(0, len(manifest) - 1, min(_SAMPLED, len(manifest))).round().astype(int))
    name = html.escape(path.parent.absolute().name)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title><style>{_STYLE}</style>",
        f"<h1>Prepared store: {name}</h1>",
        _summary(manifest, failures, options),
        "<h2>Distributions</h2><div class=charts>",
        *_charts(manifest),
        "</div>",
        _failures(failures),
        "<h2>Clips</h2><p>Every picture should show a mouth (or a face). Grey: loudness of the sound; red: opening of "
        "the mouth. In step, the red line rises and falls with the grey.</p>",
        *(_clip(manifest, manifest[int(index)], openings) for index in chosen),
    ]
    write_text_atomic(path, "\n".join(parts) + "\n")


def _summary(manifest: Manifest, failures: Mapping[str, str], options: Mapping[str, object]) -> str:
    seconds = sum((row.frames or 0) / (row.fps or 25.0) for row in manifest)
    rows: list[tuple[str, object]] = [
        ("clips", len(manifest)),
        ("duration", f"{seconds / 3600:.2f} h ({seconds / 60:.1f} min)"),
        ("failed", len(failures)),
        ("without sound", sum(not row.samples for row in manifest)),
        ("with transcript", sum(bool(row.text) for row in manifest)),
        ("with a long gap of the face", sum("longest_gap_frames" in row.extra for row in manifest)),
        ("with a note", sum("note" in row.extra for row in manifest)),
    ]
    for title, column in ("splits", "split"), ("languages", "language"), ("data sets", "dataset"):
        counted = Counter(getattr(row, column) or "(none)" for row in manifest)
        rows.append((title, ", ".join(f"{name} {count}" for name, count in counted.most_common(12))))
    sync = Counter(row.extra.get("av_sync") for row in manifest if row.extra.get("av_sync"))
    if sync:
        rows.append(("sound against picture", ", ".join(f"{name} {count}" for name, count in sync.items())))
    rows.append(("prepared with", ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)))
    return "<table>" + "".join(f"<tr><th>{html.escape(a)}<td>{html.escape(str(b))}" for a, b in rows) + "</table>"


def _failures(failures: Mapping[str, str]) -> str:
    if not failures:
        return "<h2>Failures</h2><p>None.</p>"
    # numbers differ from clip to clip, and paths: the sentence before the details is the reason
    reasons = Counter(reason.split("; ")[0].split(": ")[-1] for reason in failures.values())
    lines = "".join(f"<tr><td class=n>{n}<td>{html.escape(why)}" for why, n in reasons.most_common(30))
    return f"<h2>Failures</h2><p>{len(failures)} clips, each in failures.csv.</p><table>{lines}</table>"


def _charts(manifest: Manifest) -> list[str]:
    columns = [
        ("duration (s)", [(row.frames or 0) / (row.fps or 25.0) for row in manifest]),
        ("source frames per second", _numbers(manifest, "source_fps")),
        ("face height in the source (px)", _numbers(manifest, "face_px")),
        ("turn of the head (0: frontal)", _numbers(manifest, "turn")),
    ]
    return [_histogram(title, values) for title, values in columns if values]


def _numbers(manifest: Manifest, column: str) -> list[float]:
    return [float(row.extra[column]) for row in manifest if row.extra.get(column)]


def _histogram(title: str, values: Sequence[float]) -> str:
    counts, edges = np.histogram(values, bins=_BINS)
    width, height, top = 260, 110, max(1, int(counts.max()))
    step = width / _BINS
    bars = "".join(
        f'<rect class=bar x="{i * step:.1f}" y="{height * (1 - n / top):.1f}" width="{step - 1:.1f}" '
        f'height="{height * n / top:.1f}"/>'
        for i, n in enumerate(counts)
    )
    ends = (
        f'<text x="0" y="{height + 14}">{edges[0]:.4g}</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">{edges[-1]:.4g}</text>'
    )
    caption = f"{html.escape(title)}, median {np.median(values):.4g}"
    return f'<figure><svg width="{width}" height="{height + 18}">{bars}{ends}</svg><figcaption>{caption}</figure>'


def _clip(manifest: Manifest, row: ManifestRow, openings: Mapping[str, str]) -> str:
    details = [
        f"{(row.frames or 0) / (row.fps or 25.0):.2f} s",
        *(f"{k} {v}" for k, v in row.extra.items() if "path" not in k),
    ]
    title = f"<b>{html.escape(row.id)}</b> {html.escape(row.text)}<br><small>{html.escape(', '.join(details))}</small>"
    try:
        done, data = cv2.imencode(".jpg", cv2.cvtColor(strip(manifest, row), cv2.COLOR_RGB2BGR), [1, 85])
        assert done
        picture = f'<img src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}" alt="">'
        plot = _plot(manifest, row, openings.get(row.id, ""))
    except VisemeError as error:  # a file that went missing since: the report says so
        return f"<div class=clip>{title}<p>{html.escape(str(error))}</div>"
    return f"<div class=clip>{title}{picture}{plot}</div>"


def _loudness(sound: Path, samples: int, rate: int) -> np.ndarray:
    """Root mean square in steps of 10 ms or (of long recordings) of a thousandth of all, the loudest being 1."""
    step = max(rate // 100, samples // 1000)
    power = np.zeros(-(-samples // step) + 1)
    position = 0
    for block in stream_audio(sound, rate=rate):
        places = (np.arange(position, position + len(block)) // step).clip(max=len(power) - 1)
        power += np.bincount(places, weights=block.astype(np.float64) ** 2, minlength=len(power))
        position += len(block)
    loud = np.sqrt(power[:-1])
    return loud / max(float(loud.max()), 1e-9)


def _plot(manifest: Manifest, row: ManifestRow, opening: str) -> str:
    """Loudness and mouth opening over the clip's time."""
    frames = row.frames or 1
    drawn = ""
    if row.samples and row.rate:
        loud = _loudness(manifest.audio_file(row), row.samples, row.rate)
        x = np.linspace(0, _WIDTH, len(loud))
        upper = " ".join(f"{a:.1f},{_HEIGHT / 2 * (1 - b):.1f}" for a, b in zip(x, loud))
        lower = " ".join(f"{a:.1f},{_HEIGHT / 2 * (1 + b):.1f}" for a, b in zip(x[::-1], loud[::-1]))
        drawn += f'<polygon class=wave points="{upper} {lower}"/>'
    if opening:
        values = read_opening(opening)
        top = max(float(np.nanmax(values)), 0.05)
        x = (np.arange(len(values)) + 0.5) / frames * _WIDTH
        points = " ".join(f"{a:.1f},{_HEIGHT * (1 - 0.95 * b / top):.1f}" for a, b in zip(x, values) if np.isfinite(b))
        drawn += f'<polyline class=lips points="{points}"/>'
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">{drawn}</svg>' if drawn else ""
