"""Transcription of a 4 s clip at the published full size, split into front-end, encoder and search.

Weights are deterministic noise, so the length is set: every search takes the 20 steps that a sentence of this length
would (`maxlenratio=-20`). The quality figure of a search is its best score and a digest of all token lists: equal
digests mean identical hypotheses.
"""

from __future__ import annotations

import hashlib

import torch
from tools.bench.published_decoder import PublishedDecoder
from tools.bench.registry import Work, case

from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.core.decoding import BeamConfig, Hypothesis, beam_search, ctc_greedy
from viseme.core.layers.language_model import TransformerLM

FRAMES, STEPS, BATCH = 100, 20, 8


def model() -> AVSRModel:
    torch.manual_seed(0)
    return AVSRModel(AVSRConfig("video")).eval()


def memory(clips: int) -> torch.Tensor:
    """Encoder outputs; the first clip is the same however many there are."""
    return torch.stack([torch.randn(FRAMES, 768, generator=torch.Generator().manual_seed(c)) for c in range(clips)])


def quality(found: list[list[Hypothesis]]) -> str:
    digest = hashlib.sha256(repr([h.tokens for h in found[0]]).encode()).hexdigest()[:8]
    return f"best {found[0][0].score:.4f}, {len(found[0])} ended, tokens {digest}"


def search(clips: int, beam: int, published: bool = False, lm_weight: float = 0.0) -> Work:
    recogniser, memory_CTD = model(), memory(clips)
    lm = TransformerLM(5049).eval() if lm_weight else None
    decoder = PublishedDecoder(recogniser.decoder) if published else recogniser.decoder
    config = BeamConfig(beam=beam, maxlenratio=-STEPS, lm_weight=lm_weight)
    return lambda: quality(beam_search(memory_CTD, None, decoder, recogniser.ctc, lm, config))


@case("front-end", f"full visual model, {FRAMES} frames", runs=7)
def front_end() -> Work:
    recogniser, crops = model(), torch.randn(1, FRAMES, 1, 88, 88)

    @torch.inference_mode()
    def work() -> str:
        return f"{tuple(recogniser.proj_encoder(recogniser.frontend(crops)).shape)}"

    return work


@case("encoder", f"12 conformer blocks, {FRAMES} frames", runs=7)
def encoder() -> Work:
    recogniser, features = model(), torch.randn(1, FRAMES, 768)

    @torch.inference_mode()
    def work() -> str:
        return f"{tuple(recogniser.encoder(features).shape)}"

    return work


@case("beam 40", f"{FRAMES} frames, {STEPS} steps")
def beam_40() -> Work:
    return search(1, 40)


@case("beam 40", f"{FRAMES} frames, {STEPS} steps", "published structure", runs=3)
def beam_40_published() -> Work:
    return search(1, 40, published=True)


@case("beam 40", f"{BATCH} x {FRAMES} frames, {STEPS} steps", items=BATCH, runs=3)
def beam_40_batched() -> Work:
    return search(BATCH, 40)


@case("beam 10", f"{FRAMES} frames, {STEPS} steps", full_only=True)
def beam_10() -> Work:
    return search(1, 10)


@case("beam 10", f"{FRAMES} frames, {STEPS} steps", "published structure", runs=3, full_only=True)
def beam_10_published() -> Work:
    return search(1, 10, published=True)


@case("beam 40 with LM 0.3", f"{FRAMES} frames, {STEPS} steps", full_only=True)
def beam_40_lm() -> Work:
    return search(1, 40, lm_weight=0.3)


@case("beam 40 with LM 0.3", f"{FRAMES} frames, {STEPS} steps", "published structure", runs=3, full_only=True)
def beam_40_lm_published() -> Work:
    """The language model itself is ours in both rows."""
    return search(1, 40, published=True, lm_weight=0.3)


@case("greedy CTC", f"{FRAMES} frames", runs=15)
def greedy() -> Work:
    recogniser, memory_CTD = model(), memory(1)

    @torch.inference_mode()
    def work() -> str:
        return f"{len(ctc_greedy(recogniser.ctc(memory_CTD))[0])} units"

    return work
