"""FID's Inception-v3: its size and keys, its own pooling, and weights that are others'."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from viseme.core.errors import CheckpointError
from viseme.core.layers.inception import InceptionV3, _average
from viseme.core.metrics.frechet import InceptionFeatures, frechet_distance


def test_size_and_keys_are_the_published_ones() -> None:
    with torch.device("meta"):
        model = InceptionV3()
    assert sum(parameter.numel() for parameter in model.parameters()) == 21_785_568
    keys = model.state_dict()
    assert keys["Conv2d_1a_3x3.conv.weight"].shape == (32, 3, 3, 3)
    assert keys["Mixed_6b.branch7x7dbl_5.conv.weight"].shape == (192, 128, 1, 7)
    assert keys["Mixed_7c.branch3x3dbl_3b.bn.running_var"].shape == (384,)


def test_averages_leave_the_padding_out() -> None:
    assert torch.equal(_average(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_other_weights_are_refused() -> None:
    with pytest.raises(CheckpointError, match="Inception-v3"):
        InceptionFeatures({"fc.weight": torch.zeros(1008, 2048)})


@pytest.mark.heavy
def test_features_of_pictures() -> None:
    """Random weights give features too; batches do not matter, and the published classifier is left aside."""
    torch.manual_seed(0)
    state = {**InceptionV3().state_dict(), "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (5, 48, 40, 3), dtype=np.uint8)
    features = InceptionFeatures(state, batch=3)(pictures)
    assert features.shape == (5, 2048)
    np.testing.assert_allclose(InceptionFeatures(state, batch=5)(pictures), features, rtol=1e-3, atol=1e-5)
    narrow = features[:, :3]
    assert frechet_distance(narrow, narrow) == pytest.approx(0, abs=1e-6)
