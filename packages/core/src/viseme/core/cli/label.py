"""The verb `label`: transcripts of a store's clips by a speech recogniser."""

from __future__ import annotations

import argparse
import json

from .app import App, arg
from .progress import Counter

__all__ = ["add_label"]


def add_label(app: App) -> None:
    """Give a console script the verb `label`."""
    app.verb(
        "label",
        "transcribe the clips of a store that have no transcript (pseudo-labels)",
        arg("store", metavar="STORE", help="folder of a prepared store"),
        arg("--asr", required=True, metavar="MODEL", help="avsr:DIR, transformers:NAME or whisper:NAME"),
        arg("--languages", default="", metavar="LIST", help="keep only clips in these (en,fr); default: all"),
        arg("--min-confidence", type=float, default=0.0, metavar="P", help="keep only transcripts as sure as this"),
        arg("--normaliser", default="auto_avsr", metavar="NAME", help="of transcripts (default: auto_avsr)"),
        arg("--relabel", action="store_true", help="clips that have a transcript as well"),
        arg("--batch", type=int, default=8, metavar="N", help="recordings heard at once (default: 8)"),
        device=True,
        out=True,
        json=True,
        description="Writes STORE/manifest_labelled.csv (or --out): clips with transcripts, who heard them, how sure, "
        "and the normaliser. What was left out, and why, is in STORE/labels_rejected.csv. Stopped and started again, "
        "it goes on where it was.",
    )(run)


def run(args: argparse.Namespace) -> None:
    """Label, then say what came of it."""
    from viseme.core.device import resolve_device
    from viseme.core.metrics.labelling import label
    from viseme.core.metrics.recogniser import load_recogniser

    recogniser = load_recogniser(args.asr, device=str(resolve_device(args.device)))
    with Counter("listening", unit="clips") as count:
        report = label(
            args.store,
            recogniser,
            out=args.out,
            normaliser=args.normaliser,
            languages=[name for name in args.languages.split(",") if name],
            min_confidence=args.min_confidence,
            relabel=args.relabel,
            batch=args.batch,
            progress=count.update,
        )
    facts = {"clips": len(report.manifest), "labelled": report.labelled, "rejected": len(report.rejected)}
    if args.json:
        print(json.dumps({**facts, "reused": report.reused, "manifest": str(report.manifest_file)}))
    else:
        print(f"{report.manifest_file}: {facts['clips']} clips, {report.labelled} labelled by {recogniser.name}")
        if report.rejected:
            print(f"{len(report.rejected)} left out; {args.store}/labels_rejected.csv says why")
