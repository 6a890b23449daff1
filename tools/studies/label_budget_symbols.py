"""Label budget x initialisation in seconds: on made clips (`viseme.core.synthetic.symbols`), with the tiny geometry.

    python -m tools.studies.label_budget_symbols OUT [--budgets 8,16,32] [--seeds 3]

One pre-training of a tiny pair without labels; then, for each budget and seed, a recogniser of the video's symbols is
trained with CTC and attention from its encoder, and one from scratch, everything else equal. Runs that are there are
kept. The rendered faces of the embedded corpus take minutes: `label_budget`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from tools.studies.label_budget import INITIALISATIONS, tabulate

from viseme.core.decoding import ctc_greedy
from viseme.core.files import write_text_atomic
from viseme.core.metrics import count_errors
from viseme.core.synthetic.symbols import DWELL_FRAMES, SYMBOLS, symbol_clips
from viseme.raven.groups import parameter_groups
from viseme.raven.models import PretrainConfig, Pretrainer
from viseme.raven.models.recogniser import Recogniser, RecogniserConfig
from viseme.raven.objective import RecognitionObjective, pretrain_losses
from viseme.raven.task import Masking

FRAMES, CLIPS = 24, 8
PRETRAIN_STEPS, PRETRAIN_LR, MOMENTUM = 240, 3e-3, 0.98
STEPS, LR, LR_HEADS = 150, 1e-3, 5e-3
TEST_CLIPS, TEST_SEED = 64, 2000


def pretrained() -> Pretrainer:
    """A tiny pair that has seen some two thousand clips and no label."""
    torch.manual_seed(0)
    pair = Pretrainer(PretrainConfig.preset("tiny", targets="block_mean", target_norm="instance")).train()
    groups = pair.parameter_groups()
    optimizer = torch.optim.AdamW([*groups["video"], *groups["audio"]], lr=PRETRAIN_LR, weight_decay=0.04)
    generator, lengths = torch.Generator().manual_seed(1), torch.full((CLIPS,), FRAMES)
    for step in range(PRETRAIN_STEPS):
        _, video, audio = symbol_clips(CLIPS, seed=100_000 + step)
        masks = Masking().draw([FRAMES] * CLIPS, FRAMES, generator)
        losses = pretrain_losses(pair(video, audio, lengths, *masks), pair.config, *masks)
        optimizer.zero_grad()
        (losses.video + losses.audio).backward()
        optimizer.step()
        pair.update_teachers(MOMENTUM)
    return pair


def run(pair: Pretrainer, start: str, budget: int, seed: int) -> list[tuple[int, int]]:
    """Train on `budget` labelled clips; (errors, symbols) of every test clip, read greedily with CTC."""
    torch.manual_seed(seed)
    model = Recogniser(RecogniserConfig(pair.config.video, SYMBOLS + 2, 32, 2, 64, 1)).train()
    if start == "pretrained":  # all but the final norm, as published
        state = pair.model_video.backbone.encoder.state_dict()
        model.encoder.load_state_dict({k: v for k, v in state.items() if "after_norm" not in k}, strict=False)
    symbols, video, _ = symbol_clips(budget, seed=1000 + seed)
    targets = symbols[:, ::DWELL_FRAMES] + 1
    groups = parameter_groups(model, lr=LR, lr_other=LR_HEADS)
    optimizer = torch.optim.AdamW([{"params": group.parameters, "lr": group.lr} for group in groups], weight_decay=0.04)
    rates = [group.lr for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=STEPS, pct_start=0.1)
    objective = RecognitionObjective(ctc_weight=0.9)
    for _ in range(STEPS):
        chosen = torch.randperm(budget)[:CLIPS]
        count = len(chosen)
        made = objective(
            model,
            video[chosen],
            torch.full((count,), FRAMES),
            targets[chosen],
            torch.full((count,), targets.shape[1]),
        )
        optimizer.zero_grad()
        made.loss.backward()
        optimizer.step()
        schedule.step()
    symbols, video, _ = symbol_clips(TEST_CLIPS, seed=TEST_SEED)
    with torch.inference_mode():
        encoded = model.eval().encode(video)
        found = ctc_greedy(model.ctc(encoded.memory), encoded.lengths)
    wanted = (symbols[:, ::DWELL_FRAMES] + 1).tolist()
    return [
        (count_errors([str(s) for s in truth], [str(s) for s in read]).errors, len(truth))
        for truth, read in zip(wanted, found, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budgets", default="8,16,32", help="numbers of labelled clips")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    weights = args.out / "pair.pt"
    pair = Pretrainer(PretrainConfig.preset("tiny", targets="block_mean", target_norm="instance"))
    if not weights.is_file():
        started = time.process_time()
        torch.save(pretrained().state_dict(), weights)
        print(f"pre-trained in {time.process_time() - started:.0f} CPU seconds", flush=True)
    pair.load_state_dict(torch.load(weights, weights_only=True))
    budgets = [int(number) for number in args.budgets.split(",")]
    found: dict[int, dict[str, list[list[tuple[int, int]]]]] = {}
    for budget in budgets:
        found[budget] = {start: [] for start in INITIALISATIONS}
        for seed in range(args.seeds):
            for start in INITIALISATIONS:
                kept = args.out / f"{budget}_{seed}_{start}.json"
                if not kept.is_file():
                    write_text_atomic(kept, json.dumps(run(pair, start, budget, seed)))
                found[budget][start].append([tuple(counts) for counts in json.loads(kept.read_text())])
    print("SYNTHETIC: made clips, six symbols; symbol error rate %, mean of seeds (each seed); gain in points, 95 %")
    print(tabulate(found)[0])


if __name__ == "__main__":
    main()
