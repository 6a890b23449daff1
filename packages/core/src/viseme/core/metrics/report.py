"""Results as a page: one HTML file without scripts or anything fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["comparison_page", "evaluation_page"]

WORST = 20
"""Clips with the most errors that are listed."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
td, th { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.synthetic { background: #fff3cd; border: 1px solid #e0c36a; padding: .6rem 1rem; border-radius: .4rem }
.muted { color: #666 } dt { font-weight: 600 } dd { margin: 0 0 .4rem 1rem; overflow-wrap: anywhere }
.bar { fill: #1f6feb; opacity: .3 } .dot { fill: #1f6feb }
"""


def evaluation_page(content: Mapping[str, Any], clips: Sequence[Mapping[str, Any]]) -> str:
    """The page of an evaluation.

    Args:
        content: of `results.json`.
        clips: of `clips.csv`.
    """
    rows: list[Mapping[str, Any]] = content["rows"]
    body = [
        "<h1>Evaluation</h1>",
        _synthetic(bool(content["synthetic"])),
        _table(rows, intervals=True),
    ]
    if content.get("chance"):
        note = "Chance: every clip's hypothesis against another clip's reference."
        body += ["<h2>Chance</h2>", f'<p class="muted">{note}</p>', _table(content["chance"], intervals=True)]
    body += [_worst(clips), "<h2>Where these figures come from</h2>", _facts(content["provenance"])]
    return _page("evaluation", body)


def comparison_page(comparison: Mapping[str, Any], names: tuple[str, str]) -> str:
    """The page of `Comparison.to_dict()`; `names` of a and b."""
    rows = [
        {
            **{k: v for k, v in change.items() if k != "clear"},
            "verdict": "clear" if change["clear"] else "could be chance",
        }
        for change in comparison["changes"]
    ]
    body = [
        "<h1>Comparison</h1>",
        _synthetic(bool(comparison["synthetic"])),
        f"<p>a: <b>{escape(names[0])}</b>, b: <b>{escape(names[1])}</b>. Difference: b minus a, with the 95 % "
        "interval of a paired bootstrap over clips.</p>",
        _table(rows, intervals=False),
        *(f'<p class="muted">{escape(note)}</p>' for note in comparison["notes"]),
    ]
    return _page("comparison", body)


def _page(title: str, body: Sequence[str]) -> str:
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>viseme: {title}</title><style>{STYLE}</style>'
    return head + "<body>\n" + "\n".join(part for part in body if part) + "\n</body></html>\n"


def _synthetic(synthetic: bool) -> str:
    if not synthetic:
        return ""
    return (
        '<p class="synthetic"><b>SYNTHETIC.</b> The data are rendered: these figures say that things work, not how '
        "well they work on people.</p>"
    )


def _table(rows: Sequence[Mapping[str, Any]], *, intervals: bool) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    bars = intervals and {"wer", "low", "high"} <= set(columns)
    far = max((float(row["high"]) for row in rows if row.get("high") is not None), default=0.0) or 1.0
    lines = ["<tr>" + "".join(f"<th>{escape(name)}" for name in columns) + ("<th>WER, 95 %" if bars else "")]
    for row in rows:
        cells = [_cell(row.get(name)) for name in columns]
        lines.append("<tr>" + "".join(cells) + (f"<td>{_bar(row, far)}" if bars else ""))
    return "<table>" + "\n".join(lines) + "</table>"


def _cell(value: Any) -> str:
    if value is None:
        return "<td>"
    if isinstance(value, float):
        return f"<td class=n>{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"<td class=n>{value}"
    return f"<td>{escape(str(value))}"


def _bar(row: Mapping[str, Any], far: float, width: int = 200) -> str:
    if row.get("wer") is None or row.get("low") is None or row.get("high") is None:
        return ""
    low, high, at = (width * float(row[name]) / far for name in ("low", "high", "wer"))
    return (
        f'<svg width="{width + 8}" height="14" role="img" aria-label="interval">'
        f'<rect class="bar" x="{low:.1f}" y="4" width="{max(high - low, 1):.1f}" height="6"/>'
        f'<circle class="dot" cx="{at:.1f}" cy="7" r="3"/></svg>'
    )


def _worst(clips: Sequence[Mapping[str, Any]]) -> str:
    known = [clip for clip in clips if {"reference", "hypothesis", "errors"} <= clip.keys() and str(clip["errors"])]
    if not known:
        return ""
    worst = sorted(known, key=lambda clip: -float(clip["errors"]))[:WORST]
    shown = [{name: clip[name] for name in clip if name != "confidence"} for clip in worst if float(clip["errors"])]
    return f"<h2>Most errors</h2>{_table(shown, intervals=False)}" if shown else ""


def _facts(provenance: Mapping[str, Any]) -> str:
    lines = []
    for name, value in provenance.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items()) or "-"
        lines.append(f"<dt>{escape(name)}<dd>{escape(str(value)) or '-'}")
    return f"<dl>{''.join(lines)}</dl>"
