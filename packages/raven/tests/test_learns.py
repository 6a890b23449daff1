"""Pre-training is seen to learn: on made clips whose pictures and sounds follow one hidden sequence, an encoder that
never saw a label tells the hidden symbols apart better than a fresh one, from the same few labels.

The table on the embedded corpus (labels x initialisation, word error rates) takes minutes: see
`tools.studies.label_budget`.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from viseme.core.synthetic.symbols import SYMBOLS, symbol_clips
from viseme.raven.models import PretrainConfig, Pretrainer
from viseme.raven.models.encoder import Encoder
from viseme.raven.objective import pretrain_losses
from viseme.raven.task import Masking

CLIPS, FRAMES = 8, 24
STEPS, LABELLED, RIDGE = 120, 3, 5.0


@pytest.fixture(scope="module")
def pretrained() -> Pretrainer:
    torch.manual_seed(0)
    pair = Pretrainer(PretrainConfig.preset("tiny", targets="block_mean", target_norm="instance")).train()
    groups = pair.parameter_groups()
    optimizer = torch.optim.AdamW([*groups["video"], *groups["audio"]], lr=3e-3, weight_decay=0.04)
    generator, lengths = torch.Generator().manual_seed(1), torch.full((CLIPS,), FRAMES)
    for step in range(STEPS):
        _, video, audio = symbol_clips(CLIPS, seed=100 + step)
        masks = Masking().draw([FRAMES] * CLIPS, FRAMES, generator)
        made = pair(video, audio, lengths, *masks)
        losses = pretrain_losses(made, pair.config, *masks)
        optimizer.zero_grad()
        (losses.video + losses.audio).backward()
        optimizer.step()
        pair.update_teachers(0.98)
    return pair.eval()


@torch.no_grad()
def probe_accuracy(encoder: Encoder, labelled: int) -> float:
    """Of a ridge regression from features to symbols, fitted on a few labelled clips, on clips that it has not seen."""
    encoder.eval()
    symbols, video, _ = symbol_clips(labelled, seed=7)
    wanted, unseen, _ = symbol_clips(16, seed=8)

    known, new = (encoder(x).flatten(0, 1).double() for x in (video, unseen))
    mean, std = known.mean(0), known.std(0) + 1e-9  # fresh features differ by little: all get the same scale

    def scaled(x: torch.Tensor) -> torch.Tensor:
        return torch.cat(((x - mean) / std, torch.ones(len(x), 1)), 1)

    x, y = scaled(known), functional.one_hot(symbols.flatten(), SYMBOLS).double()
    weights = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1]).double(), x.T @ y)
    return float(((scaled(new) @ weights).argmax(1) == wanted.flatten()).double().mean())


def test_pretrained_features_need_fewer_labels(pretrained: Pretrainer) -> None:
    learnt = probe_accuracy(pretrained.model_video.backbone.encoder, LABELLED)
    fresh = []
    for seed in range(3):
        torch.manual_seed(seed)
        fresh.append(probe_accuracy(Encoder(pretrained.config.video), LABELLED))
    assert learnt > max(fresh) + 0.2, (learnt, fresh)


@torch.no_grad()
def test_lips_predict_their_own_sound(pretrained: Pretrainer) -> None:
    """Predictions from new, unmasked video agree with the targets of their own sound more than with another clip's."""
    _, video, audio = symbol_clips(16, seed=9)
    lengths, nothing = torch.full((16,), FRAMES), torch.zeros(16, FRAMES, dtype=torch.bool)
    made = pretrained(video, audio, lengths, nothing, nothing)
    own = functional.cosine_similarity(made.v2a, made.target_audio, dim=-1).mean()
    other = functional.cosine_similarity(made.v2a, made.target_audio.roll(1, 0), dim=-1).mean()
    assert own > other + 0.2, (own, other)


def test_targets_have_not_collapsed(pretrained: Pretrainer) -> None:
    from viseme.raven.collapse import spread

    _, video, audio = symbol_clips(16, seed=10)
    mask = torch.ones(16, 1, FRAMES, dtype=torch.bool)
    for target in pretrained.targets(video, audio, mask):
        std, cosine = spread(target, mask)
        assert std > 0.5 and cosine < 0.8
