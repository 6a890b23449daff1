"""The report of the demo of all packages: figures with what bounds them, and everything playable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from tools.demo.report import STYLE

from viseme.core.data import Manifest, ManifestRow
from viseme.core.files import write_text_atomic

__all__ = ["write_gallery"]

TITLES = {
    "avsr": "Words read from lips, sound, or both (avsr)",
    "raven": "Learnt from unlabelled clips, then fine-tuned (raven)",
    "lip2speech": "A voice for silent lips (lip2speech)",
    "wav2lip": "Lips that follow another voice (wav2lip)",
    "im2speech": "Pictures described aloud (im2speech)",
}
GROWN = "style='width:220px;flex:none'"


def write_gallery(out: Path, seconds: Mapping[str, float], failed: Mapping[str, str] | None = None) -> Path:
    """Write `report.html` into the demo's folder; media are linked relative to it.

    Args:
        failed: package -> at which stage and why; what it had made by then is shown.
    """
    failed = failed or {}
    body = [
        "<h1>viseme: five packages from nothing</h1>",
        '<p class="synthetic"><b>SYNTHETIC.</b> Every face, picture, voice and figure here is from rendered corpora. '
        "It shows that each path works and learns something in a few minutes, nothing about people.</p>",
    ]
    if failed:
        body.append(f"<p class=wrong><b>{len(failed)} of {len(TITLES)} packages failed</b>; each says where below.</p>")
    for package, title in TITLES.items():
        body.append(f"<h2>{escape(title)}</h2>")
        if package in failed:
            body.append(f"<p class=wrong><b>FAILED.</b> {escape(failed[package])}</p>")
        results = out / package / "evaluation" / "results.json"
        if results.exists():
            body.append(_figures(results))
            link = f"{package}/evaluation/results.html"
            more = "All figures, intervals and where they come from"
            body.append(f'<p class=muted>SYNTHETIC. <a href="{link}">{more}</a></p>')
        body.append(_samples(out, package))
    rows = "".join(f"<tr><td>{escape(name)}<td class=n>{value:.0f} s" for name, value in seconds.items())
    body.append(f"<h2>Time</h2><p>Packages run side by side: the last row is what passed.</p><table>{rows}</table>")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>viseme demo (synthetic)</title><style>{STYLE}'
    path = out / "report.html"
    write_text_atomic(path, head + "</style><body>\n" + "\n".join(body) + "\n</body></html>\n")
    return path


def _figures(path: Path) -> str:
    """The rows of an evaluation, numbers short."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if value not in (None, "")))
    lines = ["<tr>" + "".join(f"<th>{escape(name)}" for name in names)]
    for row in rows:
        cells = (f"{row[n]:.3g}" if isinstance(row.get(n), float) else str(row.get(n, "")) for n in names)
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells))
    return f"<table style='display:block;overflow-x:auto'>{''.join(lines)}</table>"


def _samples(out: Path, package: str) -> str:
    """Everything of a package that plays."""
    folder = out / package / "said"
    if package == "im2speech":
        pictures = sorted(path for path in folder.glob("*.*") if path.suffix in (".png", ".jpg"))
        return "".join(_described(path.relative_to(out)) for path in pictures)
    if package in ("avsr", "raven"):
        words = folder / "words.jsonl"
        said = [json.loads(line) for line in words.read_text(encoding="utf-8").splitlines()] if words.exists() else []
        manifest = Manifest.read(out / "corpus" / "manifest.csv") if said else []
        by_name = {Path(row.path).name: row for row in manifest if row.split == "test"}
        return "".join(_read(one, by_name[str(one["name"])]) for one in said)
    spoken = "what is heard was made from the lips alone" if package == "lip2speech" else "another voice, new lips"
    films = (escape(path.relative_to(out).as_posix()) for path in sorted(folder.glob("*.mp4")))
    return "".join(
        f'<div class=clip><video src="{film}" {GROWN} controls preload=metadata></video>'
        f"<span class=muted>synthetic, AI-generated: {spoken}</span></div>"
        for film in films
    )


def _read(said: Mapping[str, Any], row: ManifestRow) -> str:
    video = f'<video src="corpus/{escape(row.path)}" {GROWN} controls preload=metadata></video>'
    words = f"said <b>{escape(row.text)}</b>, lips alone read <b class=hyp>{escape(said['text'])}</b>"
    return f"<div class=clip>{video}<div>{words}</div></div>"


def _described(picture: Path) -> str:
    sound = picture.with_suffix(".wav").as_posix()
    return (
        f'<div class=clip><img src="{escape(picture.as_posix())}" {GROWN} alt="rendered scene">'
        f'<audio src="{escape(sound)}" controls></audio></div>'
    )
