"""What few labels read from a frozen encoder: label budget x encoder, a linear CTC head on features made once.

    python -m tools.studies.label_budget_frozen STORE OUT [--budgets 25,50,100,200,400] [--seeds 3]

The cheap companion of `label_budget`: the encoder of `OUT/pretrain` (made there if it is not yet) and a fresh one of
the same shape encode every clip once, without augmentation; then a linear layer learns words by CTC from each, on the
same labels. Only the encoder differs, and nothing of it is trained.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tools.studies.label_budget import INITIALISATIONS, PACKAGE, Study, tabulate
from torch import Tensor, nn
from torch.nn import functional

from viseme.core.cli import compose
from viseme.core.cli.config import typed
from viseme.core.decoding import ctc_greedy
from viseme.core.files import write_text_atomic
from viseme.core.layers.frontends import SAMPLES_PER_FRAME
from viseme.core.metrics import count_errors
from viseme.core.text import Tokenizer
from viseme.raven.data import DataConfig, limited, read_list, units_of, validation_loader
from viseme.raven.models import Encoder
from viseme.raven.pipeline import RAVEn

STEPS, CLIPS, LR = 600, 10, 1e-2
CALIBRATION_CLIPS = 400


@dataclass(frozen=True)
class Encoded:
    """A clip's features (T, D), its label ids, and its text."""

    features: Tensor
    ids: list[int]
    text: str


def encoded(encoder: Encoder, data: DataConfig, split: str, tokenizer: Tokenizer) -> dict[str, Encoded]:
    """Every clip of a split, each encoded alone."""
    found = {}
    modality = encoder.config.modality
    per_frame = 1 if modality == "video" else SAMPLES_PER_FRAME
    clips = read_list(data, data.train_file, split=split)
    texts = {row.id: row.text for row in clips}
    with torch.inference_mode():
        for batch in validation_loader(data, clips, None):
            for place, name in enumerate(batch["ids"]):
                frames = int(batch["lengths"][place])
                x = batch[modality][place : place + 1, : frames * per_frame]
                found[name] = Encoded(encoder(x)[0], tokenizer.encode(texts[name]), texts[name])
    return found


def calibrate(encoder: Encoder, data: DataConfig) -> None:
    """Give a fresh encoder's batch norms the statistics that it would have: those of a few batches."""
    encoder.train()
    clips = limited(read_list(data, data.train_file, split=data.train_split), CALIBRATION_CLIPS, 0)
    with torch.inference_mode():
        for batch in validation_loader(data, clips, None):
            encoder.encode(batch[encoder.config.modality], batch["lengths"])
    encoder.eval()


def run(
    chosen: list[Encoded], tests: list[Encoded], tokenizer: Tokenizer, seed: int, sizes: tuple[int, int]
) -> list[tuple[int, int]]:
    """Train the head on labelled clips; (errors, words) of every test clip, read greedily."""
    torch.manual_seed(seed)
    every = torch.cat([clip.features for clip in chosen])
    mean, std = every.mean(0), every.std(0) + 1e-5
    head = nn.Linear(*sizes)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        picked = [chosen[place] for place in torch.randperm(len(chosen))[:CLIPS].tolist()]
        x_BTD = nn.utils.rnn.pad_sequence([(clip.features - mean) / std for clip in picked], batch_first=True)
        loss = functional.ctc_loss(
            head(x_BTD).log_softmax(-1).transpose(0, 1),
            torch.tensor([number for clip in picked for number in clip.ids]),
            torch.tensor([len(clip.features) for clip in picked]),
            torch.tensor([len(clip.ids) for clip in picked]),
            zero_infinity=True,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    counts = []
    with torch.inference_mode():
        for clip in tests:
            read = ctc_greedy(head((clip.features - mean) / std)[None], torch.tensor([len(clip.features)]))[0]
            counts.append((count_errors(clip.text.split(), tokenizer.decode(read).split()).errors, len(clip.ids)))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="prepared store of the embedded corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--budgets", default="25,50,100,200,400", help="numbers of labelled clips")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--modality", choices=("video", "audio"), default="video")
    args = parser.parse_args()
    study = Study(args.store, args.out, args.modality, [], [])
    pretrained = RAVEn.from_pretrained(study.pretrained(), device="cpu").model
    assert isinstance(pretrained, Encoder)
    recipe = {"video": "small_vsr", "audio": "small_asr"}[args.modality]
    cfg = compose(PACKAGE, [f"recipe={recipe}", f"data.root_dir={args.store}", "data.cache_gb=0"])
    data: DataConfig = typed(DataConfig, cfg.data)
    labelled = read_list(data, data.train_file, split=data.train_split)
    tokenizer = units_of(data, [row.text for row in labelled])
    torch.manual_seed(0)
    fresh = Encoder(pretrained.config)
    fresh.start_at_unit_scale()
    calibrate(fresh, data)
    budgets = [int(number) for number in args.budgets.split(",")]
    found: dict[int, dict[str, list[list[tuple[int, int]]]]] = {budget: {} for budget in budgets}
    for start, encoder in zip(INITIALISATIONS, (fresh, pretrained), strict=True):
        trained = encoded(encoder, data, str(data.train_split), tokenizer)
        tests = list(encoded(encoder, data, str(data.test_split), tokenizer).values())
        for budget in budgets:
            found[budget][start] = []
            for seed in range(args.seeds):
                chosen = [trained[row.id] for row in limited(labelled, budget, seed)]
                sizes = (encoder.config.dim, tokenizer.size)
                found[budget][start].append(run(chosen, tests, tokenizer, seed, sizes))
    text, rows = tabulate(found)
    note = "synthetic: rendered faces and voices; a linear CTC head on a frozen encoder"
    table = {"note": note, "modality": args.modality, "rows": rows}
    write_text_atomic(args.out / f"table_frozen_{args.modality}.json", json.dumps(table, indent=1) + "\n")
    print("SYNTHETIC data (embedded corpus); frozen encoders (fresh | pre-trained), linear CTC head; WER %, test split")
    print(text)


if __name__ == "__main__":
    main()
