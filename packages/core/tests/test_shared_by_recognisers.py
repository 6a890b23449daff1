"""What avsr and raven have in common: readings, model cards, the size of what they see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from viseme.core.data import Manifest, ManifestRow
from viseme.core.data.mouth_input import MouthInput
from viseme.core.decoding import Hypothesis, beam_readings, greedy_readings
from viseme.core.errors import ConfigError
from viseme.core.training.card import training_card


def test_greedy_readings_are_as_sure_as_their_spoken_frames() -> None:
    posteriors = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]])
    both = posteriors.log().repeat(2, 1, 1)
    ((first,), (short,)) = greedy_readings(both, torch.tensor([4, 1]))
    assert first.tokens == (1, 2)
    assert first.confidence == pytest.approx((0.8 * 0.5 * 0.8) ** (1 / 3))
    assert first.score == pytest.approx(math.log(0.7 * 0.8 * 0.5 * 0.8), rel=1e-5)
    assert short.tokens == () and short.confidence == 0.0


def test_beam_readings_count_the_end_as_a_decision() -> None:
    sure = Hypothesis((5, 1, 2, 5), -3.0, {"decoder": 3 * math.log(0.5)})
    (found, nothing) = beam_readings([[sure], []])
    assert found[0].tokens == tuple(sure.units) and found[0].score == -3.0
    assert found[0].confidence == pytest.approx(math.exp(3 * math.log(0.5) / (len(sure.units) + 1)))
    assert [reading.tokens for reading in nothing] == [()] and nothing[0].confidence == 0.0


def test_card_tells_what_was_trained_on_and_warns() -> None:
    rows = [ManifestRow(id=str(n), path=f"{n}.mp4", frames=45000, dataset="here") for n in range(2)]
    text = training_card(
        "run",
        "Reads.",
        torch.nn.Linear(1000, 10),
        Manifest(rows),
        epochs=3,
        steps=40,
        figures={"wer_val": torch.tensor(0.25), "loss": 7.0},
        facts=["reads: video"],
        domain="Knows little.",
    )
    for said in ("# run", "0.01 M", "2 clips, 1.00 h, of here", "epochs: 3, steps: 40", "- reads: video"):
        assert said in text
    assert "- wer_val: 0.2500" in text and "loss" not in text and text.endswith("**Knows little.**\n")


def test_mouth_crops_are_scaled_by_averaging_and_must_hold_the_part_seen() -> None:
    crops = np.zeros((3, 96, 96), np.uint8)
    crops[:, ::2] = 200
    assert MouthInput().scale(crops) is crops
    small = MouthInput(frame_size=48, crop_size=40).scale(crops)
    assert small.shape == (3, 48, 48) and (small == 100).all()
    for size in (0, 97):
        with pytest.raises(ConfigError, match="crop_size"):
            MouthInput(crop_size=size)
