"""The networks: shapes, missing modalities, configuration."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from viseme.avsr.model import PRESETS, AVSRConfig, AVSRModel, Modality
from viseme.core.errors import ConfigError


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def build(modality: Modality, **changes: object) -> AVSRModel:
    return AVSRModel(AVSRConfig.preset("tiny", modality, vocabulary=11, **changes))


def clips(modality: str, frames: int = 5, batch: int = 2) -> dict[str, Tensor]:
    both = {"video": torch.randn(batch, frames, 1, 32, 32), "audio": torch.randn(batch, frames * 640, 1)}
    return both if modality == "audiovisual" else {modality: both[modality]}


@pytest.mark.parametrize("modality", ["video", "audio", "audiovisual"])
@pytest.mark.parametrize("frames", [1, 5])
def test_forward_and_gradients(modality: Modality, frames: int) -> None:
    model = build(modality)
    tokens = torch.tensor([[10, 1, 2], [10, 3, 10]])
    lengths = {"video_lengths_B": torch.tensor([frames, 1]), "audio_lengths_B": torch.tensor([frames, 1]) * 640 + 639}
    names = ("video", "audio") if modality == "audiovisual" else (modality,)
    encoded, hidden = model(
        tokens, **clips(modality, frames), **{f"{name}_lengths_B": lengths[f"{name}_lengths_B"] for name in names}
    )
    assert encoded.memory.shape == (2, frames, 32) and encoded.lengths.tolist() == [frames, 1]
    assert encoded.mask is not None and encoded.mask.sum(-1).tolist() == [[frames], [1]]
    assert hidden.shape == (2, 3, 32)
    (model.ctc(encoded.memory)[..., 1].sum() + model.decoder.output_layer(hidden)[..., 1].sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("modality", ["video", "audio", "audiovisual"])
def test_batched_equals_single_without_padding(modality: Modality) -> None:
    model, given = build(modality).eval(), clips(modality)
    together = model.encode(**given).memory
    alone = model.encode(**{name: x[1:] for name, x in given.items()}).memory
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("absent", ["video", "audio"])
def test_one_of_two_modalities(absent: str) -> None:
    """Leaving a modality away is the same as hiding it, whatever it holds; and it is not the same as having it."""
    model = build("audiovisual", optional_modalities=True).eval()
    torch.nn.init.normal_(getattr(model, f"absent_{absent}"))
    given = clips("audiovisual")
    without = model.encode(**{name: x for name, x in given.items() if name != absent})
    nobody, everybody = torch.tensor([False, False]), torch.tensor([True, True])
    hidden = model.encode(**given, **{f"use_{absent}_B": nobody})
    torch.testing.assert_close(without.memory, hidden.memory)
    both = model.encode(**given)
    torch.testing.assert_close(model.encode(**given, **{f"use_{absent}_B": everybody}).memory, both.memory)
    assert not torch.allclose(both.memory, without.memory, atol=1e-3)
    mixed = model.encode(**given, **{f"use_{absent}_B": torch.tensor([True, False])}).memory
    torch.testing.assert_close(mixed, torch.stack((both.memory[0], without.memory[1])))


def test_lengths_of_the_modality_that_is_there() -> None:
    model = build("audiovisual", optional_modalities=True)
    heard = model.encode(audio=torch.randn(2, 3200, 1), audio_lengths_B=torch.tensor([3200, 1300]))
    assert heard.lengths.tolist() == [5, 2]
    alone = model.encode(video=torch.randn(1, 4, 1, 32, 32))
    assert alone.lengths.tolist() == [4] and alone.mask is None


def test_absent_vectors_learn() -> None:
    model = build("audiovisual", optional_modalities=True)
    model.encode(**clips("audiovisual"), use_video_B=torch.tensor([True, False])).memory[..., 0].sum().backward()
    assert model.absent_video.grad is not None and model.absent_video.grad.abs().sum() > 0
    assert model.absent_audio.grad is None


@pytest.mark.parametrize(
    "modality, given",
    [("video", "audio"), ("audio", "video"), ("audiovisual", "video"), ("video", "audiovisual"), ("video", "")],
)
def test_input_that_does_not_fit(modality: Modality, given: str) -> None:
    with pytest.raises(ConfigError, match="does not fit the model"):
        build(modality).encode(**(clips(given) if given else {}))


def test_more_that_does_not_fit() -> None:
    model = build("audiovisual")
    with pytest.raises(ValueError, match="4 video frames but 5"):
        model.encode(torch.randn(1, 4, 1, 32, 32), torch.randn(1, 3200, 1))
    with pytest.raises(ConfigError, match="leave a modality out"):
        model.encode(**clips("audiovisual"), use_audio_B=torch.tensor([True, False]))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("modality", ["video", "audio", "audiovisual"])
def test_presets_build_and_survive_a_file(name: str, modality: Modality) -> None:
    config = AVSRConfig.preset(name, modality)
    assert AVSRConfig.from_dict(config.to_dict()) == config
    with torch.device("meta"):
        assert AVSRModel(config).config.modality == modality


def test_published_sizes() -> None:
    """Parameters as in the paper: 250 M, 243 M, 444 M; 52.49 M for the zoo's character models."""
    with torch.device("meta"):
        count = {
            modality: sum(p.numel() for p in AVSRModel(AVSRConfig(modality)).parameters())
            for modality in ("video", "audio", "audiovisual")
        }
        character = AVSRModel(AVSRConfig.preset("char", "video", vocabulary=41))
    assert [round(n / 1e6) for n in count.values()] == [250, 243, 444]
    assert round(sum(p.numel() for p in character.parameters()) / 1e6) == 52


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({"modality": "visual"}, "unknown modality"),
        ({"modality": "video", "attention": "rotary"}, "unknown attention"),
        ({"modality": "video", "heads": 5}, "heads must divide"),
        ({"modality": "video", "depth": 3}, "unknown fields"),
        ({"dim": 64}, "must name its modality"),
        ({"modality": "video", "frontend_widths": [4, 8]}, "four stages"),
        ({"modality": "audiovisual", "optional_modalities": True}, "layer norm"),
    ],
)
def test_bad_configuration(fields: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        AVSRConfig.from_dict(fields)
    with pytest.raises(ConfigError, match="unknown geometry"):
        AVSRConfig.preset("huge", "video")
