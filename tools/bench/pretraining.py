"""One pre-training step of RAVEn Base, 4 clips of 50 frames: teachers, students, losses, gradients, AdamW, EMA.

The alternative is a plain port of the published code's arithmetic (`published_pretraining`): same weights, masks and
maths, in 32 bit. The quality figure is the step's loss: equal losses mean that the same thing was computed.
"""

from __future__ import annotations

import torch
from tools.bench.published_pretraining import plain
from tools.bench.published_recogniser import plain_products
from tools.bench.registry import Work, case

from viseme.core.training.allocator import keep_memory
from viseme.raven.models.pretraining import PretrainConfig, Pretrainer
from viseme.raven.objective import pretrain_losses
from viseme.raven.task import Masking

CLIPS, FRAMES = 4, 50
SIZE = f"Base, {CLIPS} x {FRAMES} frames"


def step(*, published: bool = False, bf16: bool = False) -> Work:
    torch.manual_seed(0)
    pair = Pretrainer(PretrainConfig.preset("base")).train()
    for module in pair.modules():  # no dropout: the losses of the variants can be compared
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    if published:
        plain(pair)
        plain_products()
    else:
        keep_memory()  # as `viseme.core.training.fit` does; a row has a process of its own
    video, audio = torch.randn(CLIPS, FRAMES, 1, 88, 88), 0.1 * torch.randn(CLIPS, 640 * FRAMES, 1)
    lengths = torch.full((CLIPS,), FRAMES)
    masks = Masking().draw([FRAMES] * CLIPS, FRAMES, torch.Generator().manual_seed(0))
    groups = pair.parameter_groups()
    if published:
        optimizers = [torch.optim.AdamW(groups[name], lr=1e-5, foreach=False) for name in ("video", "audio")]
    else:
        optimizers = [torch.optim.AdamW([*groups["video"], *groups["audio"]], lr=1e-5, fused=True)]
    first: list[float] = []

    def work() -> str:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            made = pair(video, audio, lengths, *masks)
        losses = pretrain_losses(made, pair.config, *masks)
        (losses.video + losses.audio).backward()
        for name in ("video", "audio"):
            torch.nn.utils.clip_grad_norm_(groups[name], 3.0, foreach=not published)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=not published)
        if published:
            for student in (pair.model_video, pair.model_audio):
                pairs = zip(student.target_backbone.parameters(), student.backbone.encoder.parameters(), strict=True)
                for teacher, own in pairs:
                    teacher.data = teacher.data * 0.999 + own.data * (1 - 0.999)
        else:
            pair.update_teachers(0.999)
        first.append(float((losses.video + losses.audio).detach()))
        return f"first loss {first[0]:.5f}"

    return work


@case("pre-training step", SIZE, runs=3)
def ours() -> Work:
    return step()


@case("pre-training step", SIZE, "plain port", runs=3)
def plain_port() -> Work:
    return step(published=True)


@case("pre-training step, bf16", SIZE, runs=3)
def ours_bf16() -> Work:
    return step(bf16=True)
