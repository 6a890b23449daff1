"""Published checkpoints: every layout is read, and nothing in them is ever run."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from viseme.core.checkpoint import read_arrays_pickle, read_object, read_published
from viseme.core.errors import CheckpointError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.steps": torch.tensor(3)}


class Bomb:
    """A pickle that makes a file when it is unpickled by anything careless."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".tar", ".bin"])
@pytest.mark.parametrize("legacy", [False, True])
def test_bare_state_dict_whatever_the_name(tmp_path: Path, suffix: str, legacy: bool) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save(STATE, path, _use_new_zipfile_serialization=not legacy)
    assert same(read_published(path), STATE)


def test_safetensors_under_any_name(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.pth")
    assert same(read_published(tmp_path / "model.pth"), STATE)


def test_unwrapping_is_explicit(tmp_path: Path) -> None:
    path = tmp_path / "epoch=3.ckpt"
    model = {f"model.{key}": value for key, value in STATE.items()}
    torch.save({"epoch": 3, "state_dict": {**model, "ema.x": torch.ones(1)}}, path)
    with pytest.raises(CheckpointError, match=r"not a state dict.*epoch \(int\), state_dict \(dict\)"):
        read_published(path)
    with pytest.raises(CheckpointError, match="no 'model_state_dict'"):
        read_published(path, unwrap="model_state_dict")
    with pytest.raises(CheckpointError, match="no weights under 'module'"):
        read_published(path, unwrap="state_dict", prefix="module")
    assert same(read_published(path, unwrap="state_dict", prefix="model."), STATE)
    assert read_object(path)["epoch"] == 3


def test_nested_unwrapping(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": STATE}}, tmp_path / "x.pth")
    assert same(read_published(tmp_path / "x.pth", unwrap=("model", "state_dict")), STATE)


def test_torchscript_only_when_asked(tmp_path: Path) -> None:
    module = torch.nn.BatchNorm1d(3).eval()
    path = tmp_path / "detector.pth"
    torch.jit.save(torch.jit.script(module), path)
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_published(path)
    assert same(read_published(path, torchscript=True), dict(module.state_dict()))
    torch.save(STATE, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="not a TorchScript"):
        read_published(tmp_path / "plain.pth", torchscript=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_is_refused_without_running_it(tmp_path: Path, legacy: bool) -> None:
    path, trap = tmp_path / "model.pth", tmp_path / "pwned"
    torch.save({**STATE, "x": Bomb(trap)}, path, _use_new_zipfile_serialization=not legacy)
    for options in ({}, {"inert": ["posix.mkdir", "os.mkdir"]}, {"unwrap": "x"}):
        with pytest.raises(CheckpointError, match="refused"):
            read_published(path, **options)
        assert not trap.exists()
    torch.load(path, weights_only=False)  # the trap is real: careless loading springs it
    assert trap.exists()


def test_a_malicious_plain_pickle_is_refused_everywhere(tmp_path: Path) -> None:
    path, trap = tmp_path / "landmarks.pkl", tmp_path / "pwned"
    path.write_bytes(pickle.dumps([Bomb(trap)]))
    for read in (read_published, read_object, read_arrays_pickle):
        with pytest.raises(CheckpointError):
            read(path)
    assert not trap.exists()


def test_classes_become_inert_when_named(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"args": argparse.Namespace(lr=0.1), "model": STATE}, path)
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace"):
        read_published(path, unwrap="model")
    assert same(read_published(path, unwrap="model", inert=["argparse.Namespace"]), STATE)
    args = read_object(path, inert=["argparse.Namespace"])["args"]
    assert not isinstance(args, argparse.Namespace)
    assert args.lr == 0.1
    with pytest.raises(CheckpointError):  # the permission ends with the call
        read_published(path, unwrap="model")


def test_array_pickles(tmp_path: Path) -> None:
    landmarks = [np.arange(8.0).reshape(4, 2), None, np.float32(3)]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(landmarks, protocol=protocol))
        found = read_arrays_pickle(path)
        assert np.array_equal(found[0], landmarks[0])
        assert found[1] is None
        assert found[2] == 3
    path.write_bytes(pickle.dumps(argparse.Namespace(a=1)))
    with pytest.raises(CheckpointError, match=r"wants argparse\.Namespace"):
        read_arrays_pickle(path)
    assert read_arrays_pickle(path, allow=[("argparse", "Namespace")]).a == 1


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("404: Not Found")
    torch.save(STATE, tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with zipfile.ZipFile(tmp_path / "archive.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name in ("empty", "text", "cut", "archive", "missing"):
        with pytest.raises(CheckpointError, match=f"{name}.pth"):
            read_published(tmp_path / f"{name}.pth")
    with pytest.raises(CheckpointError, match="not a file"):
        read_published(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 10_000), junk=st.binary(max_size=12))
def test_damage_of_any_kind_is_a_checkpoint_error(tmp_path: Path, legacy: bool, position: int, junk: bytes) -> None:
    path = tmp_path / "model.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    position %= len(content)
    path.write_bytes(content[:position] + junk + content[position + max(1, len(junk)) :])
    try:
        read_published(path)  # damage in a tensor's own bytes cannot be seen
    except CheckpointError as error:
        assert "model.pth" in str(error)
