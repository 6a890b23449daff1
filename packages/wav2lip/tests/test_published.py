"""Published checkpoints in all their wrappings, and what is not one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from viseme.core.checkpoint import available_models
from viseme.core.errors import CheckpointError
from viseme.core.testing.commands import check_user_error, run_command
from viseme.wav2lip.cli import app
from viseme.wav2lip.models import (
    DiscriminatorConfig,
    ExpertConfig,
    GeneratorConfig,
    QualityDiscriminator,
    SyncExpert,
    Wav2LipGenerator,
)
from viseme.wav2lip.published import convert_state
from viseme.wav2lip.weights import load_network

GENERATOR = GeneratorConfig((4, 6, 8, 16), (0, 1, 2, 1), (16, 12, 10, 8, 8), (0, 1, 0, 2, 1), (4, 6, 8, 10, 16), 6)
EXPERT = ExpertConfig(widths=(4, 8, 12, 16), residuals=(2, 1, 2), audio_widths=(4, 6, 8, 10, 16))


def network(kind: str) -> nn.Module:
    torch.manual_seed(1)
    made = {
        "generator": lambda: Wav2LipGenerator(GENERATOR),
        "expert": lambda: SyncExpert(EXPERT),
        "discriminator": lambda: QualityDiscriminator(DiscriminatorConfig((4, 6, 8, 10))),
    }
    return made[kind]()


def training_dict(state: dict[str, Tensor]) -> dict:
    return {"state_dict": state, "optimizer": None, "global_step": 5, "global_epoch": 1}


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "bare": lambda state: state,
    "dict": training_dict,
    "module.": lambda state: training_dict({f"module.{key}": value for key, value in state.items()}),
}


@pytest.mark.parametrize("kind", ["generator", "expert", "discriminator"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings(kind: str, wrapping: str, tmp_path: Path) -> None:
    model = network(kind)
    torch.save(WRAPPINGS[wrapping](model.state_dict()), tmp_path / "x.pth")
    outcome = run_command(app, ["convert", tmp_path / "x.pth", tmp_path / "model"])
    assert outcome.code == 0 and kind in outcome.out, outcome.err
    loaded = load_network(tmp_path / "model", kind)
    assert loaded.model.config == model.config
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key


def test_torchscript(tmp_path: Path) -> None:
    model = network("generator").eval()
    inputs = (torch.rand(1, 1, 80, 16), torch.rand(1, 6, 24, 24))
    torch.jit.trace(model, inputs).save(str(tmp_path / "Wav2Lip-SD-GAN.pt"))
    loaded = load_network(tmp_path / "Wav2Lip-SD-GAN.pt", "generator").model
    torch.testing.assert_close(loaded(*inputs), model(*inputs), rtol=0, atol=0)


def test_another_network_than_asked_for(tmp_path: Path) -> None:
    torch.save(network("expert").state_dict(), tmp_path / "lipsync_expert.pth")
    with pytest.raises(CheckpointError, match="this is the expert, not the generator"):
        load_network(tmp_path / "lipsync_expert.pth", "generator")


def test_missing_unknown_and_misshapen_weights() -> None:
    state = network("expert").state_dict()
    some = "audio_encoder.5.conv_block.0.bias"
    for damaged in (
        {key: value for key, value in state.items() if key != some},
        {**state, "extra.weight": torch.zeros(1)},
        {**state, some: torch.zeros(3)},
    ):
        with pytest.raises(CheckpointError, match="missing, unknown or of another shape"):
            convert_state(damaged)


def test_files_without_batch_counters() -> None:
    state = {k: v for k, v in network("expert").state_dict().items() if not k.endswith("num_batches_tracked")}
    assert convert_state(state).build().config == EXPERT  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>quota exceeded</html>", b"", b"PK\x03\x04 cut short"])
def test_no_checkpoint_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "wav2lip.pth").write_bytes(content)
    check_user_error(app, ["convert", tmp_path / "wav2lip.pth", tmp_path / "model"], "wav2lip.pth")


class _Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (Path.write_text, (self.mark, "executed"))


def test_hostile_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"state_dict": _Hostile(mark)}))
    torch.save({"state_dict": _Hostile(mark)}, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        check_user_error(app, ["convert", tmp_path / name, tmp_path / "model"], name)
    assert not mark.exists()


def test_records() -> None:
    known = available_models("wav2lip")
    assert {"wav2lip", "wav2lip_gan", "lipsync_expert", "s3fd", "syncnet_v2"} <= {record.name for record in known}
    assert not available_models("wav2lip", commercial_ok=True)


def test_licence_goes_into_the_card(tmp_path: Path) -> None:
    torch.save(network("generator").state_dict(), tmp_path / "x.pth")
    command = ["convert", tmp_path / "x.pth", tmp_path / "model", "--record", "wav2lip_gan"]
    assert run_command(app, command).code == 0
    assert "non-commercial" in (tmp_path / "model" / "card.md").read_text(encoding="utf-8")
    check_user_error(app, [*command[:-1], "wav2lip_pro"], "wav2lip_pro")
