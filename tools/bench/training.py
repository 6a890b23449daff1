"""Front-end, encoder and training step of the full visual model, against a plain eager port of the published one.

The training step is 4 clips of 100 frames with 20 labels each: forward, backward, clipping, AdamW; ours with the
allocator set as `viseme.core.training.fit` sets it. Its quality figure is the loss of the first step without dropout:
equal losses mean equal work. Weights, gradients and AdamW's two moments alone are 4.0 GB in float32.
"""

from __future__ import annotations

import torch
from tools.bench.published_recogniser import encode, plain_products, training_loss
from tools.bench.registry import Work, case
from torch import nn

from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.objective import HybridObjective
from viseme.core.training.allocator import keep_memory

FRAMES, CLIPS, LABELS = 100, 4, 20
STEP = f"{CLIPS} x {FRAMES} frames, {LABELS} labels"


def model() -> AVSRModel:
    torch.manual_seed(0)
    return AVSRModel(AVSRConfig("video", dropout=0.0))


def reading(published: bool) -> Work:
    recogniser, crops = model().eval(), torch.randn(1, FRAMES, 1, 88, 88, generator=torch.Generator().manual_seed(1))
    if published:
        plain_products()

    @torch.inference_mode()
    def work() -> str:
        memory = encode(recogniser, crops) if published else recogniser.encode(crops).memory
        return f"norm {float(memory.norm()):.3f}"

    return work


def step(published: bool, *, thrifty: bool = False, bfloat16: bool = False) -> Work:
    recogniser = model().train()
    if published:
        plain_products()
    else:
        keep_memory()  # a row has a process of its own
    recogniser.set_speed(activation_checkpointing=thrifty)
    generator = torch.Generator().manual_seed(1)
    crops = torch.randn(CLIPS, FRAMES, 1, 88, 88, generator=generator)
    targets_BL = torch.randint(1, 5048, (CLIPS, LABELS), generator=generator)
    lengths_B, labels_B = torch.full((CLIPS,), FRAMES), torch.full((CLIPS,), LABELS)
    optimiser, objective = torch.optim.AdamW(recogniser.parameters(), 1e-5), HybridObjective()
    first: list[float] = []

    def work() -> str:
        optimiser.zero_grad()
        if published:
            loss = training_loss(recogniser, crops, targets_BL)
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = objective(recogniser, targets_BL, labels_B, video=crops, video_lengths_B=lengths_B).loss
        loss.backward()
        nn.utils.clip_grad_norm_(recogniser.parameters(), 10.0)
        optimiser.step()
        first.append(float(loss.detach()))
        return f"first loss {first[0]:.3f}"

    return work


@case("front-end and encoder", f"full visual model, {FRAMES} frames", runs=7)
def reading_ours() -> Work:
    return reading(False)


@case("front-end and encoder", f"full visual model, {FRAMES} frames", "plain eager port", runs=7)
def reading_published() -> Work:
    return reading(True)


@case("training step", STEP, runs=3)
def step_ours() -> Work:
    return step(False)


@case("training step", f"{STEP}, activation checkpointing", runs=3)
def step_thrifty() -> Work:
    return step(False, thrifty=True)


@case("training step", f"{STEP}, bfloat16", runs=3)
def step_bfloat16() -> Work:
    return step(False, bfloat16=True)


@case("training step", STEP, "plain eager port", runs=3)
def step_published() -> Work:
    return step(True)
