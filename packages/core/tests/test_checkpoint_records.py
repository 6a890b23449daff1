"""Records of published weights, and averaging."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from viseme.core.checkpoint import (
    WeightRecord,
    announce,
    available_models,
    average_states,
    find_record,
    identify,
    last_epochs,
    records,
    register,
)
from viseme.core.errors import CheckpointError


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> tuple[WeightRecord, WeightRecord]:
    monkeypatch.setattr(records, "_records", {})
    monkeypatch.setattr(records, "_announced", set())
    common = {"source": "https://example.org", "paper": "A paper", "file": "same.pth", "claims": {"WER %": 20.3}}
    free = WeightRecord("b_free", "toy", licence="MIT", commercial_ok=True, **common)
    bound = WeightRecord("a_bound", "toy", licence="non-commercial", commercial_ok=False, **common)
    register([free, bound])
    return free, bound


def test_filtering(registry: tuple[WeightRecord, WeightRecord]) -> None:
    free, bound = registry
    assert available_models() == [bound, free]
    assert available_models(commercial_ok=True) == [free]
    assert available_models("other") == []
    register([free])
    with pytest.raises(ValueError, match="two different records"):
        register([WeightRecord("b_free", "toy", "x", "x", False, "x")])
    assert find_record("a_bound") is bound
    with pytest.raises(CheckpointError, match="a_bound, b_free"):
        find_record("c")


def test_a_file_is_known_by_its_checksum_not_its_name(
    registry: tuple[WeightRecord, WeightRecord], tmp_path: Path
) -> None:
    path = tmp_path / "same.pth"
    path.write_bytes(b"weights")
    assert identify(path) is None
    md5 = WeightRecord("m", "toy", "x", "x", False, "x", md5=hashlib.md5(b"weights").hexdigest()[:5].upper())
    sha = WeightRecord("s", "toy2", "x", "x", False, "x", sha256=hashlib.sha256(b"weights").hexdigest())
    register([md5, sha])
    assert identify(path, "toy") is md5
    assert identify(path, "toy2") is sha
    path.write_bytes(b"other weights")
    assert identify(path) is None


def test_the_licence_is_printed_once(
    registry: tuple[WeightRecord, WeightRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    free, bound = registry
    announce(bound)
    announce(bound)
    announce(free)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "non-commercial" in lines[0]
    assert "commercial use is not plainly allowed" in lines[0]
    assert "commercial use" not in lines[1]
    assert "WER % 20.3" in bound.card()


def test_average_of_checkpoints(tmp_path: Path) -> None:
    for epoch in (2, 9, 10):
        weights = {"model.w": torch.full((2,), float(epoch)), "model.n": torch.tensor(epoch), "other": torch.ones(1)}
        torch.save({"state_dict": weights, "epoch": epoch}, tmp_path / f"epoch={epoch}.ckpt")
    (tmp_path / "last.ckpt").write_bytes(b"not counted")
    assert [path.name for path in last_epochs(tmp_path, 2)] == ["epoch=9.ckpt", "epoch=10.ckpt"]
    assert len(last_epochs(tmp_path, 10)) == 3
    mean = average_states(last_epochs(tmp_path, 10))
    assert mean.keys() == {"w", "n"}
    assert torch.equal(mean["w"], torch.full((2,), 7.0))
    assert mean["n"] == 7
    assert average_states(last_epochs(tmp_path, 2))["n"] == 9  # floor of 9.5, as published
    with pytest.raises(CheckpointError, match="no checkpoints"):
        last_epochs(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="count >= 1"):
        last_epochs(tmp_path, 0)


def test_average_keeps_dtypes_and_sources(tmp_path: Path) -> None:
    states = [
        {"h": torch.tensor([1.0, 300.0], dtype=torch.bfloat16), "d": torch.tensor(1e300, dtype=torch.float64)},
        {"h": torch.tensor([2.0, 301.0], dtype=torch.bfloat16), "d": torch.tensor(3e300, dtype=torch.float64)},
    ]
    copies = [{key: value.clone() for key, value in one.items()} for one in states]
    mean = average_states(states)
    assert mean["h"].dtype == torch.bfloat16
    assert mean["d"] == torch.tensor(2e300, dtype=torch.float64)
    assert torch.equal(mean["h"], ((states[0]["h"].float() + states[1]["h"].float()) / 2).bfloat16())
    assert all(torch.equal(one[key], copy[key]) for one, copy in zip(states, copies) for key in one)


def test_checkpoints_of_different_models() -> None:
    with pytest.raises(CheckpointError, match="do not belong together"):
        average_states([{"a": torch.ones(1)}, {"b": torch.ones(1)}])
    with pytest.raises(CheckpointError, match="do not belong together"):
        average_states([{"a": torch.ones(1)}, {"a": torch.ones(2)}])
    with pytest.raises(CheckpointError, match="nothing to average"):
        average_states([])
