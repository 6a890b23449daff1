"""Run the benchmarks: each row in a process of its own, so that peak memory is that row's.

python -m tools.bench [--only TEXT] [--full] [--threads N] [--csv FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.bench.registry import CASES, Case, append_rows

TOPICS = ["transcription", "training", "pretraining", "preparation", "wav2lip", "losses", "image_to_speech"]
TOPICS += ["lip2speech", "lip_quality"]
RESULTS = Path("benchmarks/results.csv")
COLUMNS = ["task", "size", "variant", "quality", "median_s", "fastest_s", "slowest_s", "runs", "per_item_s", "gain"]
COLUMNS += ["setup_mb", "peak_mb", "threads", "device", "machine", "versions", "date"]
OURS = "viseme"


def measure(case: Case) -> dict[str, Any]:
    """Set up, warm up, time; in this process."""
    import torch

    work = case.setup()
    setup_mb = peak_mb()
    work()
    seconds = []
    quality = ""
    for _ in range(case.runs):
        start = time.perf_counter()
        quality = work()
        seconds.append(time.perf_counter() - start)
    return {
        "quality": quality,
        "median_s": statistics.median(seconds),
        "fastest_s": min(seconds),
        "slowest_s": max(seconds),
        "runs": case.runs,
        "per_item_s": statistics.median(seconds) / case.items,
        "setup_mb": setup_mb,
        "peak_mb": peak_mb(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "machine": machine(),
        "versions": f"python {platform.python_version()} torch {torch.__version__}",
    }


def machine() -> str:
    """Processor and number of cores."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    processor = names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores"


def peak_mb() -> float:
    """Largest resident size of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere


def run_apart(case: Case, threads: int) -> dict[str, Any] | None:
    """`measure` in a fresh process; None where that failed, which has been said."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "tools.bench", "--one", case.name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(f"{case.name} failed:\n{done.stderr}", file=sys.stderr, flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text, one line each."""
    head = f"{'task':24} {'size':34} {'variant':22} {'median s':>9} {'range':>15} {'per item':>9} {'gain':>6} {'MB':>6}"
    lines = [f"{head}  quality"]
    for row in rows:
        span = f"{row['fastest_s']:.3f}-{row['slowest_s']:.3f}"
        gain = f"{row['gain']:.2f}x" if row["gain"] else ""
        lines.append(
            f"{row['task']:24} {row['size']:34} {row['variant']:22} {row['median_s']:9.4f} {span:>15} "
            f"{row['per_item_s']:9.4f} {gain:>6} {row['peak_mb']:6.0f}  {row['quality']}"
        )
    return "\n".join(lines)


def gains(rows: list[dict[str, Any]]) -> None:
    """How many times faster per item our rows are than the alternative of the same task, batched or not.

    Of the fastest runs: what another process takes away in between is no property of either.
    """

    def fastest_per_item(row: dict[str, Any]) -> float:
        return row["fastest_s"] * row["per_item_s"] / row["median_s"]

    for row in rows:
        others = [r for r in rows if r["task"] == row["task"] and r["variant"] != OURS]
        ours = bool(others) and row["variant"] == OURS
        row["gain"] = fastest_per_item(others[0]) / fastest_per_item(row) if ours else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--full", action="store_true", default=os.environ.get("FULL") == "1", help="the long rows too")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--csv", type=Path, default=RESULTS, help="where to append")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a row's own process
    options = parser.parse_args()
    for topic in TOPICS:
        importlib.import_module(f"tools.bench.{topic}")
    if options.one:
        print(json.dumps(measure(next(case for case in CASES if case.name == options.one))))
        return
    chosen = [c for c in CASES if options.only in c.name and (options.full or not c.full_only)]
    if not chosen:
        sys.exit(f"no benchmark's name contains {options.only!r}; there are:\n" + "\n".join(c.name for c in CASES))
    date = datetime.now(UTC).isoformat(timespec="seconds")
    rows, failed = [], []
    for number, case in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {case.name}", file=sys.stderr, flush=True)
        measured = run_apart(case, options.threads)
        if measured is None:
            failed.append(case.name)
            continue
        rows.append({"task": case.task, "size": case.size, "variant": case.variant, **measured, "date": date})
    gains(rows)
    print(table(rows))
    append_rows(options.csv, COLUMNS, rows)
    if failed:
        sys.exit("failed, and not in the table:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
