"""Loss kernels on a GPU against torch's parts: time, peak memory, and for the elementwise ones the bandwidth floor.

python -m tools.bench.kernels_gpu [--csv benchmarks/kernels_gpu.csv]

The floor is the bytes that must be moved over the copy bandwidth measured in the same run.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from viseme.core.losses import cosine, ctc, smoothed_ce, spectral
from viseme.core.losses.kernels import contrastive as fast_contrastive
from viseme.core.losses.kernels import cosine as fast_cosine
from viseme.core.losses.kernels import spectral as fast_spectral

COLUMNS = ["loss", "size", "variant", "median_ms", "fastest_ms", "slowest_ms", "peak_mb", "floor_ms", "error"]
COLUMNS += ["machine", "versions", "date"]


def measure(work: Callable[[], object], runs: int = 20) -> tuple[list[float], float]:
    """Milliseconds of each run, and peak megabytes above what was there before."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    times = []
    for _ in range(runs):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return times, (torch.cuda.max_memory_allocated() - before) / 1e6


def bandwidth() -> float:
    """Bytes a second of a copy, read and written."""
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    times, _ = measure(lambda: target.copy_(source))
    return 2 * source.nbytes / (min(times) / 1e3)


def gradients(loss: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], list[Tensor]]:
    wanted = [x for x in inputs if x.requires_grad]
    return lambda: list(torch.autograd.grad(loss(*inputs).sum(), wanted))


def error(made: list[Tensor], loss: Callable[..., Tensor], inputs: list[Tensor]) -> float:
    """Largest difference of a gradient from the plain function's in float64, relative to the largest entry."""
    exact = [x.detach().double().requires_grad_(x.requires_grad) if x.is_floating_point() else x for x in inputs]
    pairs = zip(made, gradients(loss, exact)(), strict=True)
    return max(float((mine.double() - theirs).abs().max() / theirs.abs().max()) for mine, theirs in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.kernels_gpu", description=__doc__)
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/kernels_gpu.csv"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device here: this benchmark measures nothing else")
    torch.manual_seed(0)
    speed = bandwidth()

    def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, device="cuda").to(dtype).requires_grad_()

    clips, frames, width, vocabulary, labels = 16, 400, 768, 5049, 60
    lengths = torch.full((clips,), frames, device="cuda"), torch.full((clips,), labels, device="cuda")
    targets = torch.randint(1, vocabulary, (clips, frames), device="cuda")
    layer = [
        noise(clips, frames, width, dtype=torch.bfloat16),
        (noise(vocabulary, width).detach() / width**0.5).bfloat16().requires_grad_(),
        noise(vocabulary, dtype=torch.bfloat16),
    ]
    x, y = noise(clips * frames, width), noise(clips * frames, width)
    a, b = (F.normalize(noise(80, 50, 512).detach(), dim=-1).requires_grad_() for _ in range(2))
    waves = noise(16, 513 * 400, 2), noise(16, 513 * 400, 2).detach()
    mels, columns = (noise(16, 80, 1600), noise(16, 80, 1600).detach()), torch.full((16,), 1500, device="cuda")

    def ctc_with(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda h, w, c: function(h, w, c, targets[:, :labels], *lengths)

    def plain_ce(h: Tensor, w: Tensor, c: Tensor) -> Tensor:
        return smoothed_ce.label_smoothed_ce(F.linear(h, w, c), targets)

    size = f"{clips} x {frames} frames, {vocabulary} units, bf16"
    elementwise = f"{tuple(x.shape)} float32"
    # Least traffic of forward and backward: every input read twice, every gradient written once.
    rows: list[tuple[str, str, list[Tensor], int, Callable[..., Tensor], Callable[..., Tensor]]] = [
        ("linear + CTC", size, layer, 0, ctc_with(ctc.linear_ctc_loss), ctc_with(ctc.plain_linear_ctc_loss)),
        ("linear + CE", size, layer, 0, lambda *p: smoothed_ce.linear_label_smoothed_ce(*p, targets), plain_ce),
        (
            "cosine",
            elementwise,
            [x, y],
            3 * (x.nbytes + y.nbytes),
            lambda p, q: fast_cosine.cosine_rows(p, q, None),
            lambda p, q: cosine._cosine_rows(p, q, None),
        ),
        (
            "contrastive",
            "80 clips x 50 frames x 512",
            [a, b],
            3 * (a.nbytes + b.nbytes),
            lambda p, q: fast_contrastive.contrast(p, q, 1.0),
            lambda p, q: cosine._contrast(p, q, 1.0),
        ),
        (
            "STFT distances",
            "16 x 513 x 400 bins",
            list(waves),
            5 * waves[0].nbytes,
            fast_spectral.spectral_sums,
            spectral._spectral_sums,
        ),
        (
            "mel L1",
            "16 x 80 x 1600",
            list(mels),
            5 * mels[0].nbytes,
            lambda p, q: fast_spectral.absolute_sums(p, q, columns),
            lambda p, q: spectral._absolute_sums(p, q, columns),
        ),
    ]
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    fresh = not options.csv.exists()
    with options.csv.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        for name, shape, inputs, least_bytes, ours, plain in rows:
            for variant, loss in (("viseme", ours), ("torch", plain)):
                work = gradients(loss, inputs)
                times, peak = measure(work)
                row = {
                    "loss": name,
                    "size": shape,
                    "variant": variant,
                    "median_ms": round(statistics.median(times), 4),
                    "fastest_ms": round(min(times), 4),
                    "slowest_ms": round(max(times), 4),
                    "peak_mb": round(peak, 1),
                    "floor_ms": round(1e3 * least_bytes / speed, 4) if least_bytes else "",
                    "error": f"{error(work(), plain, inputs):.1e}",
                    "machine": torch.cuda.get_device_name(),
                    "versions": f"torch {torch.__version__} triton {triton.__version__}",
                    "date": datetime.now(UTC).isoformat(timespec="seconds"),
                }
                writer.writerow(row)
                print("  ".join(f"{key} {value}" for key, value in row.items() if key in COLUMNS[:9]), flush=True)


if __name__ == "__main__":
    main()
