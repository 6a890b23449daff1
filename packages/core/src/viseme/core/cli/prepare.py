"""The verb `prepare`, the same in every package that trains on prepared clips."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .app import App, arg
from .progress import track

__all__ = ["add_prepare"]

READERS = ("folder", "lrs2", "lrs3", "lrw", "voxceleb2", "avspeech", "multivsr", "visper", "muavic", "grid")
"""Of `viseme.core.data.corpora`, without importing it: `--help` is quick. A test compares."""

VALIDATION_WORDS = (6,)
"""Of each list of the MRT: the training talkers' recordings of these are for validation."""


def add_prepare(app: App, *, crops: str = "mouth") -> None:
    """Give a console script the verb `prepare`: videos in, a store of crops and sound out.

    Args:
        crops: the default of `--crops`: what the package trains on.
    """
    app.verb(
        "prepare",
        "videos -> mouth crops at 25 fps and sound at 16 kHz, with a manifest",
        arg("source", metavar="SOURCE", help="a folder of videos, a video, or a manifest (.csv, .parquet)"),
        arg("store", metavar="STORE", nargs="?", help="folder to write; what is already there is kept"),
        arg("--out", metavar="STORE", help="the same, by name"),
        arg(
            "--dataset",
            choices=(*READERS, "nist_mrt"),
            default="folder",
            help="layout of SOURCE (default: folder); nist_mrt: the wheel with NIST's recordings, sound alone",
        ),
        arg(
            "--detector",
            choices=("mediapipe", "retinaface"),
            default="mediapipe",
            help="how `mouth` is cropped: by four points (mediapipe) or by 68 (retinaface); default mediapipe",
        ),
        arg(
            "--crops",
            default=crops,
            metavar="NAMES",
            help=f"mouth, mouth68 (RAVEn's), lips, face; several with commas, trained on the first (default: {crops})",
        ),
        arg(
            "--for",
            dest="packages",
            metavar="PACKAGES",
            help="instead of --crops: what these packages train on (avsr, raven, lip2speech, wav2lip; with commas)",
        ),
        arg("--landmarks-dir", metavar="DIR", help="landmarks to use instead of detection (<id>.npz, .npy, .pkl)"),
        arg("--face", type=int, metavar="N", help="which face of several (default: 1, the most prominent)"),
        arg("--stride", type=int, default=8, metavar="N", help="frames between face detections (default: 8)"),
        arg(
            "--min-visible",
            type=float,
            default=0.5,
            metavar="SHARE",
            help="refuse clips whose face is seen in a smaller share of the frames (default: 0.5)",
        ),
        arg("--workers", type=int, metavar="N", help="processes (default: one per core)"),
        arg("--shard", metavar="I/N", help="prepare only part I of N, for arrays of jobs that share STORE"),
        arg(
            "--executor",
            choices=("processes", "ray"),
            default="processes",
            help="processes of this machine, or the Ray cluster that it belongs to (viseme-core[cluster])",
        ),
        arg("--max-seconds", type=float, metavar="S", help="cut longer recordings at pauses (published: 24 or 16)"),
        arg("--sync", metavar="MODEL", help="MODULE:FACTORY[=ARGUMENT] of a model that tells sound and picture apart"),
        arg("--retry-failed", action="store_true", help="try the clips again that failed in an earlier run"),
        json=True,
        description="Finds and follows the face, crops the mouth, resamples the sound. Resumable at any moment. A clip "
        "that cannot be prepared is named with its reason in STORE/failures.csv and stops nothing; look at "
        "STORE/report.html before training. Exits with 2 only where nothing could be prepared.",
    )(run)


def run(args: argparse.Namespace) -> None:
    """Prepare, then say what came of it."""
    from viseme.core.data.corpora import reader
    from viseme.core.errors import ConfigError, DataError
    from viseme.core.prepare import prepare

    if (args.store is None) == (args.out is None):
        raise ConfigError("where to?", expected="STORE or --out STORE", got="both" if args.store else "neither")
    args.store = args.store or args.out
    source: object = args.source
    if not Path(args.source).exists():
        raise DataError("no such file or folder", path=args.source)
    if args.dataset == "nist_mrt":
        return _sound_only(args)
    if args.dataset != "folder":
        source = reader(args.dataset)(args.source)
    report = prepare(
        source,  # type: ignore[arg-type]
        args.store,
        crops=_crops(args.packages) if args.packages else args.crops,
        variant=args.detector,
        stride=args.stride,
        face=args.face,
        landmarks=args.landmarks_dir,
        min_visible=args.min_visible,
        workers=args.workers,
        retry_failed=args.retry_failed,
        shard=args.shard,
        executor=args.executor,
        max_s=args.max_seconds,
        sync=args.sync,
        progress=track,
    )
    clips, failed = len(report.manifest), len(report.failures)
    if args.json:
        paths = {"manifest": report.manifest_file, "failures": report.failures_file, "sheet": report.contact_sheet}
        paths["report"] = report.report
        facts = {"clips": clips, "reused": report.reused, "failed": failed, "hours": report.frames / 25 / 3600}
        print(json.dumps({**facts, **{name: str(path) for name, path in paths.items()}}))
        return
    print(f"{report.store}: {clips} clips, {report.frames / 25 / 60:.1f} min ({report.reused} of them were there)")
    print(f"look at {report.report}: every picture should be a mouth, or what was asked for")
    if failed:
        print(f"{failed} clips failed; {report.failures_file} says why")


def _crops(packages: str) -> tuple[str, ...]:
    """What the named packages train on, each crop once."""
    from viseme.core.errors import ConfigError
    from viseme.core.prepare import FOR

    names = packages.split(",")
    if unknown := sorted(set(names) - set(FOR)):
        raise ConfigError("no crops are known for these packages", expected=" | ".join(FOR), got=unknown)
    return tuple(dict.fromkeys(kind for name in names for kind in FOR[name]))


def _sound_only(args: argparse.Namespace) -> None:
    """NIST MRT has no pictures: unpack the recordings and list them."""
    from viseme.core.data.corpora import nist_mrt

    store = Path(args.store)
    manifest = nist_mrt.scan(nist_mrt.unpack(args.source, store / "audio"), val_words=VALIDATION_WORDS)
    manifest.with_root(store).write(store / "manifest.csv")
    splits = {split: sum(row.split == split for row in manifest) for split in ("train", "val", "test")}
    if args.json:
        print(json.dumps({"clips": len(manifest), **splits, "manifest": str(store / "manifest.csv")}))
    else:
        print(f"{store}: {', '.join(f'{count} {split}' for split, count in splits.items())} recordings")
