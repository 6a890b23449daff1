"""Published checkpoints: told apart by content, refused where they do not fit, and what a directory of them does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from viseme.core.errors import CheckpointError
from viseme.core.layers import ResNetTrunk
from viseme.core.testing.commands import check_user_error, run_command
from viseme.lip2speech.cli import app
from viseme.lip2speech.models import VCAGAN, ContentConfig, MultitaskConfig, MultitaskModel, VCAConfig, build_recogniser
from viseme.lip2speech.models.recognisers import GridRecogniser, LrwRecogniser
from viseme.lip2speech.pipeline import Lip2Speech
from viseme.lip2speech.published import (
    MULTITASK_PARTS,
    RECOGNISER_PARTS,
    VCA_PARTS,
    convert_multitask,
    convert_vca,
    layout_of,
    load_visual_front,
)
from viseme.lip2speech.scoring import load_scorer


def published(model: torch.nn.Module, parts: dict[str, str]) -> dict[str, dict]:
    """A model's weights as the originals save them."""
    state = model.state_dict()
    return {
        name: {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for name, prefix in parts.items()
    }


@pytest.fixture
def gan() -> VCAGAN:
    torch.manual_seed(0)
    return VCAGAN(VCAConfig.preset("tiny"))


@pytest.fixture
def multitask() -> MultitaskModel:
    torch.manual_seed(0)
    return MultitaskModel(MultitaskConfig.preset("tiny", vocabulary=7))


def test_vca_gan_comes_back(gan: VCAGAN, tmp_path: Path) -> None:
    torch.save(published(gan, VCA_PARTS), tmp_path / "a.ckpt")
    outcome = run_command(app, ["convert", tmp_path / "a.ckpt", tmp_path / "model", "--data_name", "LRS3"])
    assert outcome.code == 0, outcome.err
    speaker = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    assert (speaker.lips.crop, round(speaker.lips.share, 3)) == ("lips", 0.5)
    for key, value in gan.state_dict().items():
        assert torch.equal(value, speaker.model.state_dict()[key]), key
    grid = convert_vca(published(gan, VCA_PARTS), mel="vca_grid").config
    assert (grid.mel, grid.spectrogram) == ("vca_grid", "linear")


def test_inference_needs_three_parts(gan: VCAGAN, tmp_path: Path) -> None:
    parts = published(gan, VCA_PARTS)
    needed = {name: parts[name] for name in ("v_front_state_dict", "gen_state_dict", "post_state_dict")}
    torch.save(needed, tmp_path / "a.ckpt")
    assert run_command(app, ["convert", tmp_path / "a.ckpt", tmp_path / "m", "--data_name", "GRID"]).code == 0
    del needed["post_state_dict"]
    torch.save(needed, tmp_path / "b.ckpt")
    check_user_error(app, ["convert", tmp_path / "b.ckpt", tmp_path / "n", "--data_name", "LRS2"], "post_state_dict")


def test_multitask_comes_back_with_published_padding(multitask: MultitaskModel, tmp_path: Path) -> None:
    parts = published(multitask, MULTITASK_PARTS)
    table = "conformer.encoder.layers.0.MHA.module.positional_encoding.pe"
    parts["v_front_state_dict"][table] = torch.zeros(1, 10, 32)
    torch.save(parts, tmp_path / "a.ckpt")
    outcome = run_command(app, ["convert", tmp_path / "a.ckpt", tmp_path / "model", "--data_name", "LRS3"])
    assert outcome.code == 0, outcome.err
    speaker = Lip2Speech.from_pretrained(tmp_path / "model", device="cpu")
    assert speaker.model.config == MultitaskConfig.preset(
        "tiny", vocabulary=7, published_padding=True, dropout=0.3, conformer_dropout=0.1
    )
    assert round(speaker.lips.share, 3) == 0.625


def test_corpus_must_be_named(gan: VCAGAN, tmp_path: Path) -> None:
    torch.save(published(gan, VCA_PARTS), tmp_path / "a.ckpt")
    check_user_error(app, ["convert", tmp_path / "a.ckpt", tmp_path / "model"], "--data_name", "a.ckpt")


def test_recognisers_and_content(tmp_path: Path) -> None:
    small: dict[str, torch.nn.Module] = {"lrw": LrwRecogniser((4, 4), 8, 1, 5)}
    small["grid"] = GridRecogniser((4, 4), 8, 1)
    (tmp_path / "class.txt").write_text("ABOUT\nABOVE\nACCESS\nACROSS\nACT\n")
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    for name, model in small.items():
        torch.save(published(model, RECOGNISER_PARTS), tmp_path / f"{name}.ckpt")
        words = ["--words", tmp_path / "class.txt"] if name == "lrw" else []
        outcome = run_command(app, ["convert", tmp_path / f"{name}.ckpt", tmp_path / name, *words])
        assert outcome.code == 0 and name in outcome.out, outcome.err
        (text,) = load_scorer(f"{name}:{tmp_path / name}")([noise])
        assert text == text.lower() and (name == "grid" or text.upper() in (tmp_path / "class.txt").read_text())
    check_user_error(app, ["convert", tmp_path / "lrw.ckpt", tmp_path / "x"], "--words")
    with pytest.raises(CheckpointError, match="GRID"):
        load_scorer(f"grid:{tmp_path / 'lrw'}")
    content = build_recogniser(ContentConfig.preset("tiny", vocabulary=9))
    torch.save({"asr_model_state_dict": content.state_dict()}, tmp_path / "asr.ckpt")
    assert run_command(app, ["convert", tmp_path / "asr.ckpt", tmp_path / "asr"]).code == 0
    with pytest.raises(CheckpointError, match="recogniser"):
        Lip2Speech.from_pretrained(tmp_path / "asr")


def test_checkpoint_of_the_other_system(gan: VCAGAN, multitask: MultitaskModel) -> None:
    with pytest.raises(CheckpointError, match="multi-task"):
        convert_multitask(published(gan, VCA_PARTS))
    with pytest.raises(CheckpointError, match="VCA-GAN"):
        convert_vca(published(multitask, MULTITASK_PARTS))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        layout_of({"state_dict": {}})


def test_odd_keys_are_named(gan: VCAGAN) -> None:
    parts = published(gan, VCA_PARTS)
    parts["gen_state_dict"]["surprise"] = torch.zeros(1)
    del parts["post_state_dict"]["postnet.6.weight"]
    with pytest.raises(CheckpointError, match=r"postnet\.6\.weight.*surprise"):
        convert_vca(parts)


def test_visual_front_of_another_model_is_refused(multitask: MultitaskModel) -> None:
    state = dict(multitask.visual_front.state_dict())
    assert load_visual_front(multitask, state) == ["frontend", "resnet", "conformer"]
    first = {key: value for key, value in state.items() if not key.startswith("conformer.")}
    assert load_visual_front(multitask, first) == ["frontend", "resnet"]
    with pytest.raises(CheckpointError, match="no visual front"):
        load_visual_front(multitask, {})
    with pytest.raises(CheckpointError, match="another shape"):
        load_visual_front(multitask, {**first, "frontend.1.weight": torch.ones(3)})
    with pytest.raises(CheckpointError, match="unknown"):
        load_visual_front(multitask, {**first, "head.weight": torch.ones(3)})
    with pytest.raises(CheckpointError, match="missing"):
        load_visual_front(multitask, {key: value for key, value in first.items() if "layer2" not in key})


def test_not_weights_at_all(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.ckpt")
    check_user_error(app, ["convert", tmp_path / "list.ckpt", tmp_path / "model"], "list.ckpt")
    np.save(tmp_path / "array.npy", np.zeros(3))
    check_user_error(app, ["convert", tmp_path / "array.npy", tmp_path / "model"], "array.npy")


def test_records() -> None:
    outcome = run_command(app, ["models"])
    assert outcome.code == 0 and "vca_gan_lrs2" in outcome.out and "CC BY-NC" in outcome.out


@pytest.mark.parametrize("system", ["vca", "multitask"])
def test_a_lip_readers_front_starts_either_system(system: str, gan: VCAGAN, multitask: MultitaskModel) -> None:
    model: Any = {"vca": gan, "multitask": multitask}[system]
    reader = ResNetTrunk(2, model.config.widths, "relu")
    mine = model.visual_front.state_dict()
    state = {f"video.frontend.trunk.{key}": value for key, value in reader.state_dict().items()}
    state |= {
        f"video.frontend.frontend3D.{key.removeprefix('frontend.')}": torch.full_like(value, 0.5)
        for key, value in mine.items()
        if key.startswith(("frontend.0.", "frontend.1."))
    }
    assert load_visual_front(model, state | {"decoder.embed.weight": torch.zeros(1)}) == ["frontend", "resnet"]
    trunk = {"vca": "resnet.", "multitask": "resnet.resnet."}[system]
    loaded = model.visual_front.state_dict()
    torch.testing.assert_close(loaded[f"{trunk}layer2.0.conv1.weight"], reader.state_dict()["layer2.0.conv1.weight"])
    assert float(loaded["frontend.0.weight"].min()) == 0.5
    state["video.frontend.trunk.layer2.0.conv1.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match="visual front"):
        load_visual_front(model, state)
