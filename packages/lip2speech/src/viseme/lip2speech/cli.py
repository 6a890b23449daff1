"""The `lip2speech` console script: thin, no logic."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from viseme.core.cli import App, arg, emit
from viseme.core.cli.demo import add_demo
from viseme.core.cli.prepare import add_prepare
from viseme.lip2speech.published_keys import translated

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["app", "main"]

app = App(
    "lip2speech",
    "Speech from silent lips: VCA-GAN and the multi-task system.",
    package="viseme.lip2speech",
    extras={
        "sentencepiece": "sub-word units",
        "pystoi": "STOI and ESTOI",
        "pesq": "PESQ",
    },
    translate=translated,
)

add_prepare(app)
add_demo(app)


@app.config_verb(
    "train",
    "train a model",
    description="Train either system or its recogniser: lip2speech train recipe=NAME KEY=VALUE ...",
)
def train(cfg: DictConfig) -> None:
    from viseme.lip2speech.train import train as run

    report = run(cfg)
    print(f"{report.model}: {report.parameters / 1e6:.2f} M parameters, {report.epochs} epochs on {report.clips} clips")


@app.config_verb(
    "evaluate",
    "STOI, ESTOI, PESQ and word error rate over a test set",
    description="Scores of the model that the same configuration trained, or of evaluate.model=DIR, beside those of "
    "the real speech through the same vocoder and of another clip's: lip2speech evaluate recipe=NAME data.data=STORE",
)
def evaluate(cfg: DictConfig) -> None:
    from viseme.lip2speech.evaluate import evaluate_split, table

    result = evaluate_split(cfg)
    print(table(result))
    for clip, reason in result.failures.items():
        print(f"not scored: {clip}: {reason}", file=sys.stderr)


@app.verb(
    "speak",
    "the speech of silent videos of any length",
    arg("input", metavar="FILE", help="video; sound in it is not listened to"),
    arg("--model", required=True, metavar="DIR", help="model directory"),
    arg("--video", metavar="FILE", help="also write the video with its speech"),
    arg("--reference", metavar="FILE", help="sound or video whose voice to take (multi-task models)"),
    arg("--save-mel", metavar="FILE", nargs="?", const="", help="also write the mel, .npz (default: beside the sound)"),
    arg("--picture", metavar="FILE", help="also write a picture of the mel, .png"),
    arg("--face", type=int, metavar="N", help="which face of several (default: 1, the most prominent)"),
    arg("--vocoder", metavar="DIR", help="neural vocoder (model directory) instead of Griffin-Lim"),
    arg("--iterations", type=int, metavar="N", help="of Griffin-Lim (default: the model's)"),
    arg(
        "--momentum",
        type=float,
        metavar="M",
        help="of Griffin-Lim: 0.99 needs half the iterations (default: the model's)",
    ),
    arg("--bf16", action="store_true", help="half precision, where the processor or GPU has units for it"),
    arg("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)"),
    device=True,
    out=True,
    json=True,
    description="Writes the sound to --out (.wav or .flac; beside the video by default).",
)
def speak(args: argparse.Namespace) -> None:
    from viseme.core.media import mux
    from viseme.lip2speech.pipeline import Lip2Speech
    from viseme.lip2speech.vocoder import load_vocoder

    speaker = Lip2Speech.from_pretrained(args.model, device=args.device, bf16=args.bf16)
    speaker.iterations = speaker.iterations if args.iterations is None else args.iterations
    speaker.momentum = speaker.momentum if args.momentum is None else args.momentum
    if args.vocoder:
        speaker.use_vocoder(load_vocoder(args.vocoder, speaker.device))
    spoken = speaker.speak(args.input, reference=args.reference, face=args.face, seed=args.seed)
    out = Path(args.out) if args.out else Path(args.input).with_suffix(".wav")
    spoken.save(out)
    if args.save_mel is not None:
        spoken.save_mel(args.save_mel or out.with_suffix(".npz"))
    if args.picture:
        spoken.save_picture(args.picture)
    if args.video:
        mux(args.input, spoken.audio, args.video)
    for note in spoken.notes:
        print(f"lip2speech: {note}", file=sys.stderr)
    if args.json:
        emit([{**spoken.to_dict(), "out": str(out)}], as_json=True)
    else:
        print(f"{out}: {spoken.audio.duration_s:.2f} s")


@app.verb(
    "convert",
    "a published checkpoint -> a model directory",
    arg("checkpoint", metavar="FILE", help="published .ckpt of either system or of a recogniser"),
    arg("directory", metavar="DIR", help="model directory to write"),
    arg("--data_name", choices=("LRS2", "LRS3", "GRID"), help="the corpus that the weights were trained on"),
    arg("--spm", metavar="FILE", help="lrs2lrs3_lower.model, for the multi-task system's text"),
    arg("--words", metavar="FILE", help="class.txt, for the LRW recogniser"),
    arg("--record", metavar="NAME", help="which published weights these are"),
    description="Which file it is, and its geometry, come from its content. The checkpoint is read without running "
    "anything that is in it.",
)
def convert(args: argparse.Namespace) -> None:
    from viseme.lip2speech.convert import convert_file

    what = convert_file(
        Path(args.checkpoint),
        Path(args.directory),
        data_name=args.data_name,
        pieces=args.spm,
        record=args.record,
        words=args.words,
    )
    print(f"{args.directory}: {what}")


@app.verb(
    "grid",
    "align GRID's faces and clean its sound, as published",
    arg("data_dir", metavar="DIR", help="GRID: <subject>/video/<n>.mpg"),
    arg("output_dir", metavar="OUT", help="where to: <subject>/video/<n>.mp4 and <subject>/audio/<n>.flac"),
    arg("--landmark", required=True, metavar="DIR", help="98-point landmarks: <subject>/video/<n>.txt"),
    arg("--reference", required=True, metavar="FILE", help="landmark file of the reference face (Ref_face.txt)"),
)
def grid(args: argparse.Namespace) -> int:
    from viseme.lip2speech.grid import prepare_grid

    report = prepare_grid(args.data_dir, args.output_dir, args.landmark, args.reference)
    print(f"{report.done} clips aligned, {report.kept} kept, {len(report.failures)} failed")
    for clip, reason in report.failures.items():
        print(f"failed: {clip}: {reason}", file=sys.stderr)
    return 1 if report.failures and not (report.done or report.kept) else 0


@app.verb("models", "published weights: where they are, what they claim, under which licence", json=True)
def models(args: argparse.Namespace) -> None:
    from dataclasses import fields

    from viseme.core.checkpoint import available_models
    from viseme.lip2speech import published  # noqa: F401 - registers the records

    found = available_models("lip2speech")
    if args.json:
        plain = [{field.name: getattr(record, field.name) for field in fields(record)} for record in found]
        return emit(({**record, "claims": dict(record["claims"])} for record in plain), as_json=True)
    claims = {record.name: ", ".join(f"{k} {v:g}" for k, v in record.claims.items()) for record in found}
    return emit(
        f"{record.name:30} {record.licence:14} {claims[record.name] or '-'}; {record.source}" for record in found
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return app.main(argv)


if __name__ == "__main__":
    sys.exit(main())
