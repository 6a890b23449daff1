"""Exported equals eager: encoders at other lengths than exported, cached decoder steps, searches, 8-bit weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.avsr.cli import app
from viseme.avsr.export import DecoderMemory, DecoderStep
from viseme.avsr.model import AVSRConfig, AVSRModel
from viseme.avsr.pipeline import AVSR, Recording, Search
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.text import CharUnits

pytest.importorskip("onnx", reason="the export extra is not installed; CI has it")
pytest.importorskip("onnxscript", reason="the export extra is not installed; CI has it")

UNITS = CharUnits.from_texts(["A B C D E"])


def make() -> AVSR:
    """An untrained model whose best unit changes from frame to frame."""
    torch.manual_seed(0)
    config = AVSRConfig.preset("tiny", "video", vocabulary=UNITS.size, blocks=1)
    recogniser = AVSR(AVSRModel(config), UNITS, device="cpu")
    with torch.no_grad():
        memory_TD = recogniser.encode(recording(40))
        head = recogniser.model.ctc.ctc_lo
        head.weight.mul_(20)
        head.bias.copy_(-head.weight @ memory_TD.mean(0))
    return recogniser


def recording(frames: int, seed: int = 0) -> Recording:
    return Recording(np.random.default_rng(seed).integers(0, 255, (frames, 96, 96), np.uint8), None, "noise")


@torch.inference_mode()
def test_cached_steps_are_the_teacher_forced_decoder() -> None:
    recogniser = make()
    decoder = recogniser.model.decoder
    memory, tokens = torch.randn(1, 9, 32), torch.randint(UNITS.size, (3, 6))
    wanted = decoder(tokens, memory.expand(3, -1, -1)).log_softmax(-1)
    cross, step = DecoderMemory(decoder)(memory), DecoderStep(decoder)
    past = torch.zeros(1, 2, 3, 2, 0, 16)
    for position in range(6):
        logp, past = step(tokens[:, position], past, cross)
        torch.testing.assert_close(logp, wanted[:, position], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    recogniser = make()
    recogniser.save(folder / "model")
    for name, flags in (("onnx", []), ("int8", ["--int8"])):
        outcome = run_command(app, ["export", "--model", folder / "model", folder / name, *flags])
        assert outcome.code == 0, outcome.err
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize("frames", [2, 12, 37, 90])
def test_onnx_encoder(exported: Path, frames: int) -> None:
    eager, onnx = (AVSR.from_pretrained(exported / name, device="cpu") for name in ("model", "onnx"))
    inputs = eager.network_inputs(recording(frames, seed=frames))
    with torch.inference_mode():
        for found, wanted in zip(onnx.model.encode_with_ctc(*inputs), eager.model.encode_with_ctc(*inputs)):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "search", [Search(greedy=True), Search(beam=5), Search(beam=3, ctc_weight=0.0, maxlenratio=-6)]
)
def test_onnx_search(exported: Path, search: Search) -> None:
    """Clips of different lengths, searched together, give the same hypotheses."""
    eager, onnx = (AVSR.from_pretrained(exported / name, device="cpu") for name in ("model", "onnx"))
    clips = [recording(30, 1), recording(17, 2)]
    for found, wanted in zip(onnx.recognise(clips, search=search), eager.recognise(clips, search=search)):
        assert found.tokens == wanted.tokens
        assert found.score == pytest.approx(wanted.score, abs=1e-2)


@pytest.mark.heavy
def test_int8_is_close_and_smaller(exported: Path) -> None:
    eager, int8 = (AVSR.from_pretrained(exported / name, device="cpu") for name in ("model", "int8"))
    inputs = eager.network_inputs(recording(40, 5))
    with torch.inference_mode():
        wanted, found = eager.model.encode_with_ctc(*inputs)[0], int8.model.encode_with_ctc(*inputs)[0]
    similar = torch.nn.functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)
    assert 0.98 < float(similar) < 0.9999999
    sizes = [(exported / name / "decoder_step.onnx").stat().st_size for name in ("onnx", "int8")]
    assert sizes[1] < sizes[0]


@pytest.mark.heavy
def test_torch_export(exported: Path, tmp_path: Path) -> None:
    outcome = run_command(app, ["export", "--model", exported / "model", tmp_path / "pt2", "--format", "torch"])
    assert outcome.code == 0, outcome.err
    eager = AVSR.from_pretrained(exported / "model", device="cpu")
    inputs = eager.network_inputs(recording(33, 3))[0]
    encoder = torch.export.load(tmp_path / "pt2" / "encoder_video.pt2").module()
    step = torch.export.load(tmp_path / "pt2" / "decoder_step.pt2").module()
    with torch.no_grad():
        memory, _ = encoder(inputs)
        wanted = eager.model.encode_with_ctc(inputs)
        torch.testing.assert_close(memory, wanted[0], rtol=1e-4, atol=1e-4)
        cross = torch.export.load(tmp_path / "pt2" / "decoder_memory.pt2").module()(memory)
        assert step(torch.zeros(2, dtype=torch.long), torch.zeros(1, 2, 2, 2, 4, 16), cross)[0].shape == (2, UNITS.size)
    check_user_error(app, ["transcribe", "x.mp4", "--model", tmp_path / "pt2"], "ONNX")


def test_int8_is_for_onnx(tmp_path: Path) -> None:
    model = make().save(tmp_path / "model")
    command = ["export", "--model", model, tmp_path / "out", "--format", "torch", "--int8"]
    check_user_error(app, command, "int8 is for ONNX")
    assert not (tmp_path / "out").exists()
