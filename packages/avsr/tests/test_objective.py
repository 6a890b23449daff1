"""The objective: its terms, their weights, what must not matter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.objective import HybridObjective
from viseme.core.errors import ConfigError
from viseme.core.losses import decoder_targets

FRAMES, UNITS = 20, 11


@pytest.fixture(scope="module")
def model() -> AVSRModel:
    torch.manual_seed(0)
    return AVSRModel(AVSRConfig.preset("tiny", "video", vocabulary=UNITS)).eval()


def batch(clips: int = 2) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)
    targets = torch.tensor([[1, 2, 3], [4, 4, -1]])[:clips]
    inputs = {"video": torch.randn(clips, FRAMES, 1, 88, 88), "video_lengths_B": torch.full((clips,), FRAMES)}
    return targets, (targets != -1).sum(1), inputs


def test_terms_are_what_they_are_called(model: AVSRModel) -> None:
    targets, lengths, inputs = batch()
    losses = HybridObjective(ctc_weight=0.1)(model, targets, lengths, **inputs)
    encoded = model.encode(**inputs)
    logp_TBV = model.ctc(encoded.memory).transpose(0, 1)
    ctc = torch.nn.functional.ctc_loss(logp_TBV, targets.clamp(min=0), encoded.lengths, lengths, reduction="sum") / 2
    torch.testing.assert_close(losses.ctc, ctc)
    tokens, wanted = decoder_targets(targets, UNITS - 1, UNITS - 1)
    right = model.decoder(tokens, encoded.memory, encoded.mask).argmax(-1) == wanted
    assert losses.accuracy.item() == pytest.approx(right[wanted != -1].float().mean().item())
    torch.testing.assert_close(losses.loss, 0.1 * losses.ctc + 0.9 * losses.att)


@pytest.mark.parametrize(("weight", "untouched"), [(0.0, "ctc."), (1.0, "decoder.")])
def test_a_weight_of_nothing_trains_nothing(model: AVSRModel, weight: float, untouched: str) -> None:
    targets, lengths, inputs = batch()
    model.zero_grad()
    HybridObjective(ctc_weight=weight)(model, targets, lengths, **inputs).loss.backward()
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        if name.startswith(untouched):
            assert not moved, name
        elif name.startswith("frontend."):
            assert moved, name


def test_a_clip_that_cannot_be_aligned_counts_nothing(model: AVSRModel) -> None:
    """More labels than frames: no CTC loss and no NaN, as published."""
    targets = torch.arange(1, 9)[None].repeat(1, 4)
    inputs = {"video": torch.randn(1, 4, 1, 88, 88), "video_lengths_B": torch.tensor([4])}
    losses = HybridObjective(ctc_weight=0.5)(model, targets, torch.tensor([32]), **inputs)
    assert losses.ctc.item() == 0 and torch.isfinite(losses.loss)


def test_wrapped_models_are_looked_through(model: AVSRModel) -> None:
    class Wrapper(torch.nn.Module):
        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, *args: Tensor, **inputs: Tensor) -> object:
            return self.module(*args, **inputs)

    targets, lengths, inputs = batch()
    plain, wrapped = (HybridObjective()(m, targets, lengths, **inputs) for m in (model, Wrapper(Wrapper(model))))
    torch.testing.assert_close(plain.loss, wrapped.loss)
    with pytest.raises(TypeError, match="no AVSRModel"):
        HybridObjective()(torch.nn.Linear(1, 1), targets, lengths, **inputs)


def test_weights_out_of_range() -> None:
    with pytest.raises(ConfigError, match="ctc_weight"):
        HybridObjective(ctc_weight=1.1)
