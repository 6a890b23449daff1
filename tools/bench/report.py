"""Results over time: `docs/benchmarks.md` and its pictures, from `benchmarks/*.csv`.

python -m tools.bench.report
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

from tools.bench.__main__ import OURS
from tools.bench.__main__ import RESULTS as TIMES
from tools.bench.growth import RESULTS as GROWTH
from tools.bench.growth import exponents

PAGE = Path("docs/benchmarks.md")
TIMES_PICTURE, GROWTH_PICTURE = "images/benchmarks.svg", "images/growth.svg"

HEAD = """# Benchmarks

Made by `python -m tools.bench.report` from `benchmarks/results.csv` and `benchmarks/growth.csv`; do not edit.
`make bench` (quick) and `make bench FULL=1` (with the long rows) add to them and draw this page anew; some rows only:
`make bench ARGS="--only 'beam 40'"`.

Every row runs in a process of its own. *viseme* is this project; the alternative is what a user would otherwise run,
measured in the same run on the same machine. Gain is the alternative's fastest run over ours, for one item. *Work MB*:
what the work added to the process (peak less set-up). Inputs are synthetic and weights noise: neither times nor memory
depend on them.
"""


def read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def latest(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The newest row of each task, size and variant, in the order in which they first came."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        found[row["task"], row["size"], row["variant"]] = row
    return list(found.values())


def number(text: str, digits: int = 3) -> str:
    return f"{float(text):.{digits}g}" if text else ""


def times_table(rows: list[dict[str, str]]) -> list[str]:
    lines = [
        "| task | size | variant | median s (range) | s an item | gain | work MB | threads | quality | measured |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        span = f"{number(row['median_s'])} ({number(row['fastest_s'])} to {number(row['slowest_s'])})"
        gain = f"**{float(row['gain']):.2f}x**" if row["gain"] else ""
        work_mb = f"{float(row['peak_mb']) - float(row['setup_mb']):.0f}"
        cells = [row["task"], row["size"], row["variant"], span, number(row["per_item_s"]), gain, work_mb]
        cells += [row["threads"], row["quality"], row["date"][:10]]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return lines


def growth_curves(rows: list[dict[str, str]]) -> dict[tuple[str, str], list[dict[str, float]]]:
    """Of each curve, the newest run's points."""
    found: dict[tuple[str, str], dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        point = {name: float(row[name]) for name in ("size", "seconds", "memory_mb")}
        found[row["curve"], row["axis"]][row["date"]].append(point)
    return {key: runs[max(runs)] for key, runs in found.items()}


def growth_table(curves: dict[tuple[str, str], list[dict[str, float]]]) -> list[str]:
    lines = [
        "| work | grows | from, to | seconds | time ~ n^ | memory MB | memory ~ n^ |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, axis), points in curves.items():
        in_time, in_memory = exponents(points)
        first, last = points[0], points[-1]
        sizes, seconds = (f"{first[key]:.3g} to {last[key]:.3g}" for key in ("size", "seconds"))
        memory = f"{first['memory_mb']:.0f} to {last['memory_mb']:.0f}"
        lines.append(f"| {name} | {axis} | {sizes} | {seconds} | {in_time} | {memory} | {in_memory} |")
    return lines


def draw_times(rows: list[dict[str, str]], path: Path) -> None:
    """Seconds an item of our rows over the dates, one small picture a task."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, datestr2num
    from matplotlib.ticker import FuncFormatter

    series: dict[str, dict[str, list[tuple[Any, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        best = float(row["fastest_s"]) * float(row["per_item_s"]) / float(row["median_s"])
        label = row["variant"] if row["variant"] != OURS else f"{OURS}, {row['size']}"
        series[row["task"]][label].append((datestr2num(row["date"]), best))
    figure, panels = _panels(len(series))
    for panel, (task, lines) in zip(panels, series.items(), strict=False):
        for label, points in lines.items():
            panel.plot(*zip(*points, strict=True), marker="o", label=label if len(label) < 40 else f"{label[:38]}…")
        panel.set_title(task, fontsize=8)
        panel.set_yscale("log")
        for place in (panel.yaxis.set_major_formatter, panel.yaxis.set_minor_formatter):
            place(FuncFormatter(lambda seconds, _: f"{seconds:.2g}"))
        panel.legend(fontsize=5)
        panel.tick_params(labelsize=6, which="both")
        days = [day for points in lines.values() for day, _ in points]
        panel.set_xlim(min(days) - 3, max(days) + 3)  # else one day's rows stand in a picture of years
        locator = AutoDateLocator(maxticks=4)
        panel.xaxis.set_major_locator(locator)
        panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    _save(figure, path, "seconds an item, fastest run")


def draw_growth(curves: dict[tuple[str, str], list[dict[str, float]]], path: Path) -> None:
    figure, panels = _panels(len(curves))
    for panel, ((name, axis), points) in zip(panels, curves.items(), strict=False):
        sizes, seconds = [p["size"] for p in points], [p["seconds"] for p in points]
        panel.loglog(sizes, seconds, marker="o")
        panel.loglog(sizes, [seconds[-1] * size / sizes[-1] for size in sizes], linestyle=":", color="grey")
        panel.set_title(f"{name}: n^{exponents(points)[0]}", fontsize=7)
        panel.set_xlabel(axis, fontsize=6)
        panel.tick_params(labelsize=6, which="both")
    _save(figure, path, "seconds; dotted: linear through the last point")


def _panels(count: int) -> tuple[Any, list[Any]]:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "viseme"  # the same picture from the same figures
    from matplotlib import pyplot

    columns = 4
    lines = max(1, -(-count // columns))
    figure, grid = pyplot.subplots(lines, columns, figsize=(13, 2.6 * lines), squeeze=False)
    panels = list(grid.flat)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels


def _save(figure: Any, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.report", description=__doc__)
    parser.add_argument("--times", type=Path, default=TIMES)
    parser.add_argument("--growth", type=Path, default=GROWTH)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    rows, curves = read(options.times), growth_curves(read(options.growth))
    lines = [HEAD]
    if rows:
        newest = latest(rows)
        machines = sorted({f"{row['machine']}; {row['versions']}" for row in newest})
        lines += ["## The newest rows", "", *(f"- {text}" for text in machines), "", *times_table(newest), ""]
        lines += ["## Over time", "", f"![seconds an item, by date]({TIMES_PICTURE})", ""]
        draw_times(rows, options.page.parent / TIMES_PICTURE)
    if curves:
        lines += [
            "## Growth",
            "",
            "Exponents are fitted in the upper half of the sizes: 1 is linear, 2 quadratic. The networks are small:",
            "this says how an algorithm grows, not how long a published model takes. Below 1, a constant cost shows.",
            "",
            *growth_table(curves),
            "",
            f"![seconds over size]({GROWTH_PICTURE})",
            "",
        ]
        draw_growth(curves, options.page.parent / GROWTH_PICTURE)
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text("\n".join(lines), encoding="utf-8")
    print(f"{options.page}: {len(rows)} rows, {len(curves)} curves")


if __name__ == "__main__":
    main()
