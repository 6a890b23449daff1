"""The verbs `evaluate` and `compare`: one way to measure a model of any package, and two measurements side by side."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from .app import App, arg
from .output import emit

__all__ = ["add_compare"]


def add_compare(app: App) -> None:
    """Give a console script the verbs `evaluate` and `compare`."""
    app.verb(
        "evaluate",
        "measure a model of any package on a prepared store",
        arg("model", metavar="MODEL", help="model directory; it says which package it belongs to"),
        arg("--data", required=True, metavar="STORE", help="what `prepare` made (wav2lip: its crops)"),
        arg("--out", required=True, metavar="DIR", help="folder for results.json, clips.csv and results.html"),
        arg("--split", default="test", metavar="NAME", help="part of the store's manifest (default: test)"),
        arg("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further keys of that package's evaluate"),
        device=True,
        description="Runs the package's own evaluation with its defaults for a store, and writes the table, every "
        "clip's figures, and where they come from. `viseme compare` takes two of them.",
    )(evaluate)
    app.verb(
        "compare",
        "two evaluations on the same clips: differences with intervals",
        arg("a", metavar="A", help="folder of an evaluation, or its results.json"),
        arg("b", metavar="B", help="the other one"),
        arg("--anyway", action="store_true", help="although data or conventions differ: on the clips that both have"),
        arg("--out", metavar="FILE", help="write a page (.html)"),
        json=True,
        description="Paired bootstrap over clips: the same draws for both, so that differences show which two separate "
        "intervals would hide. Refuses evaluations whose figures do not mean the same.",
    )(compare)


def evaluate(args: argparse.Namespace) -> int | None:
    """Find the package of the model, and let it evaluate."""
    from viseme.core.checkpoint import load_model_dir
    from viseme.core.errors import CheckpointError, DependencyError

    from .config import compose

    model = Path(args.model)
    package = str(load_model_dir(model).config.get("package", "")).partition("-")[0]
    if not package.isidentifier():
        raise CheckpointError("the model does not say which package it belongs to", path=model)
    if importlib.util.find_spec(f"viseme.{package}") is None:
        raise DependencyError(f"this model is one of viseme-{package}", hint=f"pip install viseme-{package}")
    home: Any = importlib.import_module(f"viseme.{package}.evaluate")
    cli: Any = importlib.import_module(f"viseme.{package}.cli")
    known = home.store_overrides(model.absolute(), Path(args.data).absolute(), args.split)
    verb = cli.app.verbs["evaluate"]
    out = Path(args.out).absolute()
    own = [f"evaluate.out={out}", f"evaluate.device={args.device}"]
    return verb.run(compose(f"viseme.{package}", [*known, *own, *args.set], root=verb.root))


def compare(args: argparse.Namespace) -> None:
    """Compare, then say or write what changed."""
    from viseme.core.files import write_text_atomic
    from viseme.core.metrics.comparison import compare as compare_files
    from viseme.core.metrics.evaluation import read_evaluation
    from viseme.core.metrics.report import comparison_page

    found = compare_files(read_evaluation(args.a), read_evaluation(args.b), anyway=args.anyway)
    if args.out:
        write_text_atomic(args.out, comparison_page(found.to_dict(), (str(args.a), str(args.b))))
    emit([found], as_json=args.json)
