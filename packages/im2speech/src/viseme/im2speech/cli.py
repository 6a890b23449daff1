"""The `im2speech` console script: thin, no logic."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from viseme.core.cli import App, arg
from viseme.core.cli.demo import add_demo

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["app", "main"]

app = App(
    "im2speech",
    "Image-to-speech captioning: a picture described aloud, without text in between.",
    package="viseme.im2speech",
    extras={
        "transformers": "GIT and HuBERT",
        "PIL": "pictures",
        "sklearn": "k-means training",
        "pycocoevalcap": "METEOR and SPICE (with Java)",
        "espeakng_loader": "the embedded corpus' voices",
        "gradio": "the demo page",
        "pocketsphinx": "a recogniser that needs no download",
    },
)
add_demo(app)


@app.config_verb(
    "train",
    "train units, a vocoder, or a captioner",
    description="Train a part of the chain: im2speech train recipe=NAME KEY=VALUE ... (part=captioner|vocoder|units)",
)
def train(cfg: DictConfig) -> None:
    from viseme.im2speech.train import train as run

    report = run(cfg)
    done = f"{report.epochs} epochs, {report.steps} steps on {report.clips} clips"
    print(f"{report.model}: {report.parameters / 1e6:.2f} M parameters, {done}")


@app.config_verb(
    "evaluate",
    "caption scores through a recogniser, unit error rates",
    description="Scores over data.test_file, with a row for the reference speech: "
    "im2speech evaluate recipe=NAME data.root_dir=DIR evaluate.recogniser=avsr:DIR",
)
def evaluate(cfg: DictConfig) -> None:
    from viseme.im2speech.evaluate import evaluate_list, table

    result = evaluate_list(cfg)
    print(table(result))
    for name, reason in result.failures.items():
        print(f"not scored: {name}: {reason}", file=sys.stderr)


@app.verb(
    "describe",
    "describe pictures aloud",
    arg("inputs", nargs="+", metavar="PICTURE", help="pictures, folders of pictures, or - for standard input"),
    arg("--model", required=True, metavar="DIR", help="model directory"),
    arg("--units", action="store_true", help="speech units instead of sound"),
    arg("--beam", type=int, metavar="N", help="hypotheses kept by the search (default: the model's)"),
    arg("--batch", type=int, default=8, metavar="N", help="pictures described together (default: 8)"),
    device=True,
    out=True,
    json=True,
    description="Writes PICTURE.wav beside each picture, or to --out: a file for one picture, a folder for several. "
    "--units writes lines of speech units instead.",
)
def describe(args: argparse.Namespace) -> int:
    from viseme.im2speech.describe import run

    return run(args)


@app.verb(
    "speak",
    "sound from speech units",
    arg("inputs", nargs="+", metavar="FILE", help="files of units: .unit, or text with id|u1 u2 ... lines"),
    arg("--model", required=True, metavar="DIR", help="model directory of a vocoder or of a captioner with one"),
    arg("--out", required=True, metavar="DIR", help="folder for the wave files"),
    arg("--no-durations", action="store_true", help="each unit lasts 20 ms (for units with repeats)"),
    arg("--speaker", type=int, metavar="N", help="of a multi-speaker vocoder"),
    device=True,
)
def speak(args: argparse.Namespace) -> int:
    from viseme.im2speech.describe import speak_files

    return speak_files(args)


@app.verb(
    "prepare",
    "a corpus of images with spoken captions -> a manifest",
    arg("source", metavar="FOLDER", help="the corpus"),
    arg("out", metavar="MANIFEST", help="manifest to write (.csv)"),
    arg("--dataset", choices=("published", "tuxpaint"), required=True, help="its layout"),
    arg("--language", default="fr", metavar="NAME", help="of Tux Paint's recordings (default: fr)"),
    description="published: SpokenCOCO, Flickr8k Audio and Karpathy's split; Flickr8k's test images are the split "
    "test_flickr. tuxpaint: the stamps that Debian's tuxpaint-stamps-default installs. Nothing is copied.",
)
def prepare(args: argparse.Namespace) -> None:
    from viseme.im2speech.data import prepare_list

    manifest = prepare_list(args.source, args.out, args.dataset, language=args.language)
    splits = {row.split: sum(other.split == row.split for other in manifest) for row in manifest}
    print(f"{args.out}: {', '.join(f'{count} {split}' for split, count in splits.items())}")


@app.verb(
    "units",
    "speech units of the recordings of a manifest",
    arg("source", metavar="MANIFEST", help="manifest of recordings, or a folder of published .unit files to import"),
    arg("--model", metavar="DIR", help="model directory of units (not needed for an import)"),
    arg("--split", metavar="NAME", help="only this split"),
    arg("--out", required=True, metavar="FILE", help="file to write: id|u1 u2 ... a line"),
    device=True,
    description="Resumable: units already found are kept. Recordings that fail are named in failures.csv beside FILE.",
)
def units(args: argparse.Namespace) -> int:
    from viseme.core.data import Manifest
    from viseme.core.errors import ConfigError
    from viseme.im2speech.extract import extract, import_units
    from viseme.im2speech.units import UnitExtractor

    if Path(args.source).is_dir():
        report = import_units(Path(args.source), Path(args.out))
    elif not args.model:
        raise ConfigError("units are found by a model", expected="--model DIR")
    else:
        manifest = Manifest.read(args.source)
        manifest = manifest.filter(split=args.split) if args.split else manifest
        report = extract(UnitExtractor.load(args.model, device=args.device), manifest, Path(args.out))
    for name, reason in report.failures.items():
        print(f"im2speech: {name}: {reason}", file=sys.stderr)
    print(f"{args.out}: {report.made} made, {report.kept} kept, {len(report.failures)} failed")
    return 2 if report.failures else 0


@app.verb(
    "codes",
    "image tokens of the pictures of a manifest",
    arg("source", metavar="MANIFEST", help="manifest of pictures"),
    arg("--model", required=True, metavar="DIR", help="model directory of a captioner of image codes"),
    arg("--out", required=True, metavar="FILE", help="file to write (.safetensors)"),
    arg("--batch", type=int, default=8, metavar="N", help="pictures tokenised together (default: 8)"),
    device=True,
    description="Two kilobytes a picture; training reads them with data.codes_file=FILE.",
)
def codes(args: argparse.Namespace) -> int:
    from viseme.core.data import Manifest
    from viseme.im2speech.codes import write_codes
    from viseme.im2speech.pipeline import Im2Speech

    model = Im2Speech.from_pretrained(args.model, device=args.device)
    failures = write_codes(model, Manifest.read(args.source), Path(args.out), batch=args.batch)
    for name, reason in failures.items():
        print(f"im2speech: {name}: {reason}", file=sys.stderr)
    print(f"{args.out}: written, {len(failures)} pictures failed")
    return 2 if failures else 0


@app.verb(
    "convert",
    "published checkpoints -> model directories",
    arg("checkpoint", metavar="FILE", help="captioner, vocoder (g_*), or HuBERT checkpoint"),
    arg("directory", metavar="DIR", help="model directory to write"),
    arg("--part", choices=("captioner", "vocoder", "units"), default="captioner", help="what it is"),
    arg("--codebook", metavar="FILE", help="codebook.ckpt, for captioners of image codes"),
    arg("--vocoder", metavar="FILE", help="the vocoder's checkpoint, which gives a captioner its voice"),
    arg("--vocoder-config", metavar="FILE", help="config.json beside a vocoder's checkpoint"),
    arg("--kmeans", metavar="FILE", help="km.bin, for units"),
    description="Geometry comes from the weights' shapes and the layout from their keys. Files are read without "
    "running anything that is in them.",
)
def convert(args: argparse.Namespace) -> None:
    from viseme.im2speech import convert as files

    def path(name: str) -> Path | None:
        value = getattr(args, name)
        return Path(value) if value else None

    checkpoint, directory = Path(args.checkpoint), Path(args.directory)
    if args.part == "units":
        done = files.convert_units_files(checkpoint, directory, path("kmeans"))
    elif args.part == "vocoder":
        done = files.convert_vocoder_file(checkpoint, directory, path("vocoder_config"))
    else:
        done = files.convert_captioner_file(
            checkpoint,
            directory,
            codebook=path("codebook"),
            vocoder=path("vocoder"),
            vocoder_config=path("vocoder_config"),
        )
    print(f"{done}: written")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return app.main(argv)


if __name__ == "__main__":
    sys.exit(main())
