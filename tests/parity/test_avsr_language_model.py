"""The Transformer language model against the published one: hidden states, objective, incremental scores."""

from __future__ import annotations

import harness
import pytest
import torch

from viseme.core.layers.language_model import TransformerLM


def build(entry: dict) -> TransformerLM:
    size = entry["config"]["geometry"]
    model = TransformerLM(
        entry["config"]["vocabulary"], size["embed"], size["dim"], size["heads"], size["units"], size["blocks"]
    )
    state = harness.inputs.make_weights(harness.folder("avsr"), entry, "model")
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return model.eval()


@pytest.mark.parametrize(("name", "entry"), harness.entries("avsr", "language_model"))
@torch.no_grad()
def test_language_model(name: str, entry: dict) -> None:
    model, comparison = build(entry), harness.Comparison("avsr", entry)
    x, t = (torch.from_numpy(harness.inputs.make_input(harness.folder("avsr"), entry, key)) for key in ("x", "t"))

    comparison.check("hidden", model.hidden(x))
    comparison.check("logits", model(x))
    loss = model.loss(x, t)
    comparison.check("nll", loss.mean)
    comparison.check("logp", loss.total)
    comparison.check("count", loss.count)

    state = model.init_state(x.new_zeros(x.shape[0], 1, 1))
    steps = [model.step(x[:, i : i + 1], state)[:, 0] for i in range(max(entry["config"]["score_prefix_lengths"]))]
    wanted = [steps[length - 1] for length in entry["config"]["score_prefix_lengths"]]
    comparison.check("score_steps", torch.stack(wanted, dim=1))
    comparison.finish()
