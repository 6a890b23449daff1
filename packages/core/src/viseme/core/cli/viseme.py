"""The `viseme` console script: what belongs to no single task."""

from __future__ import annotations

import argparse
import json
import sys

from .app import App, arg
from .compare import add_compare
from .demo import add_demo
from .label import add_label
from .prepare import add_prepare
from .store import add_store

__all__ = ["app", "main"]

app = App("viseme", "Tools of the viseme family: an embedded corpus, preparation of videos, a look at this machine.")


@app.verb(
    "corpus",
    "render the embedded corpus: generated faces that speak GRID sentences",
    arg("out", metavar="OUT", help="folder to write; clips that are already there are kept"),
    arg("--clips", type=int, default=100, metavar="N", help="how many clips (default: 100)"),
    arg("--seed", type=int, default=0, metavar="S", help="the same seed gives the same clips (default: 0)"),
    arg("--workers", type=int, default=None, metavar="N", help="processes (default: one per core)"),
    arg("--size", type=int, default=160, metavar="PX", help="side of the square frames (default: 160)"),
    json=True,
    description="Render talking faces (H.264 + AAC, 25 fps) with transcripts in LRS3 layout, for trying and testing "
    "without downloads. Splits share no face, no voice and no sentence. Everything in it is synthetic, and marked so.",
)
def corpus(args: argparse.Namespace) -> None:
    from viseme.core.synthetic import make_corpus

    from .progress import Counter

    with Counter("rendering", unit="clips") as count:
        report = make_corpus(
            args.out, args.clips, args.seed, workers=args.workers, size_px=args.size, on_clip=count.update
        )
    if args.json:
        facts = {"root": str(report.root), "manifest": str(report.manifest), "clips": report.clips}
        print(json.dumps({**facts, "made": report.made, "hours": report.hours, "seconds": report.seconds}))
    else:
        splits = ", ".join(f"{count} {split}" for split, count in report.clips.items())
        print(f"{report.root}: {splits}; {report.hours:.2f} h of synthetic speech, {report.made} clips rendered now")


@app.verb(
    "scenes",
    "render the embedded captioned images: coloured objects, and voices that say where they are",
    arg("out", metavar="OUT", help="folder to write; pictures that are already there are kept"),
    arg("--clips", type=int, default=400, metavar="N", help="how many pictures (default: 400)"),
    arg("--seed", type=int, default=0, metavar="S", help="the same seed gives the same pictures (default: 0)"),
    arg("--size", type=int, default=96, metavar="PX", help="side of the pictures (default: 96)"),
    json=True,
    description="Pictures of two objects with spoken captions, for trying and testing without downloads. Splits share "
    "no caption and no voice. Everything in it is synthetic, and marked so.",
)
def scenes(args: argparse.Namespace) -> None:
    from viseme.core.synthetic.scenes import make_scenes

    from .progress import Counter

    with Counter("rendering", unit="pictures") as count:
        report = make_scenes(args.out, args.clips, args.seed, size_px=args.size, on_clip=count.update)
    if args.json:
        facts = {"root": str(report.root), "manifest": str(report.manifest), "clips": report.clips}
        print(json.dumps({**facts, "made": report.made, "hours": report.hours}))
    else:
        splits = ", ".join(f"{count} {split}" for split, count in report.clips.items())
        print(f"{report.root}: {splits}; {report.hours:.2f} h of synthetic speech, {report.made} rendered now")


add_prepare(app)
add_store(app)
add_label(app)
add_compare(app)
add_demo(app)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return app.main(argv)


if __name__ == "__main__":
    sys.exit(main())
