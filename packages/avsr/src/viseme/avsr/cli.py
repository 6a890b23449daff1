"""The `avsr` console script: thin, no logic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viseme.core.cli import App, arg, emit
from viseme.core.cli.prepare import add_prepare

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from viseme.avsr.transcript import Transcript

__all__ = ["app", "main"]

app = App(
    "avsr",
    "Auto-AVSR: speech read from lips, from sound, or from both.",
    package="viseme.avsr",
    extras={"sentencepiece": "sub-word units", "jiwer": "alignments in reports"},
)

add_prepare(app)


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


@app.verb(
    "transcribe",
    "the words of videos or sound files",
    arg("inputs", nargs="+", metavar="FILE", help="video or sound files"),
    arg("--model", required=True, metavar="DIR", help="model directory"),
    arg(
        "--modality",
        choices=("auto", "video", "audio", "audiovisual"),
        default="auto",
        help="what to read from (default: auto, all that file and model have)",
    ),
    arg("--face", type=int, metavar="N", help="which face of several (default: 1, the most prominent)"),
    arg("--greedy", action="store_true", help="best CTC path: many times faster, a little less accurate"),
    arg("--beam", type=int, metavar="N", help="hypotheses kept by the search (default: the model's)"),
    arg("--ctc-weight", type=float, metavar="W", help="share of CTC in the search (default: the model's)"),
    arg("--nbest", type=int, default=1, metavar="N", help="hypotheses to report, with --json (default: 1)"),
    device=True,
    out=True,
    json=True,
    description="One line a file. What a reader should know about it (a face that was lost, a rate that was converted, "
    "a model that knows few words) goes to standard error, or into the notes of --json.",
)
def transcribe(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from viseme.avsr.pipeline import AVSR
    from viseme.core.errors import VisemeError

    recogniser = AVSR.from_pretrained(args.model, device=args.device)
    changes: dict[str, Any] = {"nbest": args.nbest}
    changes |= {name: value for name in ("beam", "ctc_weight") if (value := getattr(args, name)) is not None}
    search = replace(recogniser.search, **changes, greedy=args.greedy or recogniser.search.greedy)
    failed = 0

    def results() -> Iterator[Transcript]:
        nonlocal failed
        for name in args.inputs:
            try:
                found = recogniser.transcribe(name, args.modality, face=args.face, search=search)
            except VisemeError as error:
                if len(args.inputs) == 1:
                    raise
                failed += 1
                print(f"avsr: {error}", file=sys.stderr)
                continue
            if not args.json:
                for note in found.notes:
                    print(f"{found.name}: {note}", file=sys.stderr)
            yield found

    emit(results(), out=args.out, as_json=args.json)
    return 2 if failed else 0


@app.verb(
    "convert",
    "a published checkpoint -> a model directory",
    arg("checkpoint", metavar="FILE", help="published checkpoint (.pth) or a training checkpoint (.ckpt)"),
    arg("directory", metavar="DIR", help="model directory to write"),
    arg("--model-json", metavar="FILE", help="the model.json beside a checkpoint of the model zoo"),
    arg("--units-model", metavar="FILE", help="SentencePiece model (unigram5000.model)"),
    arg("--units-file", metavar="FILE", help="units file (unigram5000_units.txt)"),
    arg("--attention", choices=("relative", "legacy_relative", "absolute"), help="where neither keys nor json tell"),
    description="Geometry comes from the weights' shapes and the layout from their keys. The checkpoint is read "
    "without running anything that is in it.",
)
def convert(args: argparse.Namespace) -> None:
    from viseme.avsr.convert import convert_file

    directory = convert_file(
        Path(args.checkpoint),
        Path(args.directory),
        model_json=args.model_json,
        units_model=args.units_model,
        units_file=args.units_file,
        attention=args.attention,
    )
    print(f"{directory}: written")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return app.main(argv)


if __name__ == "__main__":
    sys.exit(main())
