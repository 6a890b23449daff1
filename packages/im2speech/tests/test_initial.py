"""What training starts from: GIT from a file, a folder or the hub; a captioner; HuBERT for units."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GitForCausalLM, HubertConfig, HubertModel

from viseme.core.errors import CheckpointError
from viseme.core.testing.commands import check_user_error, run_command
from viseme.im2speech.cli import app
from viseme.im2speech.hub import weights_file
from viseme.im2speech.model import CaptionerConfig

TINY = {"image_size": 32, "patch_size": 8, "vision_dim": 32, "vision_layers": 1, "vision_heads": 2}
TINY |= {"vision_mlp_dim": 64, "dim": 32, "layers": 1, "heads": 2, "mlp_dim": 64, "max_tokens": 64}


@pytest.fixture
def git(tmp_path: Path) -> Path:
    """A GIT with a vocabulary of words, as transformers saves it."""
    torch.manual_seed(5)
    GitForCausalLM(CaptionerConfig(units=900, **TINY).git()).save_pretrained(tmp_path / "git")
    return tmp_path / "git"


def train(scenes: Path, out: Path, *more: object) -> list[object]:
    model = [f"model.{key}={value}" for key, value in TINY.items() if key != "max_tokens"]
    options = [f"data.root_dir={scenes}", f"exp_dir={out}", "data.val_file=null", "trainer.progress=false"]
    return ["train", "recipe=tiny", *options, *model, "model.max_tokens=256", "trainer.max_steps=3", *more]


@pytest.mark.parametrize("named", ["folder", "file", "hub"])
def test_git_gives_all_but_the_vocabulary(
    named: str, git: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"folder": git, "file": git / "model.safetensors", "hub": "someone/git-small"}
    if named == "hub":
        asked = []
        monkeypatch.setattr("transformers.utils.cached_file", lambda *words: asked.append(words) or git / words[1])
    more = [f"pretrained_git={names[named]}", "optim.freeze_image=true", "model.max_tokens=64"]
    run = train(scenes, tmp_path, *more, "data.train_split=train")
    outcome = run_command(app, run)
    assert outcome.code == 0, outcome.err
    assert named != "hub" or asked == [("someone/git-small", "model.safetensors")]
    before = load_file(git / "model.safetensors")
    after = load_file(tmp_path / "tiny" / "model" / "model.safetensors")
    image = [key for key in before if "image_encoder" in key and "position_ids" not in key]
    assert image and all(torch.equal(after[f"captioner.model.{key}"], before[key]) for key in image)
    assert after["captioner.model.output.weight"].shape[0] < before["git.embeddings.word_embeddings.weight"].shape[0]
    check_user_error(app, [*run, "ckpt_path=never", "model.dim=64"], "GIT's weights do not fit")


def test_going_on_from_a_captioner(model_dir: Path, scenes: Path, tmp_path: Path) -> None:
    options = [f"data.root_dir={scenes}", f"exp_dir={tmp_path}", "data.val_file=null", "trainer.progress=false"]
    run = ["train", "recipe=tiny", *options, "trainer.max_steps=3", "optim.lr=0", "optim.weight_decay=0"]
    outcome = run_command(app, [*run, f"pretrained_model_path={model_dir}"])
    assert outcome.code == 0, outcome.err
    wanted, found = (load_file(path / "model.safetensors") for path in (model_dir, tmp_path / "tiny" / "model"))
    for key, value in found.items():
        torch.testing.assert_close(value, wanted[key], rtol=0, atol=1e-7)
    check_user_error(app, [*run, f"pretrained_model_path={model_dir}", "exp_name=b", "model.mlp_dim=48"], "do not fit")


def test_units_of_a_hubert_folder(scenes: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 96, "num_hidden_layers": 3}
    HubertModel(HubertConfig(**sizes)).save_pretrained(tmp_path / "hubert")
    command = ["train", "recipe=units", f"data.root_dir={scenes}", "data.train_split=test", f"exp_dir={tmp_path}"]
    command += [f"units.hubert_path={tmp_path / 'hubert'}", "units.clusters=5", "units.share=1.0", "units.starts=1"]
    outcome = run_command(app, [*command, "units.layer=2"])
    assert outcome.code == 0, outcome.err
    assert load_file(tmp_path / "units" / "model" / "model.safetensors")["centres"].shape == (5, 64)
    check_user_error(app, [*command, "units.layer=6"], "fewer layers")


def test_weights_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> str:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr("transformers.utils.cached_file", unreachable)
    with pytest.raises(CheckpointError, match="cannot be reached"):
        weights_file("someone/something")
    assert weights_file("none/such.safetensors") == Path("none/such.safetensors")  # its reader says so
