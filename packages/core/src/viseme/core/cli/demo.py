"""The verb `demo`: everything that is installed, in the browser."""

from __future__ import annotations

import argparse
import sys

from .app import App, arg

__all__ = ["add_demo"]


def add_demo(app: App) -> None:
    """Give a console script the verb `demo`."""
    app.verb(
        "demo",
        "try models in the browser: a tab for each installed package",
        arg("models", nargs="*", default=["runs"], metavar="DIR", help="folders to look for models in (default: runs)"),
        arg("--host", default="127.0.0.1", metavar="NAME", help="address to listen at (default: this machine alone)"),
        arg("--port", type=int, metavar="N", help="default: the first free one from 7860"),
        arg("--max-seconds", type=float, default=60, metavar="S", help="longest upload (default: 60)"),
        arg("--max-mb", type=int, default=100, metavar="MB", help="largest upload (default: 100)"),
        device=True,
        description="Shows an address to open. Uploads and results stay on this machine and are deleted after half an "
        "hour, and when the app stops.",
    )(run)


def run(args: argparse.Namespace) -> None:
    """Look for models, then serve until interrupted."""
    from viseme.core.demo import Limits, find_models, serve
    from viseme.core.device import resolve_device

    models = find_models(args.models)
    for model in models:
        print(f"{model.package:12} {model.path}", file=sys.stderr)
    serve(
        models,
        device=str(resolve_device(args.device)),
        limits=Limits(seconds=args.max_seconds, megabytes=args.max_mb),
        host=args.host,
        port=args.port,
        ready=lambda address: print(f"open {address} (Ctrl-C ends)", flush=True),
    )
