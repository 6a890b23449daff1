"""The verb `store`: what can be done with a prepared store."""

from __future__ import annotations

import argparse
import json

from .app import App, arg
from .progress import Counter

__all__ = ["add_store"]


def add_store(app: App) -> None:
    """Give a console script the verb `store`."""
    app.verb(
        "store",
        "pack a prepared store into shards, and check or mend a packed one",
        arg("action", choices=("pack", "verify"), help="pack STORE into --out, or verify the packed STORE"),
        arg("store", metavar="STORE", help="folder of a store"),
        arg("--out", metavar="DIR", help="pack: folder of the packed store"),
        arg("--rgb", action="store_true", help="pack: keep colour (three times the size)"),
        arg("--shard-mb", type=int, default=256, metavar="MB", help="pack: size of a shard (default: 256)"),
        arg("--workers", type=int, metavar="N", help="pack: decoders at work (default: one per core)"),
        arg("--repair", action="store_true", help="verify: rebuild damaged clips from the store they came from"),
        arg("--source", metavar="STORE", help="verify --repair: that store, if it has moved"),
        json=True,
        description="A packed store is a few large safetensors files instead of two small ones per clip: uint8 frames "
        "and int16 samples, mapped into memory, with a checksum for every clip. Its manifest.csv is used like any "
        "other. `verify` exits with 2 where clips are damaged and not repaired.",
    )(run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    return _pack(args) if args.action == "pack" else _verify(args)


def _pack(args: argparse.Namespace) -> int:
    from viseme.core.data import pack
    from viseme.core.errors import ConfigError

    if not args.out:
        raise ConfigError("pack needs a folder to write to", hint="Give --out DIR.")
    with Counter("packing", unit="clips") as count:
        report = pack(
            args.store,
            args.out,
            gray=not args.rgb,
            shard_mb=args.shard_mb,
            workers=args.workers,
            progress=count.update,
        )
    facts = {"clips": len(report.manifest), "failed": len(report.failures), "shards": report.shards}
    if args.json:
        print(json.dumps({**facts, "reused": report.reused, "manifest": str(report.manifest.root / "manifest.csv")}))
    else:
        print(f"{args.out}: {facts['clips']} clips in {report.shards} shards, {report.reused} of which were there")
        if report.failures:
            print(f"{facts['failed']} clips left out; {args.out}/failures.csv says why")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from viseme.core.data import verify

    report = verify(args.store, repair=args.repair, source=args.source)
    if args.json:
        print(json.dumps({"clips": report.clips, "damaged": report.damaged, "repaired": list(report.repaired)}))
    else:
        for clip, reason in report.damaged.items():
            print(f"{clip}: {reason}{' (repaired)' if clip in report.repaired else ''}")
        print(f"{args.store}: {report.clips} clips, {len(report.damaged)} damaged, {len(report.repaired)} repaired")
    return 0 if report.sound else 2
