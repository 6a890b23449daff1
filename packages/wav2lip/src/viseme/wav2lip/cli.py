"""The `wav2lip` console script: thin, no logic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viseme.core.cli import App, arg, emit
from viseme.core.cli.demo import add_demo
from viseme.core.cli.prepare import add_prepare
from viseme.core.cli.progress import track

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["app", "main"]

app = App(
    "wav2lip",
    "Wav2Lip: the lips of a face follow any speech.",
    package="viseme.wav2lip",
    extras={"onnx": "export", "gradio": "the demo page"},
)


def _show(items: Iterable, what: str, count: int) -> Iterable:
    return track(items, what, total=count, unit="frames")


add_prepare(app, crops="face")
add_demo(app)


@app.verb(
    "check",
    "what of prepared data is fit to train on, and why the rest is not",
    arg("root", metavar="ROOT", help="a prepared store, or a folder of the published layout"),
    arg("--list", default="train.txt", metavar="NAME", help="file list (default: train.txt)"),
    arg("--expert", metavar="DIR", help="a trained expert, to look for sound that is shifted against the picture"),
    json=True,
    description="Looks at every clip: readable crops and sound, windows enough, silence, mouths that do not move, and, "
    "with an expert, the offset between picture and sound. One line a clip that should be dropped, and a summary.",
)
def check(args: argparse.Namespace) -> None:
    from viseme.wav2lip.check import check_data

    report = check_data(args.root, args.list, expert=args.expert)
    emit([_Line(report.to_dict(), str(report))], as_json=args.json)


@app.config_verb(
    "train-sync",
    "train the sync expert (first)",
    description="Train the sync expert: wav2lip train-sync recipe=NAME data.root_dir=ROOT KEY=VALUE ...",
)
def train_sync(cfg: DictConfig) -> None:
    from viseme.wav2lip.train import train_expert

    _say(train_expert(cfg))


@app.config_verb(
    "train",
    "train the generator against the expert (second)",
    description="Train the generator: wav2lip train recipe=NAME data.root_dir=ROOT KEY=VALUE ...",
)
def train(cfg: DictConfig) -> None:
    from viseme.wav2lip.train import train_generator

    _say(train_generator(cfg))


def _say(report: Any) -> None:
    figures = ", ".join(
        f"{name} {value:.4g}" for name, value in sorted(report.metrics.items()) if name.endswith("_val")
    )
    print(f"{report.model}: {report.steps} steps on {report.clips} clips; {figures or 'not validated'}")
    for clip, reason in report.left_out.items():
        print(f"left out: {clip}: {reason}", file=sys.stderr)


@app.config_verb(
    "evaluate",
    "sync scores, FID and likeness over a list",
    description="LSE-D, LSE-C, Frechet distance, SSIM, PSNR and landmark distance of the generator that the same "
    "configuration trained (or evaluate.generator=DIR) on the test list, driven by each clip's own sound and by "
    "another clip's, beside the real clips with their own and with shifted sound.",
)
def evaluate(cfg: DictConfig) -> None:
    from viseme.wav2lip.evaluate import evaluate_list, table

    result = evaluate_list(cfg)
    print(table(result))
    for clip, reason in result.failures.items():
        print(f"not scored: {clip}: {reason}", file=sys.stderr)


@app.verb(
    "sync",
    "make the lips of a face follow a sound",
    arg("--face", required=True, metavar="FILE", help="video or picture of a face"),
    arg("--audio", required=True, metavar="FILE", help="any file with sound"),
    arg("--model", required=True, metavar="DIR", help="generator: model directory or published checkpoint"),
    arg("--out", required=True, metavar="FILE", help=".mp4, .m4v, .mov or .mkv to write"),
    arg("--speaker", type=int, metavar="N", help="which face of several (default: 1, the most prominent)"),
    arg(
        "--loop",
        choices=("pingpong", "loop", "hold", "stop", "spread"),
        default="pingpong",
        help="what a video does that is shorter than the sound (default: pingpong)",
    ),
    arg("--fps", type=float, default=25.0, metavar="N", help="rate of the result, for a still picture (default: 25)"),
    arg("--static", action="store_true", help="use the video's first frame only"),
    arg("--pads", type=int, nargs=4, default=(0, 0, 0, 0), metavar="PX", help="added at top, bottom, left, right"),
    arg("--smooth", type=int, default=7, metavar="N", help="frames of the boxes' smoothing; 0 for none (default: 7)"),
    arg("--reference", choices=("same", "rest"), help="the face shown to the generator: each frame, or one at rest"),
    arg("--box-paste", action="store_true", help="replace the whole face box, as published"),
    arg("--no-colour-match", action="store_true", help="leave the generated colours as they are"),
    arg("--no-silence-gate", action="store_true", help="generate the mouth in silence too"),
    arg("--sharpen", type=float, default=0.0, metavar="X", help="sharpen the generated face (default: 0)"),
    arg("--enhancer", metavar="NAME", help="MODULE:FUNCTION that restores each face (RGB uint8 in and out)"),
    arg("--audio-offset-ms", type=float, default=0.0, metavar="MS", help="positive: lips later than the sound"),
    arg("--batch-size", type=int, default=8, metavar="N", help="frames at once (default: 8)"),
    arg("--bf16", action="store_true", help="half precision, where the processor or GPU has units for it"),
    arg("--label", action="store_true", help="write `AI-generated` visibly into the picture"),
    arg("--cache", metavar="DIR", help="keep the face's track here, for many sounds on one face"),
    device=True,
    json=True,
    description="Frames without a face stay as they are, and the report says which. The result is as long as the "
    "sound, and its tags say that it was generated.",
)
def sync(args: argparse.Namespace) -> None:
    from viseme.wav2lip.command import sync_files

    made = sync_files(
        args.model, args.face, args.audio, args.out, _options(args), device=args.device, bf16=args.bf16,
        cache=args.cache, progress=_show,
    )  # fmt: skip
    _report(made, as_json=args.json)


def _options(args: argparse.Namespace) -> Any:
    from viseme.wav2lip.blend import BlendOptions
    from viseme.wav2lip.enhance import load_enhancer
    from viseme.wav2lip.options import SyncOptions

    blend = BlendOptions(mask=not args.box_paste, match_colour=not args.no_colour_match, sharpen=args.sharpen)
    return SyncOptions(
        face=args.speaker,
        loop=args.loop,
        fps=args.fps,
        static=args.static,
        pads=tuple(args.pads),
        reference=args.reference,
        smooth=args.smooth,
        blend=blend,
        enhancer=load_enhancer(args.enhancer) if args.enhancer else None,
        silence_gate=not args.no_silence_gate,
        audio_offset_ms=args.audio_offset_ms,
        batch_size=args.batch_size,
        label=args.label,
    )


def _report(made: Any, *, as_json: bool) -> None:
    if not as_json:
        for note in made.notes:
            print(f"{made.path.name}: {note}", file=sys.stderr)
    line = f"{made.path}: {made.synced} of {made.frames} frames synced, {made.seconds['total']:.1f} s"
    emit([_Line(made.to_dict(), line)], as_json=as_json)


@app.verb(
    "infer",
    "the published inference command: its flags, and with --published its very frames",
    arg("--checkpoint_path", required=True, metavar="FILE", help="published checkpoint, or model directory"),
    arg("--face", required=True, metavar="FILE", help="video or picture"),
    arg("--audio", required=True, metavar="FILE", help="any file with sound"),
    arg("--outfile", default="results/result_voice.mp4", metavar="FILE", help="default: results/result_voice.mp4"),
    arg("--static", nargs="?", const="True", default="False", metavar="YES", help="first frame only"),
    arg("--fps", type=float, default=25.0, help="for a still picture (default: 25)"),
    arg("--pads", type=int, nargs=4, metavar="PX", help="top bottom left right (default: 0 10 0 0)"),
    arg("--face_det_batch_size", type=int, default=16, help="with --published (default: 16)"),
    arg("--wav2lip_batch_size", type=int, default=None, help="default: 128 with --published, else 8"),
    arg("--resize_factor", type=int, default=1, help="divide the frame's size by this (default: 1)"),
    arg("--crop", type=int, nargs=4, default=(0, -1, 0, -1), metavar="PX", help="top bottom left right; -1: the edge"),
    arg("--box", type=int, nargs=4, default=(-1, -1, -1, -1), metavar="PX", help="top bottom left right of the face"),
    arg("--rotate", action="store_true", help="90 degrees clockwise"),
    arg("--nosmooth", action="store_true", help="no smoothing of face boxes"),
    arg("--published", action="store_true", help="frames exactly as published; needs --s3fd_path or --box"),
    arg("--s3fd_path", metavar="FILE", help="s3fd-619a316812.pth, for --published"),
    device=True,
    json=True,
    description="Without --published: the published flags on our pipeline, which finds faces by itself, blends, passes "
    "faceless frames through, and is as long as the sound.",
)
def infer(args: argparse.Namespace) -> None:
    from viseme.wav2lip.infer import PublishedOptions, parse_flag, run_published

    static = parse_flag(args.static)
    if args.published:
        common = ("checkpoint_path", "face", "audio", "outfile", "fps", "face_det_batch_size", "resize_factor")
        chosen = {name: getattr(args, name) for name in (*common, "rotate", "nosmooth", "s3fd_path", "device")}
        path, frames = run_published(
            PublishedOptions(
                **chosen,
                static=static,
                pads=tuple(args.pads or (0, 10, 0, 0)),
                crop=tuple(args.crop),
                box=tuple(args.box),
                wav2lip_batch_size=args.wav2lip_batch_size or 128,
            )
        )
        emit(
            [_Line({"path": str(path), "frames": frames}, f"{path}: {frames} frames, as published")], as_json=args.json
        )
        return
    from viseme.wav2lip.options import SyncOptions
    from viseme.wav2lip.pipeline import Wav2Lip

    options = SyncOptions(
        fps=args.fps,
        static=static,
        pads=tuple(args.pads or (0, 0, 0, 0)),
        box=tuple(args.box) if args.box[0] != -1 else None,
        resize_factor=args.resize_factor,
        rotate=args.rotate,
        crop=tuple(args.crop),
        smooth=0 if args.nosmooth else 7,
        batch_size=args.wav2lip_batch_size or 8,
        loop="loop",
    )
    syncer = Wav2Lip.from_pretrained(args.checkpoint_path, device=args.device)
    _report(syncer.sync(args.face, args.audio, args.outfile, options, progress=_show), as_json=args.json)


@app.verb(
    "batch",
    "sync every line of a list of pairs",
    arg("filelist", metavar="LIST", help="`<audio clip> <video clip>` a line, without ending, as the published lists"),
    arg("--data_root", required=True, metavar="DIR", help="what the names are relative to"),
    arg("--results_dir", required=True, metavar="DIR", help="folder to write <line number from 0>.mp4 to"),
    arg("--model", required=True, metavar="DIR", help="generator: model directory or published checkpoint"),
    arg("--face-first", action="store_true", help="lines are `<video> <audio>` with endings, as ReSyncED's"),
    arg(
        "--tts", action="store_true", help="slow a video down that is shorter than its sound, as the published tts mode"
    ),
    arg("--face_res", type=int, metavar="PX", help="scale frames down, as published, until faces come near this (180)"),
    arg("--min_frame_res", type=int, default=480, metavar="PX", help="but not below this short side (default: 480)"),
    arg("--max_frame_res", type=int, default=720, metavar="PX", help="and in any case down to this one (default: 720)"),
    arg("--make-pairs", type=int, metavar="SEED", help="write LIST first: every .mp4 of DIR with another's sound"),
    device=True,
    json=True,
    description="A line that fails is named with its reason in DIR/failures.csv and stops nothing.",
)
def batch(args: argparse.Namespace) -> None:
    from viseme.core.files import write_text_atomic
    from viseme.wav2lip.batch import random_pairs, read_pairs, sync_pairs
    from viseme.wav2lip.options import SyncOptions
    from viseme.wav2lip.pipeline import Wav2Lip

    if args.make_pairs is not None:
        root = Path(args.data_root)
        names = [path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.mp4")]
        write_text_atomic(args.filelist, "".join(f"{line}\n" for line in random_pairs(names, seed=args.make_pairs)))
    pairs = read_pairs(args.filelist, args.data_root, order="face_audio" if args.face_first else "audio_face")
    sizes = (args.face_res, args.min_frame_res, args.max_frame_res) if args.face_res else None
    report = sync_pairs(
        Wav2Lip.from_pretrained(args.model, device=args.device),
        pairs,
        args.results_dir,
        SyncOptions(loop="spread" if args.tts else "pingpong", sizes=sizes),
        progress=lambda items, count: track(items, "syncing", total=count, unit="pairs"),
    )
    facts = {"made": len(report.made), "failed": len(report.failures)}
    emit([_Line(facts, f"{args.results_dir}: {facts['made']} made, {facts['failed']} failed")], as_json=args.json)


@app.verb(
    "score",
    "LSE-D and LSE-C of videos, by the published protocols",
    arg("inputs", nargs="+", metavar="FILE", help="videos with sound"),
    arg("--syncnet", required=True, metavar="FILE", help="syncnet_v2.model, or a model directory"),
    arg("--tracks", metavar="FILE", help="sfd_face.pth: score each face track (real videos) instead of whole frames"),
    arg("--min_track", type=int, default=100, metavar="N", help="frames that a track must exceed (default: 100)"),
    device=True,
    out=True,
    json=True,
    description="One line a file, or a face track with --tracks. LRS and LRW clips are scored on whole frames.",
)
def score(args: argparse.Namespace) -> int:
    from viseme.core.errors import VisemeError
    from viseme.wav2lip.score import FileScorer

    scorer = FileScorer(args.syncnet, args.tracks, device=args.device, min_track=args.min_track)
    failed = 0

    def results() -> Iterable:
        nonlocal failed
        for name in args.inputs:
            try:
                yield from scorer(name)
            except VisemeError as error:
                if len(args.inputs) == 1:
                    raise
                failed += 1
                print(f"wav2lip: {error}", file=sys.stderr)

    emit(results(), out=args.out, as_json=args.json)
    return 2 if failed else 0


@app.verb(
    "convert",
    "a published checkpoint -> a model directory",
    arg("checkpoint", metavar="FILE", help="generator, expert, discriminator, S3FD (both) or SyncNet v2"),
    arg("directory", metavar="DIR", help="model directory to write"),
    arg("--record", metavar="NAME", help="which known weights these are, for the licence (by checksum where known)"),
    description="What the file holds is told from its keys, geometry from shapes. It is read without running anything "
    "that is in it.",
)
def convert(args: argparse.Namespace) -> None:
    from viseme.wav2lip.weights import convert_file

    directory, kind = convert_file(Path(args.checkpoint), Path(args.directory), name=args.record)
    print(f"{directory}: the {kind}, written")


@app.verb(
    "export",
    "a generator -> ONNX or torch.export, checked against the original",
    arg("model", metavar="DIR", help="generator: model directory or published checkpoint"),
    arg("file", metavar="FILE", help=".onnx or .pt2 to write"),
)
def export(args: argparse.Namespace) -> None:
    from viseme.wav2lip.export import export_generator

    error = export_generator(args.model, args.file)
    print(f"{args.file}: written; differs from the original by at most {error:.1e}")


class _Line:
    """A result that prints as a line or as JSON."""

    def __init__(self, facts: dict[str, Any], text: str) -> None:
        self.facts, self.text = facts, text

    def to_dict(self) -> dict[str, Any]:
        return self.facts

    def __str__(self) -> str:
        return self.text


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return app.main(argv)


if __name__ == "__main__":
    sys.exit(main())
