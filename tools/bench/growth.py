"""How time and memory grow with the size of the work, and the exponents, so that a quadratic shows.

    python -m tools.bench.growth [--only TEXT] [--full] [--threads N] [--csv FILE]

Each curve runs in a process of its own, smallest size first, so that the peak of resident memory, which never falls,
belongs to the size at hand. Time is the best of several runs. An exponent is the slope of a straight line through the
upper half of the sizes on doubly logarithmic axes: 1 for linear, 2 for quadratic, 0 for flat. Networks are small (128
channels): exponents are properties of the algorithm, seconds are not those of a published model.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.bench.__main__ import machine, peak_mb
from tools.bench.registry import append_rows

from viseme.core.files import scratch_folder

__all__ = ["CURVES", "Curve", "exponent"]

RESULTS = Path("benchmarks/growth.csv")
COLUMNS = ["curve", "axis", "size", "seconds", "memory_mb", "threads", "machine", "date"]
ENOUGH_S = 0.2
"""A size is run again until so much time has passed, five times at most."""
SMALLEST_MB = 2.0
"""Less growth of the process than this is not told apart from none."""

FPS, WIDTH, VOCABULARY = 25, 128, 1000


@dataclass(frozen=True)
class Curve:
    """One work at growing sizes.

    Attributes:
        name: what is done.
        axis: what grows, with its unit.
        sizes: smallest first; `full_sizes` only with `--full`.
        prepare: makes the work of a size; not timed.
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    full_sizes: tuple[int, ...]
    prepare: Callable[[int], Callable[[], object]]


CURVES: list[Curve] = []


def curve(name: str, axis: str, sizes: tuple[int, ...], full: tuple[int, ...] = ()) -> Callable[[Any], Any]:
    """Enter a preparing function into the list."""

    def enter(prepare: Callable[[int], Callable[[], object]]) -> Callable[[int], Callable[[], object]]:
        CURVES.append(Curve(name, axis, sizes, full, prepare))
        return prepare

    return enter


# ------------------------------------------------------------------------------------------------------ clip length


@curve("decode a video, frame by frame", "clip s", (1, 4, 15, 60), (240, 600))
def decoding(seconds: int) -> Callable[[], object]:
    import numpy as np

    from viseme.core.media import VideoWriter, stream_frames

    path = scratch_folder("bench") / "clip.mp4"
    noise = np.random.default_rng(0).integers(256, size=(FPS, 96, 128, 3), dtype=np.uint8)
    with VideoWriter(path, FPS, (128, 96), crf=30, preset="ultrafast") as writer:
        for number in range(seconds * FPS):
            writer.write(noise[number % FPS])
    return lambda: sum(1 for _ in stream_frames(path))


@curve("visual front-end", "clip s", (1, 4, 15), (60,))
def front_end(seconds: int) -> Callable[[], object]:
    import torch

    from viseme.core.layers.frontends import VisualFrontend

    network, crops = VisualFrontend(widths=(8, 16, 32, 64)).eval(), torch.randn(1, seconds * FPS, 1, 44, 44)
    return torch.inference_mode()(lambda: network(crops))


@curve("encoder, clip whole", "clip s", (1, 4, 15, 60), (120,))
def encoder_whole(seconds: int) -> Callable[[], object]:
    return _encoder(seconds * FPS, 1)


@curve("encoder, parts of 15 s", "clip s", (15, 60, 120), (600,))
def encoder_parts(seconds: int) -> Callable[[], object]:
    """As long recordings are read: parts one after the other."""
    work = _encoder(15 * FPS, 1)
    return lambda: [work() for _ in range(seconds // 15)]


@curve("Griffin-Lim, 60 iterations", "clip s", (1, 4, 15, 60), (240, 600))
def griffin_lim_length(seconds: int) -> Callable[[], object]:
    import torch

    from viseme.core.signal import griffin_lim

    magnitudes = torch.rand(1, 321, seconds * 100)
    return lambda: griffin_lim(magnitudes, n_fft=640, hop=160, win=640)


@curve("linear + CTC, forward and backward", "frames", (50, 200, 800), (3200,))
def ctc_frames(frames: int) -> Callable[[], object]:
    return _ctc(4, frames, VOCABULARY)


# ------------------------------------------------------------------------------------------- batch, beam, vocabulary


@curve("encoder, 4 s clips", "batch", (1, 4, 16), (64,))
def encoder_batch(clips: int) -> Callable[[], object]:
    return _encoder(4 * FPS, clips)


@curve("linear + CTC, forward and backward", "batch", (1, 4, 16), (64,))
def ctc_batch(clips: int) -> Callable[[], object]:
    return _ctc(clips, 200, VOCABULARY)


@curve("linear + CTC, forward and backward", "vocabulary", (500, 2000, 8000), (32000,))
def ctc_vocabulary(units: int) -> Callable[[], object]:
    return _ctc(4, 200, units)


@curve("linear + smoothed CE, forward and backward", "vocabulary", (500, 2000, 8000), (32000,))
def ce_vocabulary(units: int) -> Callable[[], object]:
    import torch

    from viseme.core.losses import linear_label_smoothed_ce

    hidden, weight = torch.randn(4, 100, WIDTH, requires_grad=True), torch.randn(units, WIDTH, requires_grad=True)
    bias, targets = torch.zeros(units, requires_grad=True), torch.randint(1, units, (4, 100))
    return lambda: linear_label_smoothed_ce(hidden, weight, bias, targets).backward()


@curve("beam search, 4 s clip, 20 steps", "beam", (1, 4, 16), (64,))
def search_beam(beam: int) -> Callable[[], object]:
    return _search(beam, 4 * FPS, 20)


@curve("beam search, 10 beams", "steps", (5, 20, 80), (320,))
def search_steps(steps: int) -> Callable[[], object]:
    """Every step attends to all before it: keys and values are kept, so the work of a step grows slowly."""
    return _search(10, 4 * FPS, steps)


# ------------------------------------------------------------------------------------------------------ corpus size


@curve("read a manifest", "clips", (1_000, 10_000, 30_000), (300_000,))
def manifest_reading(clips: int) -> Callable[[], object]:
    from viseme.core.data import Manifest

    path = scratch_folder("bench") / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "frames", "fps", "text", "speaker", "split"])
        for n in range(clips):
            writer.writerow([f"c{n:08d}", f"mouth/c{n:08d}.mp4", 50 + n % 100, 25.0, "PLACE RED AT T", "s1", "train"])
    return lambda: len(Manifest.read(path))


@curve("batches of an epoch (dynamic)", "clips", (1_000, 10_000, 100_000), (1_000_000,))
def epoch_batches(clips: int) -> Callable[[], object]:
    from viseme.core.data import BatchSampler

    lengths = [25 + (n * 7919) % 375 for n in range(clips)]

    def work() -> int:
        sampler = BatchSampler(lengths, 1800)
        return sum(1 for _ in sampler)

    return work


# --------------------------------------------------------------------------------------------------- what they share


def _encoder(frames: int, clips: int) -> Callable[[], object]:
    import torch

    from viseme.core.layers.conformer import ConformerEncoder

    network, features = ConformerEncoder(WIDTH, 4, 4 * WIDTH, 2).eval(), torch.randn(clips, frames, WIDTH)
    return torch.inference_mode()(lambda: network(features))


def _ctc(clips: int, frames: int, units: int) -> Callable[[], object]:
    import torch

    from viseme.core.losses import linear_ctc_loss

    hidden = torch.randn(clips, frames, WIDTH, requires_grad=True)
    weight, bias = torch.randn(units, WIDTH, requires_grad=True), torch.zeros(units, requires_grad=True)
    labels = frames // 5
    targets, lengths = torch.randint(1, units, (clips, labels)), torch.full((clips,), frames)
    return lambda: linear_ctc_loss(hidden, weight, bias, targets, lengths, torch.full((clips,), labels)).backward()


def _search(beam: int, frames: int, steps: int) -> Callable[[], object]:
    import torch

    from viseme.core.decoding import BeamConfig, beam_search
    from viseme.core.layers.ctc import CTCHead
    from viseme.core.layers.transformer import TransformerDecoder

    torch.manual_seed(0)
    decoder = TransformerDecoder(VOCABULARY, WIDTH, 4, 4 * WIDTH, 2).eval()
    ctc, memory = CTCHead(WIDTH, VOCABULARY).eval(), torch.randn(1, frames, WIDTH)
    config = BeamConfig(beam=beam, maxlenratio=-steps)
    return lambda: beam_search(memory, None, decoder, ctc, None, config)


# ----------------------------------------------------------------------------------------------------- measurements


def measure(chosen: Curve, full: bool) -> list[dict[str, float]]:
    """Seconds and growth of the process (MB) at each size, in this process."""
    import torch  # its memory is the process', not the work's

    torch.manual_seed(0)
    rows = []
    chosen.prepare(chosen.sizes[0])()  # what is loaded once
    base = peak_mb()
    for size in chosen.sizes + (chosen.full_sizes if full else ()):
        work = chosen.prepare(size)
        seconds = []
        while not seconds or (sum(seconds) < ENOUGH_S and len(seconds) < 5):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        rows.append({"size": size, "seconds": min(seconds), "memory_mb": peak_mb() - base})
    return rows


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of log(value) over log(size), least squares, in the upper half of the sizes (two at least)."""
    count = max(2, (len(sizes) + 1) // 2)
    x = [math.log(size) for size in sizes[-count:]]
    y = [math.log(value) for value in values[-count:]]
    mean_x, mean_y = sum(x) / count, sum(y) / count
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def exponents(rows: list[dict[str, float]]) -> tuple[str, str]:
    """Of time and of memory, as text; memory that does not grow by more than a little is flat."""
    sizes = [row["size"] for row in rows]
    memory = [row["memory_mb"] for row in rows]
    in_time = f"{exponent(sizes, [row['seconds'] for row in rows]):.2f}"
    if memory[-1] < SMALLEST_MB:
        return in_time, "flat"
    return in_time, f"{exponent(sizes, [max(value, SMALLEST_MB) for value in memory]):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.growth", description=__doc__)
    parser.add_argument("--only", default="", help="curves whose name or axis contains this")
    parser.add_argument("--full", action="store_true", default=os.environ.get("FULL") == "1", help="the long sizes too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, default=RESULTS, help="where to append")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # a curve's own process
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(CURVES[options.one], options.full)))
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    found = []
    print(f"{'work':44} {'grows':10} {'time ~ n^':>9} {'memory ~ n^':>11}  sizes: seconds, MB")
    for number, chosen in enumerate(CURVES):
        if options.only not in f"{chosen.name} {chosen.axis}":
            continue
        command = [sys.executable, "-m", "tools.bench.growth", "--one", str(number), *["--full"] * options.full]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{chosen.name} failed:\n{done.stderr}")
        rows = json.loads(done.stdout.splitlines()[-1])
        in_time, in_memory = exponents(rows)
        points = ", ".join(f"{row['size']:g}: {row['seconds']:.3g} s {row['memory_mb']:.0f}" for row in rows)
        print(f"{chosen.name:44} {chosen.axis:10} {in_time:>9} {in_memory:>11}  {points}", flush=True)
        common = {"threads": options.threads, "machine": machine(), "date": date}
        found += [{"curve": chosen.name, "axis": chosen.axis, **row, **common} for row in rows]
    append_rows(options.csv, COLUMNS, found)


if __name__ == "__main__":
    main()
