"""What a captioner of the embedded scenes says, read from its speech units alone, where no recogniser understands its
voice: the sentence of the test list whose units, in the voice of the training list, are nearest by edit distance.

python -m tools.studies.scenes_by_units CAPTIONER UNITS SCENES [--pictures 120]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from viseme.core.data import Manifest
from viseme.core.metrics import count_errors
from viseme.core.metrics.captions import caption_scores
from viseme.core.synthetic.scenes import VOICES, speak
from viseme.im2speech.images import read_image
from viseme.im2speech.pipeline import Im2Speech
from viseme.im2speech.tokens import deduplicate, unit_error_rate
from viseme.im2speech.units import UnitExtractor

SLOTS = {"colour": 1, "shape": 2, "place": 3, "second colour": 5, "second shape": 6}
BATCH = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("captioner", "units", "scenes"):
        parser.add_argument(name)
    parser.add_argument("--pictures", type=int, default=120)
    args = parser.parse_args()
    captioner = Im2Speech.from_pretrained(args.captioner, device="cpu")
    units = UnitExtractor.load(args.units, device="cpu")
    test = Manifest.read(f"{args.scenes}/manifest.csv").filter(split="test")
    rows = list(test)[: args.pictures]
    known = {
        text: deduplicate(units(speak(text, VOICES["train"]).samples)) for text in sorted({row.text for row in test})
    }
    said = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        pictures = [read_image(test.file(row)) for row in some]
        said += captioner.describe_batch(pictures, [row.id for row in some], sound=False)
    found = [min(known, key=lambda one: unit_error_rate(result.units, known[one])) for result in said]
    truth, half = [row.text for row in rows], len(rows) // 2
    for name, other in (("model", 0), ("chance (of another picture)", half)):
        spoken = said[other:] + said[:other]
        rates = [unit_error_rate(one.units, known[text]) for one, text in zip(spoken, truth)]
        print(name, _scores(found[other:] + found[:other], truth), f"UER {np.mean(rates):.3f}")


def _scores(found: Sequence[str], truth: Sequence[str]) -> str:
    counts = [count_errors(right.split(), text.split()) for right, text in zip(truth, found)]
    words = [[text.replace(" of", "").split() for text in texts] for texts in (found, truth)]
    right = {name: np.mean([a[k] == b[k] for a, b in zip(*words)]) for name, k in SLOTS.items()}
    captions = caption_scores([[text] for text in truth], list(found)).corpus
    figures = {
        "exact": np.mean([a == b for a, b in zip(found, truth)]),
        "WER": sum(one.errors for one in counts) / sum(one.length for one in counts),
        **{name: captions[name] for name in ("Bleu_4", "CIDEr")},
        **right,
    }
    return "  ".join(f"{name} {value:.3f}" for name, value in figures.items())


if __name__ == "__main__":
    main()
