"""The `avsr` console script: thin, no logic."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from viseme.avsr.published_keys import translated
from viseme.core.cli import App, arg, emit
from viseme.core.cli.demo import add_demo
from viseme.core.cli.prepare import add_prepare

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from viseme.core.checkpoint import WeightRecord

__all__ = ["app", "main"]

app = App(
    "avsr",
    "Auto-AVSR: speech read from lips, from sound, or from both.",
    package="viseme.avsr",
    extras={"sentencepiece": "sub-word units", "jiwer": "alignments in reports"},
    translate=translated,
)

add_prepare(app)
add_demo(app)


@app.config_verb("train", "train a recogniser", description="Train a recogniser: avsr train recipe=NAME KEY=VALUE ...")
def train(cfg: DictConfig) -> None:
    from viseme.avsr.train import train as run

    report = run(cfg)
    print(f"{report.model}: {report.parameters / 1e6:.2f} M parameters, {report.epochs} epochs on {report.clips} clips")


@app.config_verb(
    "evaluate",
    "word error rates over a list, by modality and noise",
    description="Error rates with bootstrap intervals, of the model that the same configuration trained or of "
    "evaluate.model=DIR: avsr evaluate recipe=NAME data.root_dir=STORE evaluate.noise_kinds=[babble]",
)
def evaluate(cfg: DictConfig) -> None:
    from viseme.avsr.evaluate import evaluate_list, table

    result = evaluate_list(cfg)
    print(table(result.scores))
    for clip, reason in result.failures.items():
        print(f"not read: {clip}: {reason}", file=sys.stderr)


SEARCH = (
    arg("--greedy", action="store_true", help="best CTC path: many times faster, a little less accurate"),
    arg("--beam", type=int, metavar="N", help="hypotheses kept by the search (default: the model's)"),
    arg("--ctc-weight", type=float, metavar="W", help="share of CTC in the search (default: the model's)"),
    arg("--penalty", type=float, metavar="W", help="bonus per unit (default: the model's)"),
    arg("--lm", metavar="DIR", help="language model directory (default: the model's own, where it has one)"),
    arg("--lm-weight", type=float, metavar="W", help="share of the language model (default: the model's)"),
)
MODALITY = arg(
    "--modality",
    choices=("auto", "video", "audio", "audiovisual"),
    default="auto",
    help="what to read from (default: auto, all that file and model have)",
)
MODEL = arg("--model", required=True, metavar="DIR", help="model directory")


@app.verb(
    "transcribe",
    "the words of videos or sound files, of any length",
    arg("inputs", nargs="+", metavar="FILE", help="video or sound files, folders of them, or - for standard input"),
    MODEL,
    MODALITY,
    arg("--face", type=int, metavar="N", help="which face of several (default: 1, the most prominent)"),
    arg("--all-faces", action="store_true", help="one transcript for each face"),
    *SEARCH,
    arg("--nbest", type=int, default=1, metavar="N", help="hypotheses to report, with --json (default: 1)"),
    arg("--srt", action="store_true", help="SubRip subtitles; with several files, --out is a folder"),
    arg("--vtt", action="store_true", help="WebVTT subtitles; with several files, --out is a folder"),
    device=True,
    out=True,
    json=True,
    description="One line a file (a face, with --all-faces). What a reader should know about it (a face that was lost, "
    "a rate that was converted, a model that knows few words) goes to standard error, or into the notes of --json, "
    "which also has the words with their times and confidences.",
)
def transcribe(args: argparse.Namespace) -> int:
    from viseme.avsr.transcribe import transcribe_files

    return transcribe_files(args)


@app.verb(
    "live",
    "the words of a webcam, or of a file as it plays, while they are said",
    arg("source", metavar="FILE", help="video or sound file, or webcam (webcam:1 for the second one)"),
    MODEL,
    MODALITY,
    arg("--seconds", type=float, metavar="S", help="stop after this"),
    device=True,
    json=True,
    description="Needs a model that was trained with chunks (recipe=live). A webcam has pictures only. How late the "
    "words came goes to standard error, or with --json to each unit.",
)
def live(args: argparse.Namespace) -> None:
    from viseme.avsr.watching import live as run

    run(args)


@app.verb(
    "features",
    "encoder or front-end features of videos or sound files",
    arg("inputs", nargs="+", metavar="FILE", help="video or sound files, or folders of them"),
    MODEL,
    MODALITY,
    arg("--layer", choices=("encoder", "frontend"), default="encoder", help="default: encoder"),
    arg("--face", type=int, metavar="N", help="which face of several (default: 1, the most prominent)"),
    arg("--out", metavar="DIR", required=True, help="folder for one .npz a file: (frames, channels) float32 at 25 Hz"),
    device=True,
    description="`encoder` is what decoder and CTC read; `frontend` has `video` and/or `audio`, what the ResNets make "
    "of each frame.",
)
def features(args: argparse.Namespace) -> int:
    from viseme.avsr.transcribe import write_features

    return write_features(args)


@app.verb(
    "convert",
    "a published checkpoint -> a model directory",
    arg("checkpoint", metavar="FILE", help="published .pth, training .ckpt, or an .ini of the model zoo"),
    arg("directory", metavar="DIR", help="model directory to write"),
    arg("--model-json", metavar="FILE", help="the model.json beside a checkpoint of the model zoo"),
    arg("--units", metavar="FILE", help="units file (unigram5000_units.txt)"),
    arg("--spm", metavar="FILE", help="SentencePiece model (unigram5000.model); without it, units are characters"),
    arg("--attention", choices=("relative", "legacy_relative", "absolute"), help="where neither keys nor json tell"),
    arg("--ini", metavar="FILE", help="the model zoo's .ini: beam, penalty and weights to decode with"),
    arg("--lm", metavar="PATH", help="language model to keep beside the recogniser: checkpoint or model directory"),
    arg("--lm-json", metavar="FILE", help="the model.json beside the language model's checkpoint"),
    arg("--crop", choices=("mediapipe", "retinaface"), default="mediapipe", help="mouth crop: 4 or 68 points"),
    arg("--record", metavar="NAME", help="which published weights these are, where their MD5 does not tell"),
    description="Geometry comes from the weights' shapes and the layout from their keys; recognisers and language "
    "models are told apart by them too. The checkpoint is read without running anything that is in it.",
)
def convert(args: argparse.Namespace) -> None:
    from viseme.avsr.convert import ConvertOptions, convert_file

    names = ("model_json", "units", "spm", "attention", "ini", "lm", "lm_json", "crop", "record")
    options = ConvertOptions(**{name: getattr(args, name) for name in names})
    print(f"{convert_file(Path(args.checkpoint), Path(args.directory), options)}: written")


@app.verb(
    "export",
    "a model directory -> ONNX or torch.export, for other runtimes",
    MODEL,
    arg("directory", metavar="DIR", help="directory to write; every verb reads it as a model (ONNX)"),
    arg("--format", choices=("onnx", "torch"), default="onnx", help="default: onnx"),
    arg(
        "--int8",
        action="store_true",
        help="8-bit weights in linear layers (ONNX): about half of the size, as the convolutions stay",
    ),
    description="Encoders with CTC for each modality, and the decoder's steps with their cache; any number of frames.",
)
def export(args: argparse.Namespace) -> None:
    from viseme.avsr.export import export as run
    from viseme.avsr.pipeline import AVSR

    recogniser = AVSR.from_pretrained(args.model, device="cpu")
    print(f"{run(recogniser, args.directory, format=args.format, int8=args.int8)}: written")


@app.verb(
    "models",
    "published weights: where they are, what they claim, under which licence",
    arg("--commercial-ok", action="store_true", help="only those whose licence plainly allows commercial use"),
    json=True,
    description="Nothing is downloaded: weights follow the licences of their training data. `avsr convert` makes a "
    "model directory of a file once you have it.",
)
def models(args: argparse.Namespace) -> None:
    from dataclasses import fields

    from viseme.avsr.records import available_models

    found = available_models(commercial_ok=args.commercial_ok)
    if not found:
        print("none of the published weights plainly allows commercial use", file=sys.stderr)
    if not args.json:
        return emit(_line(record) for record in found)
    plain = [{field.name: getattr(record, field.name) for field in fields(record)} for record in found]
    emit(({**record, "claims": dict(record["claims"])} for record in plain), as_json=True)


def _line(record: WeightRecord) -> str:
    claims = ", ".join(f"{metric} {value:g}" for metric, value in record.claims.items())
    return f"{record.name:42} {record.md5 or '-':6} {claims or '-'}; {record.trained_on}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return app.main(argv)


if __name__ == "__main__":
    sys.exit(main())
