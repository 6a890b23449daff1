"""Model directories: what is saved comes back, and nothing missing, altered or hostile goes unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from viseme.core.checkpoint import load_model_dir, save_model_dir
from viseme.core.errors import CheckpointError

CONFIG = {"model": {"dim": 8, "dropout": 0.1, "name": "Grüße"}, "tags": ["a", 1, None, True]}


def state() -> dict[str, torch.Tensor]:
    shared = torch.arange(6.0).reshape(2, 3)
    return {
        "weight": shared,
        "tied": shared,  # safetensors itself refuses shared memory
        "transposed": shared.t(),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "counter": torch.tensor(7),
        "empty": torch.zeros(0, 4),
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    source = tmp_path / "unit list.txt"
    source.write_bytes(b"<unk> 1\n")
    return save_model_dir(
        tmp_path / "a model, ünïcode",
        CONFIG,
        state(),
        files={"units.txt": source, "sub/notes.txt": "hello", "blob.bin": b"\0\1"},
        writers=[lambda folder: (folder / "tokenizer.json").write_text("{}")],
        card="# Card\n",
    )


def test_round_trip(saved: Path) -> None:
    model = load_model_dir(saved)
    assert model.config == CONFIG
    assert model.state.keys() == state().keys()
    for name, tensor in state().items():
        assert model.state[name].dtype == tensor.dtype
        assert torch.equal(model.state[name], tensor)
    assert model.file("units.txt").read_bytes() == b"<unk> 1\n"
    assert model.file("sub/notes.txt").read_text() == "hello"
    assert model.file("tokenizer.json").read_text() == "{}"
    assert model.card == "# Card\n"
    with pytest.raises(CheckpointError, match=r"has no other\.txt"):
        model.file("other.txt")


def test_nothing_else_is_left_behind(saved: Path) -> None:
    assert sorted(path.name for path in saved.parent.iterdir()) == ["a model, ünïcode", "unit list.txt"]


def test_unknown_files_and_an_edited_card_are_fine(saved: Path) -> None:
    (saved / "plot.png").write_bytes(b"x")
    (saved / "card.md").write_text("better words")
    assert load_model_dir(saved).card == "better words"


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "units.txt", "sub/notes.txt", "tokenizer.json"])
def test_missing_and_altered_files_are_named(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(CheckpointError, match="altered") as caught:
        load_model_dir(saved)
    assert name in str(caught.value)
    (saved / name).write_bytes(content + b" ")
    with pytest.raises(CheckpointError, match="altered"):
        load_model_dir(saved)
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match="missing") as caught:
        load_model_dir(saved)
    assert name in str(caught.value)


def test_not_a_model_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(CheckpointError, match="model directory"):
            load_model_dir(path)


def test_newer_format(saved: Path) -> None:
    listing = json.loads((saved / "checksums.json").read_text())
    (saved / "checksums.json").write_text(json.dumps({**listing, "format": 99}))
    with pytest.raises(CheckpointError, match=r"expected 1, got 99\. Update viseme"):
        load_model_dir(saved)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "a/../../outside.txt", "", "a\\b", "nul\0"])
def test_no_file_leads_out_of_the_directory(saved: Path, name: str) -> None:
    (saved.parent / "outside.txt").write_text("x")
    listing = json.loads((saved / "checksums.json").read_text())
    listing["files"][name] = {"bytes": 1, "sha256": "0"}
    (saved / "checksums.json").write_text(json.dumps(listing))
    with pytest.raises(CheckpointError, match="leads out"):
        load_model_dir(saved)
    with pytest.raises(CheckpointError, match="leads out"):
        save_model_dir(saved.parent / "new", {}, {"x": torch.ones(1)}, files={name: "x"})
    assert not (saved.parent / "new").exists()


def test_a_config_that_would_run_code_is_only_text(saved: Path) -> None:
    """PyYAML's full loader would make an object of this tag; ours must not, even where the checksum agrees."""
    import hashlib

    text = b"x: !!python/object/apply:os.system ['touch pwned']\n"
    (saved / "config.yaml").write_bytes(text)
    listing = json.loads((saved / "checksums.json").read_text())
    listing["files"]["config.yaml"] = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    (saved / "checksums.json").write_text(json.dumps(listing))
    with pytest.raises(CheckpointError, match="YAML"):
        load_model_dir(saved)
    assert not Path("pwned").exists()


def test_saving_replaces_a_model_but_nothing_else(saved: Path, tmp_path: Path) -> None:
    save_model_dir(saved, {"new": 1}, {"x": torch.ones(1)})
    assert load_model_dir(saved).config == {"new": 1}
    assert not (saved / "units.txt").exists()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="left as it is"):
        save_model_dir(other, {}, {"x": torch.ones(1)})
    assert (other / "chapter1.tex").read_text() == "years of work"


def test_a_failed_save_leaves_the_old_model(saved: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        save_model_dir(saved, {}, {"x": torch.ones(1)}, writers=[fail])
    with pytest.raises(CheckpointError, match="plain values"):
        save_model_dir(saved, {"x": object()}, {"x": torch.ones(1)})
    assert load_model_dir(saved).config == CONFIG
    assert len(list(saved.parent.iterdir())) == 2


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(["checksums.json", "config.yaml", "model.safetensors"]),
    position=st.integers(0, 10_000),
    junk=st.binary(max_size=40),
)
def test_damage_of_any_kind_is_a_checkpoint_error(saved: Path, name: str, position: int, junk: bytes) -> None:
    original = (saved / name).read_bytes()
    position %= len(original)
    damaged = original[:position] + junk + original[position + 1 :]
    try:
        (saved / name).write_bytes(damaged)
        if damaged != original:
            try:
                load_model_dir(saved)
            except CheckpointError:
                pass
            else:  # the list of files has bytes that mean nothing: spaces between its words
                assert json.loads(damaged) == json.loads(original)
    finally:
        (saved / name).write_bytes(original)
