"""The `raven` console script: thin, no logic."""

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

    from viseme.raven.transcript import Transcript

__all__ = ["app", "main"]

app = App(
    "raven",
    "RAVEn and BRAVEn: speech learnt from unlabelled talking faces, read from lips or sound.",
    package="viseme.raven",
    extras={"sentencepiece": "sub-word units", "jiwer": "alignments in reports"},
)

add_prepare(app, crops="mouth68")


@app.config_verb(
    "pretrain",
    "learn encoders of lips and sound from unlabelled clips",
    description="Pre-train a pair of encoders: raven pretrain recipe=base_lrs3 data.root_dir=STORE KEY=VALUE ...",
)
def pretrain(cfg: DictConfig) -> None:
    from viseme.raven.train import pretrain as run

    report = run(cfg)
    print(f"{report.run}: {report.parameters / 1e6:.2f} M parameters, {report.epochs} epochs on {report.clips} clips")
    for directory in report.models.values():
        print(directory)


@app.config_verb(
    "train",
    "fine-tune an encoder, or train a recogniser from scratch",
    description="Fine-tune: raven train recipe=vsr_low_base_lrs3 pretrained_model_path=ENCODER data.root_dir=STORE ...",
)
def train(cfg: DictConfig) -> None:
    from viseme.raven.train import train as run

    report = run(cfg)
    model = report.models["model"]
    print(f"{model}: {report.parameters / 1e6:.2f} M parameters, {report.epochs} epochs on {report.clips} clips")


@app.config_verb(
    "pseudo-label",
    "write labels for clips that have none",
    description="Label clips with a fine-tuned model, resumably: raven pseudo-label recipe=NAME "
    "selftrain.labeller=MODEL selftrain.unlabelled_file=LIST. The list to train on is exp_dir/exp_name/selftrain.csv.",
)
def pseudo_label(cfg: DictConfig) -> None:
    from viseme.raven.selftraining import pseudo_label_list

    labels = pseudo_label_list(cfg)
    print(
        f"{labels.manifest}: {labels.labelled} clips with labels, {labels.pseudo} with pseudo-labels "
        f"({labels.dropped} dropped, {labels.failed} not readable)"
    )


@app.config_verb(
    "selftrain",
    "pseudo-label, then train on labels and pseudo-labels",
    description="Both stages in one, each resumable: raven selftrain recipe=vsr_low_large_selftrain "
    "selftrain.labeller=ASR_MODEL pretrained_model_path=VIDEO_ENCODER ...",
)
def selftrain(cfg: DictConfig) -> None:
    from viseme.raven.selftraining import selftrain as run

    labels, report = run(cfg)
    print(f"{labels.manifest}: {labels.labelled} clips with labels, {labels.pseudo} with pseudo-labels")
    print(f"{report.models['model']}: {report.epochs} epochs on {report.clips} clips")


@app.config_verb(
    "evaluate",
    "word error rate over a list",
    description="Error rates with a bootstrap interval, of the model that the same configuration trained or of "
    "evaluate.model=DIR: raven evaluate recipe=NAME data.root_dir=STORE evaluate.lm=DIR decode.lm_weight=0.3",
)
def evaluate(cfg: DictConfig) -> None:
    from viseme.raven.evaluate import evaluate_list

    result = evaluate_list(cfg)
    print(result)
    for clip, reason in result.failures.items():
        print(f"not read: {clip}: {reason}", file=sys.stderr)


@app.config_verb(
    "launch",
    "SLURM scripts for a recipe, and what it will cost",
    description="Write job scripts for a recipe's nodes: raven launch recipe=base_lrs3 launch.out=jobs. With "
    "launch.dry_run=true only memory, FLOPs and hours are printed.",
)
def launch(cfg: DictConfig) -> None:
    from viseme.raven.launch import launch as run

    print(run(cfg))


@app.verb(
    "transcribe",
    "the words of videos or sound files",
    arg("inputs", nargs="+", metavar="FILE", help="video or sound files"),
    arg("--model", required=True, metavar="DIR", help="model directory of a recogniser"),
    arg("--lm", metavar="DIR", help="model directory of a language model"),
    arg("--face", type=int, metavar="N", help="which face of several (default: 1, the most prominent)"),
    arg("--greedy", action="store_true", help="best CTC path: many times faster, a little less accurate"),
    arg("--beam", type=int, metavar="N", help="hypotheses kept by the search (default: the model's)"),
    arg("--ctc-weight", type=float, metavar="W", help="share of CTC in the search (default: the model's)"),
    arg("--lm-weight", type=float, metavar="W", help="weight of the language model (default: the model's)"),
    arg("--nbest", type=int, default=1, metavar="N", help="hypotheses to report, with --json (default: 1)"),
    device=True,
    out=True,
    json=True,
    description="One line a file. What a reader should know about it goes to standard error, or into the notes of "
    "--json.",
)
def transcribe(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from viseme.core.errors import VisemeError
    from viseme.raven.pipeline import RAVEn

    recogniser = RAVEn.from_pretrained(args.model, lm=args.lm, device=args.device)
    given = {"beam_size": args.beam, "ctc_weight": args.ctc_weight, "lm_weight": args.lm_weight}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    greedy = args.greedy or recogniser.search.greedy
    search = replace(recogniser.search, **changes, nbest=args.nbest, greedy=greedy)
    failed = 0

    def results() -> Iterator[Transcript]:
        nonlocal failed
        for name in args.inputs:
            try:
                found = recogniser.transcribe(name, face=args.face, search=search)
            except VisemeError as error:
                if len(args.inputs) == 1:
                    raise
                failed += 1
                print(f"raven: {error}", file=sys.stderr)
                continue
            if not args.json:
                for note in found.notes:
                    print(f"{found.name}: {note}", file=sys.stderr)
            yield found

    emit(results(), out=args.out, as_json=args.json)
    return 2 if failed else 0


@app.verb(
    "features",
    "an encoder's features of videos or sound files",
    arg("inputs", nargs="+", metavar="FILE", help="video or sound files"),
    arg("--model", required=True, metavar="DIR", help="model directory of an encoder or a recogniser"),
    arg("--layer", type=int, metavar="N", help="0: projected front-end; 1 to L: blocks (default: the final norm)"),
    arg("--face", type=int, metavar="N", help="which face of several (default: 1, the most prominent)"),
    arg("--out-dir", metavar="DIR", default=".", help="where FILE's features go, as DIR/FILE.npy (default: here)"),
    device=True,
    out=True,
    json=True,
    description="Writes (frames, channels) float32 arrays, 25 frames a second, and one line a file.",
)
def features(args: argparse.Namespace) -> int:
    from viseme.core.errors import VisemeError
    from viseme.raven.features import write_features
    from viseme.raven.pipeline import RAVEn

    model = RAVEn.from_pretrained(args.model, device=args.device)
    failed = 0

    def results() -> Iterator[Any]:
        nonlocal failed
        for name in args.inputs:
            try:
                yield write_features(model, name, args.out_dir, layer=args.layer, face=args.face)
            except VisemeError as error:
                if len(args.inputs) == 1:
                    raise
                failed += 1
                print(f"raven: {error}", file=sys.stderr)

    emit(results(), out=args.out, as_json=args.json)
    return 2 if failed else 0


@app.verb(
    "convert",
    "a published checkpoint -> a model directory",
    arg("checkpoint", metavar="FILE", help="fine-tuned .pth, encoder, pre-training .ckpt, or language model"),
    arg("directory", metavar="DIR", help="model directory to write"),
    arg("--units-file", metavar="FILE", help="unit list of a recogniser (unigram1000_units.txt)"),
    arg("--units-model", metavar="FILE", help="its SentencePiece model, where there is one"),
    arg("--decoder-heads", type=int, metavar="N", help="of the decoder (default: 64 channels a head)"),
    arg("--record", metavar="NAME", help="name of the published weights (see `raven models`), for the card"),
    description="What the file is comes from its keys, geometry from its shapes. The checkpoint is read without "
    "running anything that is in it.",
)
def convert(args: argparse.Namespace) -> None:
    from viseme.raven.convert import convert_file

    written = convert_file(
        Path(args.checkpoint),
        Path(args.directory),
        units_file=args.units_file,
        units_model=args.units_model,
        decoder_heads=args.decoder_heads,
        record=args.record,
    )
    for directory in written:
        print(f"{directory}: written")


@app.verb("models", "published weights that are known of", out=True, json=True)
def models(args: argparse.Namespace) -> None:
    from viseme.raven.features import known_models

    emit(known_models(), out=args.out, as_json=args.json)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return app.main(argv)


if __name__ == "__main__":
    sys.exit(main())
