"""The networks at other sizes than published, fused, and exported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from viseme.core.cli.config import compose
from viseme.core.errors import ConfigError
from viseme.wav2lip.export import export_generator
from viseme.wav2lip.fast import fused
from viseme.wav2lip.models import ExpertConfig, GeneratorConfig, SyncExpert, Wav2LipGenerator
from viseme.wav2lip.objective import CHANCE_LOSS, cosine_bce, group_bce, lower_halves
from viseme.wav2lip.published import build_model, convert_state
from viseme.wav2lip.weights import save_network


@pytest.mark.parametrize(("name", "size"), [("published", 96), ("size192", 192), ("small", 48), ("tiny", 24)])
def test_every_geometry_fits_together(name: str, size: int) -> None:
    """All three networks of a configuration take the same pictures, and the converter recognises them."""
    cfg = compose("viseme.wav2lip", [f"model={name}"], missing_ok=True)
    with torch.device("meta"):
        models = {kind: build_model(kind, OmegaConf.to_container(cfg.model[kind])) for kind in cfg.model}  # type: ignore[arg-type]
        mel, window = torch.zeros(2, 1, 80, 16), torch.zeros(2, 3, 5, size, size)
        out = models["generator"](mel[:, None].expand(2, 5, 1, 80, 16), torch.cat((window, window), dim=1))
        audio, face = models["expert"](mel, lower_halves(out))
        assert models["discriminator"](out).shape == (10, 1)
    assert out.shape == window.shape and audio.shape == face.shape
    for kind, model in models.items():
        found = convert_state(model.state_dict())
        assert found.kind == kind and build_model(kind, found.config).config == model.config  # type: ignore[union-attr]


def test_windows_are_frames_in_a_row() -> None:
    torch.manual_seed(0)
    model = tiny().eval()
    mel, faces = torch.randn(2, 5, 1, 80, 16), torch.rand(2, 6, 5, 24, 24)
    together = model(mel, faces)
    for clip in range(2):
        alone = model(mel[clip], faces[clip].transpose(0, 1))
        torch.testing.assert_close(together[clip].transpose(0, 1), alone)


def tiny() -> Wav2LipGenerator:
    config = GeneratorConfig((4, 6, 8, 16), (0, 1, 1, 1), (16, 12, 10, 8, 8), (0, 1, 1, 1, 1), (4, 4, 8, 8, 16), 4)
    model = Wav2LipGenerator(config)
    for module in model.modules():  # statistics as training leaves them, which folding has to get right
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def test_fused_generator_says_the_same() -> None:
    torch.manual_seed(0)
    model = tiny().eval()
    mel, faces = torch.randn(3, 1, 80, 16), torch.rand(3, 6, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(fused(model)(mel, faces), model(mel, faces), atol=1e-4, rtol=0)
        assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()), "the original stays as it is"


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_exported_generator_says_the_same(tmp_path: Path, ending: str) -> None:
    if ending == ".onnx":
        pytest.importorskip("onnxscript", reason="export to ONNX needs viseme-wav2lip[export]")
    torch.manual_seed(0)
    folder = save_network(tmp_path / "model", "generator", tiny())
    assert export_generator(folder, tmp_path / f"generator{ending}") <= 1e-4
    assert (tmp_path / f"generator{ending}").stat().st_size > 1000


def test_configurations_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="same embedding"):
        ExpertConfig(audio_widths=(32, 64, 128, 256, 128))
    with pytest.raises(ConfigError, match="one block more"):
        GeneratorConfig(face_widths=(16, 32, 64), face_residuals=(0, 1, 1))


def test_chance_is_ln_2_in_both_expert_losses() -> None:
    a = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    half = torch.tensor([[0.5, 0.75**0.5]]).expand(4, 2)
    targets = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    assert float(cosine_bce(a, half, targets)) == pytest.approx(CHANCE_LOSS, abs=1e-4)
    assert float(group_bce(a[None], half[None])) == pytest.approx(CHANCE_LOSS, abs=1e-4)


def test_rounding_cannot_leave_the_range_of_the_cosine() -> None:
    """Unit vectors in half precision have cosines of a little more than 1."""
    v = torch.nn.functional.normalize(torch.rand(8, 64), dim=1) * 1.001
    assert torch.isfinite(cosine_bce(v, v, torch.zeros(8, 1)))
    assert torch.isfinite(group_bce(v[None], v[None]))


def test_group_loss_falls_where_pairs_belong_together() -> None:
    torch.manual_seed(0)
    expert = SyncExpert(ExpertConfig(widths=(4, 8, 16), residuals=(1, 1), audio_widths=(4, 4, 8, 8, 16)))
    optimizer = torch.optim.Adam(expert.parameters(), 3e-3)
    mel, x = torch.randn(2, 4, 1, 80, 16), torch.rand(2, 4, 15, 12, 24)
    losses = []
    for _ in range(40):
        audio, face = expert(mel.flatten(0, 1), x.flatten(0, 1))
        loss = group_bce(audio.unflatten(0, (2, 4)), face.unflatten(0, (2, 4)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * CHANCE_LOSS
