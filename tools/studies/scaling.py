"""From measured figures to 438 hours and to a million: the tables of `docs/scaling.md`.

    python -m tools.studies.scaling [--write]

Every input is in `FIGURES` with where it comes from; arithmetic per frame is counted on the models themselves (on the
meta device, nothing is run). Change a figure, run it again with `--write`, and the page follows.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

PAGE = Path("docs/scaling.md")
START, END = "<!-- tables: python -m tools.studies.scaling --write -->", "<!-- end of tables -->"

MEASURED, COUNTED, STATED, ASSUMED = "measured", "counted", "stated", "assumed"


@dataclass(frozen=True)
class Figure:
    """One number the tables rest on: value, unit, what kind of knowledge it is, and its source."""

    value: float
    unit: str
    kind: str
    source: str


FIGURES = {
    "prepare": Figure(339, "frames/s a core, 540x960", MEASURED, "docs/preparation.md, AMD EPYC, quiet"),
    "prepare_small": Figure(664, "frames/s a core, 224x224", MEASURED, "docs/preparation.md, the same"),
    "video_bytes": Figure(133_606 / 5, "B/s, mouth crop as mp4", MEASURED, "one real clip of 5 s, prepared"),
    "audio_bytes": Figure(78_480 / 5, "B/s, sound as flac", MEASURED, "the same clip"),
    "packed_bytes": Figure(96 * 96 * 25 + 2 * 16_000, "B/s, packed", COUNTED, "uint8 96x96 at 25 Hz, int16 at 16 kHz"),
    "load_mp4": Figure(1 / 0.00046, "frames/s a core, mp4", MEASURED, "100 frames in 46 ms, the published loader"),
    "gpu_tflops": Figure(312, "TFLOP/s", STATED, "A100, bfloat16, dense (NVIDIA)"),
    "gpu_share": Figure(0.3, "of that reached", ASSUMED, "no GPU was at hand; a run's own throughput says better"),
    "link": Figure(25e9, "B/s a GPU between nodes", ASSUMED, "200 Gb/s each, as in DGX A100 clusters"),
    "node_link": Figure(300e9, "B/s a GPU within a node", STATED, "NVLink of the A100, one direction (NVIDIA)"),
    "storage": Figure(5e9, "B/s shared by the cluster", ASSUMED, "a modest parallel file system"),
    "cores": Figure(12, "CPU cores a GPU", ASSUMED, "published SLURM settings: 12 a task"),
    "weeks": Figure(1, "week a run may take", ASSUMED, "what decides how many GPUs are asked for"),
}

CORPORA = {438: "LRS3", 1759: "LRS3 + VoxCeleb2 (en)", 3448: "all of Auto-AVSR's", 1_000_000: "a crawl"}


@dataclass(frozen=True)
class Job:
    """A training as published: GFLOP a frame (forward and backward), passes, parameters, frames a GPU and step."""

    name: str
    gflop: float
    passes: int
    parameters_m: float
    frames_a_step: int


def jobs() -> list[Job]:
    """Arithmetic counted, sizes and passes as published."""
    from viseme.avsr.model import AVSRConfig, AVSRModel
    from viseme.core.cli import compose
    from viseme.raven.launch import estimate

    large = compose("viseme.raven", ["recipe=large_lrs3vox2", "data.root_dir=/data"], missing_ok=True)
    cost = estimate(large)
    frames = 100
    with torch.device("meta"), torch.no_grad():
        model = AVSRModel(AVSRConfig("video")).eval()
        with FlopCounterMode(display=False) as counter:
            model.encoder(model.proj_encoder(model.frontend(torch.empty(1, frames, 1, 88, 88))))
    gflop = 3 * counter.get_total_flops() / frames / 1e9
    return [
        Job("visual recogniser, 75 passes", gflop, 75, sum(p.numel() for p in model.parameters()) / 1e6, 1800),
        Job("RAVEn Large, 150 passes", cost.flops_per_frame / 1e9, 150, cost.parameters / 1e6, 900),
    ]


def value(name: str) -> float:
    return FIGURES[name].value


def demand(job: Job, hours: int) -> dict[str, float]:
    """What a run asks for. One pass only over a million hours."""
    passes = 1 if hours >= 100_000 else job.passes
    frames = hours * 3600 * 25
    gpu_fps = value("gpu_tflops") * 1e12 * value("gpu_share") / (job.gflop * 1e9)
    gpu_hours = frames * passes / gpu_fps / 3600
    gpus = math.ceil(gpu_hours / (168 * value("weeks")))
    nodes = -(-gpus // 8)
    step_s = job.frames_a_step / gpu_fps
    link = value("node_link") if gpus <= 8 else value("link")
    # Ring all-reduce of float32 gradients: every GPU sends and receives them about twice.
    exchange_s = 0.0 if gpus == 1 else 2 * 4 * job.parameters_m * 1e6 * (gpus - 1) / gpus / link
    return {
        "passes": passes,
        "gpu_fps": gpu_fps,
        "gpu_hours": gpu_hours,
        "gpus": gpus,
        "nodes": nodes,
        "step_s": step_s,
        "exchange_s": exchange_s,
        "frames_per_s": gpu_fps * gpus,
        "loader_cores": gpu_fps / value("load_mp4"),
        "read_mp4": gpu_fps * gpus / 25 * (value("video_bytes") + value("audio_bytes")),
        "read_packed": gpu_fps * gpus / 25 * value("packed_bytes"),
    }


def bottleneck(need: dict[str, float], hours: int) -> tuple[str, str]:
    """What runs out first beside the arithmetic itself, and what answers it."""
    shares = {
        "decoding mp4": need["loader_cores"] / value("cores"),
        "reading packed shards": need["read_packed"] / value("storage"),
        "exchanging gradients": need["exchange_s"] / need["step_s"],
    }
    answers = {
        "decoding mp4": "packed store (`viseme store pack`): nothing is decoded",
        "reading packed shards": "mp4 store, decoded by the GPUs' own cores; or shards on each node's disks",
        "exchanging gradients": "DDP overlaps it with the backward pass; accumulation; FSDP for the state",
    }
    name = max(shares, key=lambda key: shares[key])
    prepare_share = hours * 3600 * 25 / value("prepare") / 3600 / 168 / (need["nodes"] * 8 * value("cores"))
    if prepare_share > max(shares.values()):
        return f"preparation ({prepare_share:.0%} of a week on the run's own cores)", "job arrays (`--shard i/n`), Ray"
    return f"{name} ({shares[name]:.0%} of what there is)", answers[name]


def amount(number: float, digits: int = 3) -> str:
    if number >= 1e9:
        return f"{number / 1e9:.{digits}g} G"
    if number >= 1e6:
        return f"{number / 1e6:.{digits}g} M"
    return f"{number:,.0f}" if number >= 100 else f"{number:.{digits}g}"


def size(number: float) -> str:
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number / 1e6:.3g} MB"


def tables() -> str:
    lines = ["### What it rests on", "", "| figure | value | | source |", "|---|---|---|---|"]
    for figure in FIGURES.values():
        lines.append(f"| {figure.unit} | {figure.value:,.4g} | {figure.kind} | {figure.source} |")
    found = jobs()
    for job in found:
        text = f"{job.gflop:.1f} GFLOP a frame, {job.parameters_m:.0f} M parameters"
        lines.append(f"| {job.name.split(',')[0]} | {text} | {COUNTED} | the model on the meta device |")
    lines += ["", "### Before training: preparation and storage", ""]
    lines.append("| hours | corpus | frames | core-hours to prepare (540p / 224p) | mp4 + flac | packed |")
    lines.append(f"|{'---|' * 6}")
    for hours, name in CORPORA.items():
        frames = hours * 3600 * 25
        cores = " / ".join(amount(frames / value(key) / 3600) for key in ("prepare", "prepare_small"))
        stored = size(hours * 3600 * (value("video_bytes") + value("audio_bytes")))
        packed = size(hours * 3600 * value("packed_bytes"))
        lines.append(f"| {hours:,} | {name} | {amount(frames)} | {cores} | {stored} | {packed} |")
    for job in found:
        lines += ["", f"### {job.name}", ""]
        lines += [
            "| hours | passes | GPU-hours | GPUs for a week | frames/s | mp4 decoding, cores a GPU | read mp4 / packed "
            "| step | gradients, s | runs out first | answer |",
            f"|{'---|' * 11}",
        ]
        for hours in CORPORA:
            need = demand(job, hours)
            first, answer = bottleneck(need, hours)
            cells = [f"{hours:,}", f"{need['passes']:.0f}", amount(need["gpu_hours"]), amount(need["gpus"])]
            cells += [amount(need["frames_per_s"]), f"{need['loader_cores']:.2g}"]
            cells += [f"{size(need['read_mp4'])}/s / {size(need['read_packed'])}/s"]
            cells += [f"{need['step_s']:.2g} s", f"{need['exchange_s']:.2g}", first, answer]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE}, between its marks")
    made = tables()
    if not parser.parse_args().write:
        print(made)
        return
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
