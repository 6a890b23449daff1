"""Does pre-training without labels help where labels are few? Label budget x initialisation, several seeds.

    python -m tools.studies.label_budget STORE OUT --budgets 25,50,100 --seeds 3

One pre-training of RAVEn's small pair on all training clips without their labels; then, for each budget and seed, one
fine-tuning from its video encoder and one from scratch, everything else equal. Runs that are there are kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from viseme.core.cli import compose
from viseme.core.files import write_text_atomic
from viseme.raven.evaluate import evaluate_list
from viseme.raven.train import pretrain, train

PACKAGE = "viseme.raven"
INITIALISATIONS = ("scratch", "pretrained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="prepared store of the embedded corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--budgets", default="25,50,100,200", help="numbers of labelled clips")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--modality", choices=("video", "audio"), default="video")
    parser.add_argument("--pretrain", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of small_pretrain")
    parser.add_argument("--finetune", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of small_vsr")
    parser.add_argument("--only", choices=INITIALISATIONS, help="these runs only, so that two processes can share them")
    args = parser.parse_args()
    study = Study(args.store, args.out, args.modality, args.pretrain, args.finetune)
    budgets = [int(number) for number in args.budgets.split(",")]
    chosen = (args.only,) if args.only else INITIALISATIONS
    encoder = study.pretrained() if "pretrained" in chosen else study.encoder
    for budget in budgets:
        for seed in range(args.seeds):
            for initialisation in chosen:
                study.run(budget, seed, initialisation, encoder)
        study.write(budgets)
    print(study.write(budgets))


class Study:
    """The runs of one table, below one folder."""

    def __init__(self, store: Path, out: Path, modality: str, pretrain: list[str], finetune: list[str]) -> None:
        self.store, self.out, self.modality = store, out, modality
        self.overrides = {"pretrain": pretrain, "finetune": finetune}

    def _compose(self, recipe: str, name: str, *more: str) -> object:
        common = [f"data.root_dir={self.store}", f"exp_dir={self.out}", f"exp_name={name}", "trainer.progress=false"]
        return compose(PACKAGE, [f"recipe={recipe}", *common, *more])

    @property
    def encoder(self) -> Path:
        """Model directory of the pre-trained encoder."""
        return self.out / "pretrain" / self.modality

    def pretrained(self) -> Path:
        """Pre-train, unless that is done; the encoder that the fine-tunings start from."""
        if not (self.encoder / "checksums.json").is_file():
            started = time.monotonic()
            pretrain(self._compose("small_pretrain", "pretrain", *self.overrides["pretrain"]))
            write_text_atomic(self.out / "pretrain" / "seconds.json", json.dumps(time.monotonic() - started))
        return self.encoder

    def folder(self, budget: int, seed: int, initialisation: str) -> Path:
        return self.out / f"{self.modality}_{budget}_{seed}_{initialisation}"

    def run(self, budget: int, seed: int, initialisation: str, encoder: Path) -> None:
        """Fine-tune and evaluate, unless that is done."""
        folder = self.folder(budget, seed, initialisation)
        if (folder / "evaluation" / "results.json").is_file():
            return
        more = [f"data.train_limit={budget}", f"data.limit_seed={seed}", f"trainer.seed={seed}"]
        if initialisation == "pretrained":
            more.append(f"pretrained_model_path={encoder}")
        recipe = "small_vsr" if self.modality == "video" else "small_asr"
        cfg = self._compose(recipe, folder.name, *more, *self.overrides["finetune"])
        train(cfg)
        result = evaluate_list(cfg)
        print(f"{folder.name}: WER {100 * result.score.wer:.1f} %", flush=True)
        for checkpoint in folder.glob("*.ckpt"):
            checkpoint.unlink()

    def results(self, budget: int, initialisation: str) -> list[list[tuple[int, int]]]:
        """(errors, words) of every test clip, by seed."""
        found = []
        for folder in sorted(self.out.glob(f"{self.modality}_{budget}_*_{initialisation}")):
            path = folder / "evaluation" / "clips.csv"
            if path.is_file():
                with path.open(encoding="utf-8", newline="") as lines:
                    found.append([(int(row["errors"]), int(row["words"])) for row in csv.DictReader(lines)])
        return found

    def write(self, budgets: list[int]) -> str:
        """The table, as text and as `table.json`."""
        found = {budget: {name: self.results(budget, name) for name in INITIALISATIONS} for budget in budgets}
        text, rows = tabulate(found)
        note = "synthetic: rendered faces and voices"
        table = {"note": note, "modality": self.modality, "overrides": self.overrides, "rows": rows}
        write_text_atomic(self.out / f"table_{self.modality}.json", json.dumps(table, indent=1) + "\n")
        title = (
            "SYNTHETIC data (embedded corpus); WER % on the test split, mean of seeds (each seed); gain in points, 95 %"
        )
        return f"{title}\n{text}"


def tabulate(found: dict[int, dict[str, list[list[tuple[int, int]]]]]) -> tuple[str, list[dict[str, Any]]]:
    """Lines of a table, and its rows as data: error rates in %, and what pre-training gains in points.

    Args:
        found: by number of labels and by initialisation: for each seed, (errors, words) of every test clip. Budgets
            that lack runs are left out.
    """
    lines = [f"{'labels':>6}  {'from scratch':>28}  {'pre-trained':>28}  {'gain':>24}"]
    rows = []
    for budget, runs in found.items():
        if not all(runs.values()) or len({len(run) for run in runs.values()}) > 1:
            continue
        rates = {name: [100 * rate(run) for run in by_seed] for name, by_seed in runs.items()}
        low, high = gain_interval(runs["scratch"], runs["pretrained"])
        gain = statistics.mean(rates["scratch"]) - statistics.mean(rates["pretrained"])
        shown = {
            name: f"{statistics.mean(values):.1f} ({' '.join(f'{value:.1f}' for value in values)})"
            for name, values in rates.items()
        }
        interval = f"{gain:.1f} [{low:.1f}, {high:.1f}]"
        lines.append(f"{budget:6d}  {shown['scratch']:>28}  {shown['pretrained']:>28}  {interval:>24}")
        rows.append({"labels": budget, **rates, "gain": gain, "low": low, "high": high})
    return "\n".join(lines), rows


def rate(clips: list[tuple[int, int]]) -> float:
    """Errors over words."""
    return sum(errors for errors, _ in clips) / sum(words for _, words in clips)


def gain_interval(
    scratch: list[list[tuple[int, int]]], pretrained: list[list[tuple[int, int]]], draws: int = 2000
) -> tuple[float, float]:
    """95 % interval of the difference of WER (points), over test clips and seeds drawn together, in pairs."""
    first, second = np.array(scratch, float), np.array(pretrained, float)  # seeds, clips, (errors, words)
    generator = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        seeds = generator.integers(len(first), size=len(first))
        clips = generator.integers(first.shape[1], size=first.shape[1])
        one, two = first[seeds][:, clips].sum((0, 1)), second[seeds][:, clips].sum((0, 1))
        found.append(100 * (one[0] / one[1] - two[0] / two[1]))
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


if __name__ == "__main__":
    main()
