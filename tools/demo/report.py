"""The demo's page: figures with their intervals, loss curves, crops, and clips to play beside what was read from them.

One HTML file without scripts; videos and the contact sheet are linked relative to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from viseme.core.files import write_text_atomic

__all__ = ["write_report"]

SAMPLES = 8
"""Clips shown with their transcripts."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .3rem .8rem; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.synthetic { background: #fff3cd; border: 1px solid #e0c36a; padding: .6rem 1rem; border-radius: .4rem }
.clip { display: flex; gap: 1.2rem; margin: 1rem 0; align-items: center } video { border-radius: .4rem }
.wrong { color: #b00020 } .hyp { font-family: ui-monospace, monospace } img { max-width: 100% }
svg text { font: 12px system-ui, sans-serif; fill: #555 } .muted { color: #666 }
"""


def write_report(
    path: Path,
    *,
    results: Mapping[str, Any],
    clips: Sequence[Mapping[str, str]],
    history: Sequence[Mapping[str, Any]],
    transcript: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> Path:
    """Write the page.

    Args:
        path: of the page; `corpus/` and `store/` lie beside it.
        results: content of `results.json`.
        clips: rows of `clips.csv`.
        history: lines of the training's `history.jsonl`.
        transcript: what `transcript.json` holds.
        seconds: each stage took.

    Returns:
        `path`.
    """
    machine = results["provenance"]["machine"]
    body = [
        "<h1>viseme: an audio-visual recogniser from nothing</h1>",
        '<p class="synthetic"><b>SYNTHETIC.</b> Every face, voice and figure here comes from a rendered corpus: '
        "generated faces, espeak-ng voices, GRID sentences. It shows that the whole path works and learns, nothing "
        "about reading the lips of people.</p>",
        "<h2>Word error rates</h2>",
        "<p>On speakers and sentences that were never trained on; one model for all rows. SYNTHETIC.</p>",
        _table(results),
        _curves(history),
        "<h2>What it was given and what it read</h2>",
        _samples(clips),
        "<h2>One raw video through the whole path</h2>",
        f"<p>{escape(transcript['clip'])}: said <b>{escape(transcript['reference'])}</b>, read "
        f"<b class=hyp>{escape(transcript['text'])}</b> (confidence {transcript['confidence']:.2f}). "
        f"<span class=muted>{escape(' '.join(transcript['notes']))}</span></p>",
        "<h2>Mouth crops (SYNTHETIC)</h2>",
        '<p><img src="store/contact_sheet.jpg" alt="mouth crops, a row per clip"></p>',
        "<h2>Time</h2>",
        _times(seconds),
        f"<p class=muted>{escape(str(machine['cpu']))}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{escape(results['provenance']['date'])}</p>",
    ]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>viseme demo (synthetic)</title><style>{STYLE}'
    write_text_atomic(path, page + "</style><body>\n" + "\n".join(body) + "\n</body></html>\n")
    return path


def _table(results: Mapping[str, Any]) -> str:
    rows = ["<tr><th>read from<th>sound<th class=n>WER %<th class=n>95 % interval<th class=n>CER %<th class=n>clips"]
    for row in results["rows"]:
        sound = "none" if row["modality"] == "video" else "clean"
        if row["noise"]:
            sound = f"{row['noise']} noise at {row['snr_db']:g} dB"
        cells = [
            f"{100 * row['wer']:.1f}",
            f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
            f"{100 * row['cer']:.1f}",
            str(row["clips"]),
        ]
        rows.append(
            f"<tr><td>{escape(NAMES[row['modality']])}<td>{escape(sound)}" + "".join(f"<td class=n>{c}" for c in cells)
        )
    return f"<table>{''.join(rows)}</table>"


NAMES = {"video": "lips alone", "audio": "sound alone", "audiovisual": "lips and sound"}


def _samples(clips: Sequence[Mapping[str, str]]) -> str:
    """Some clips, spread over the test set, each with what was read from it under every condition."""
    by_clip: dict[str, list[Mapping[str, str]]] = {}
    for row in clips:
        by_clip.setdefault(row["id"], []).append(row)
    names = sorted(by_clip)
    parts = []
    for name in names[:: max(1, len(names) // SAMPLES)][:SAMPLES]:
        rows = by_clip[name]
        lines = "".join(
            f"<tr><td>{escape(NAMES[row['modality']])}<td class=muted>{escape(_sound(row))}"
            f"<td class='hyp{' wrong' if int(row['errors']) else ''}'>{escape(row['hypothesis'])}"
            for row in rows
        )
        parts.append(
            f'<div class=clip><video src="corpus/{escape(name)}.mp4" width=160 height=160 controls preload=metadata>'
            f"</video><div><b>{escape(rows[0]['reference'])}</b> <span class=muted>{escape(name)}, synthetic</span>"
            f"<table>{lines}</table></div></div>"
        )
    return "".join(parts)


def _sound(row: Mapping[str, str]) -> str:
    return f"{row['noise']} {float(row['snr_db']):g} dB" if row["noise"] else "clean"


def _times(seconds: Mapping[str, float]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}<td class=n>{value:.0f} s" for name, value in seconds.items())
    return f"<table>{rows}<tr><td><b>together</b><td class=n><b>{sum(seconds.values()):.0f} s</b></table>"


# ----------------------------------------------------------------------------------------------------------- curves


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    training = [
        (line["elapsed_s"], line["loss_ctc"]) for line in history if line["stage"] == "train" and "loss_ctc" in line
    ]
    held_out = [
        (line["elapsed_s"], line["wer_val"]) for line in history if line["stage"] == "validation" and "wer_val" in line
    ]
    return "<h2>Learning (SYNTHETIC)</h2>" + "".join(
        _svg(points, title)
        for points, title in ((training, "CTC loss, training"), (held_out, "WER, validation (both)"))
    )


def _svg(points: Sequence[tuple[float, float]], title: str, width: int = 460, height: int = 220) -> str:
    """A line over seconds as inline SVG; axes from zero to the largest value."""
    if len(points) < 2:
        return ""
    left, bottom = 44, 30
    far, top = max(x for x, _ in points), max(y for _, y in points) or 1.0

    def place(x: float, y: float) -> str:
        return f"{left + x / far * (width - left - 10):.1f},{(height - bottom) * (1 - y / top) + 10 * y / top:.1f}"

    line = " ".join(place(x, y) for x, y in points)
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{escape(title)}">'
        f'<polyline points="{place(0, top)} {place(0, 0)} {place(far, 0)}" fill="none" stroke="#999"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="1.6"/>'
        f'<text x="{left + 8}" y="14">{escape(title)}</text><text x="4" y="16">{top:.3g}</text>'
        f'<text x="22" y="{height - bottom + 4}">0</text><text x="{width - 60}" y="{height - 8}">{far:.0f} s</text>'
        "</svg>"
    )
