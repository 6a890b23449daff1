"""What few labels read from a frozen encoder: label budget x encoder, the word of each frame by ridge regression.

    python -m tools.studies.label_budget_frozen STORE OUT [--budgets 10,25,50,100,200,400] [--seeds 3]

The cheap companion of `label_budget`: the encoder of `OUT/pretrain` (made there if it is not yet) and a fresh one of
the same shape encode every clip once, without augmentation; then a linear map from five frames' features (t - 4 to
t + 4) to the corpus' words is solved for on the same labelled clips, and read on the frames of the test split. Only the
encoder differs, nothing of it is trained, and the solution has no learning rate that could suit one of the two better.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tools.studies.label_budget import INITIALISATIONS, PACKAGE, Study, tabulate
from torch import Tensor
from torch.nn import functional

from viseme.core.cli import compose
from viseme.core.cli.config import typed
from viseme.core.data import Manifest
from viseme.core.data.word_times import WORD_TIMES, frame_units, parse_word_times
from viseme.core.files import write_text_atomic
from viseme.core.layers.frontends import SAMPLES_PER_FRAME
from viseme.core.text import Tokenizer, units_of
from viseme.raven.data import DataConfig, limited, read_list, validation_loader
from viseme.raven.models import Encoder
from viseme.raven.pipeline import RAVEn

CONTEXT = (-4, -2, 0, 2, 4)
PENALTY = 1000.0
CALIBRATION_CLIPS = 400


@dataclass(frozen=True)
class Encoded:
    """A clip's frames on which a word is said: their features (N, D) with context, and the words' ids (N,)."""

    features: Tensor
    words: Tensor


def encoded(encoder: Encoder, data: DataConfig, clips: Manifest, tokenizer: Tokenizer) -> dict[str, Encoded]:
    """Every clip, encoded alone."""
    found = {}
    modality = encoder.config.modality
    per_frame = 1 if modality == "video" else SAMPLES_PER_FRAME
    times = {row.id: parse_word_times(row.extra[WORD_TIMES]) for row in clips}
    with torch.inference_mode():
        for batch in validation_loader(data, clips, None):
            for place, name in enumerate(batch["ids"]):
                frames = int(batch["lengths"][place])
                x = batch[modality][place : place + 1, : frames * per_frame]  # type: ignore[literal-required]
                features_TD = encoder(x)[0]
                around = [(torch.arange(frames) + step).clamp(0, frames - 1) for step in CONTEXT]
                words = torch.tensor(frame_units(times[name], frames, tokenizer))
                said = words > 0
                found[name] = Encoded(torch.cat([features_TD[rows] for rows in around], 1)[said], words[said])
    return found


def calibrate(encoder: Encoder, data: DataConfig, clips: Manifest) -> None:
    """Give a fresh encoder's batch norms the statistics that it would have: those of a few batches."""
    encoder.train()
    with torch.inference_mode():
        for batch in validation_loader(data, limited(clips, CALIBRATION_CLIPS, 0), None):
            encoder.encode(batch[encoder.config.modality], batch["lengths"])  # type: ignore[literal-required]
    encoder.eval()


def wrong_frames(chosen: list[Encoded], tests: list[Encoded], words: int) -> list[tuple[int, int]]:
    """(wrong frames, frames) of every test clip, by the map that labelled clips give."""
    x_ND = torch.cat([clip.features for clip in chosen]).double()
    mean, std = x_ND.mean(0), x_ND.std(0) + 1e-9
    x_ND = functional.pad((x_ND - mean) / std, (0, 1), value=1.0)
    y_NW = functional.one_hot(torch.cat([clip.words for clip in chosen]), words).double()
    ridge = PENALTY * torch.eye(x_ND.shape[1], dtype=torch.float64)
    weights_DW = torch.linalg.solve(x_ND.T @ x_ND + ridge, x_ND.T @ y_NW)
    counts = []
    for clip in tests:
        told = functional.pad((clip.features.double() - mean) / std, (0, 1), value=1.0) @ weights_DW
        counts.append((int((told.argmax(1) != clip.words).sum()), len(clip.words)))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="prepared store of the embedded corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--budgets", default="10,25,50,100,200,400", help="numbers of labelled clips")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--modality", choices=("video", "audio"), default="video")
    args = parser.parse_args()
    study = Study(args.store, args.out, args.modality, [], [])
    pretrained = RAVEn.from_pretrained(study.pretrained(), device="cpu").model
    assert isinstance(pretrained, Encoder)
    recipe = {"video": "small_vsr", "audio": "small_asr"}[args.modality]
    cfg = compose(PACKAGE, [f"recipe={recipe}", f"data.root_dir={args.store}", "data.cache_gb=0"])
    data: DataConfig = typed(DataConfig, cfg.data)
    every = read_list(data, data.train_file, split=data.train_split)
    tokenizer = units_of(data, [row.text for row in every])
    tested = read_list(data, data.test_file, split=data.test_split)
    budgets = [int(number) for number in args.budgets.split(",")]
    drawn = {(budget, seed): limited(every, budget, seed) for budget in budgets for seed in range(args.seeds)}
    needed = {row.id for rows in drawn.values() for row in rows}
    labelled = every.filter(keep=lambda row: row.id in needed)
    torch.manual_seed(0)
    fresh = Encoder(pretrained.config)
    fresh.start_at_unit_scale()
    calibrate(fresh, data, every)
    found: dict[int, dict[str, list[list[tuple[int, int]]]]] = {budget: {} for budget in budgets}
    for start, encoder in zip(INITIALISATIONS, (fresh, pretrained), strict=True):
        known = encoded(encoder, data, labelled, tokenizer)
        tests = list(encoded(encoder, data, tested, tokenizer).values())
        for budget in budgets:
            found[budget][start] = [
                wrong_frames([known[row.id] for row in drawn[budget, seed]], tests, tokenizer.size)
                for seed in range(args.seeds)
            ]
    text, rows = tabulate(found)
    note = "synthetic: rendered faces and voices; frames whose word is told wrong, %, linear map on a frozen encoder"
    table = {"note": note, "modality": args.modality, "rows": rows}
    write_text_atomic(args.out / f"table_frozen_{args.modality}.json", json.dumps(table, indent=1) + "\n")
    print("SYNTHETIC data (embedded corpus); frozen encoders (scratch: fresh weights); frames' words told wrong, %")
    print(text)


if __name__ == "__main__":
    main()
