"""`python -m tools.demo`: corpus, preparation, training, evaluation, one transcript, report; or `all` packages."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Threads that spin while they wait halve the speed as soon as anything else runs on the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from viseme.core.cli import App, arg

app = App("demo", "From nothing to a measured audio-visual recogniser, on a synthetic corpus.")


@app.verb(
    "run",
    "make the corpus, prepare, train, evaluate, report",
    arg("--out", default="runs/demo", metavar="DIR", help="folder for everything (default: runs/demo)"),
    arg("--clips", type=int, default=1500, metavar="N", help="size of the corpus (default: 1500)"),
    arg("--seed", type=int, default=0, metavar="S", help="of corpus, training and noise (default: 0)"),
    arg("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the recipe, e.g. trainer.max_epochs=2"),
)
def run(args: argparse.Namespace) -> None:
    from tools.demo.stages import Demo

    Demo(Path(args.out), clips=args.clips, seed=args.seed, overrides=tuple(args.overrides)).run()


@app.verb(
    "all",
    "the same for all five packages, with one report",
    arg("--out", default="runs/all", metavar="DIR", help="folder for everything (default: runs/all)"),
    arg("--clips", type=int, default=1000, metavar="N", help="size of the corpus (default: 1000)"),
    arg("--seed", type=int, default=0, metavar="S", help="of corpora and training (default: 0)"),
    arg("--minutes", type=float, default=4, metavar="M", help="training time of a network (default: 4)"),
    arg("--workers", type=int, metavar="N", help="packages at work at a time (default: 2, or 1 on one core)"),
)
def all_packages(args: argparse.Namespace) -> None:
    from tools.demo.everything import Everything

    demo = Everything(Path(args.out), clips=args.clips, seed=args.seed, minutes=args.minutes)
    demo.workers = args.workers or demo.workers
    demo.run()


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(app.main(words if words[:1] == ["all"] else ["run", *words]))
