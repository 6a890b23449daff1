"""Packed stores: the same items as from single files, and damage that is found, named and mended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from viseme.core.cli.viseme import main
from viseme.core.data import ClipDataset, Manifest, ManifestRow, pack, verify
from viseme.core.data.shards import Shard
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.testing import clips


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Nine clips in the layout that `prepare` leaves; one without sound, one name of many scripts."""
    root = tmp_path_factory.mktemp("store")
    rows = []
    for number in range(9):
        name = "spk/é猫 #1" if number == 4 else f"spk/{number:02d}"
        frames = 12 + 3 * number
        path = root / "mouth" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        clips.write_clip(path, frames=frames, size=(96, 96), rate=None)
        sound, samples = "", 0
        if number != 7:
            sound, samples = f"audio/{name}.flac", frames * 640
            (root / sound).parent.mkdir(parents=True, exist_ok=True)
            clips.write_sound(root / sound, duration_s=frames / 25, rate=16000)
        rows.append(ManifestRow(name, f"mouth/{name}.mp4", sound, frames, 25.0, samples, 16000, text=f"WORDS {number}"))
    Manifest(rows, root).write(root / "manifest.csv")
    return root


def raw(clip, row, generator):
    return clip, torch.rand(1, generator=generator)


def items(manifest: Manifest, **options) -> list:
    return [ClipDataset(manifest, raw, **options)[i] for i in range(len(manifest))]


def same(a, b) -> bool:
    (clip_a, draw_a), (clip_b, draw_b) = a.value, b.value
    assert (clip_a.video is None) == (clip_b.video is None) and (clip_a.audio is None) == (clip_b.audio is None)
    frames = clip_a.video is None or np.array_equal(clip_a.video.frames, clip_b.video.frames)
    sound = clip_a.audio is None or np.array_equal(clip_a.audio.samples, clip_b.audio.samples)
    return frames and sound and torch.equal(draw_a, draw_b) and clip_a.name == clip_b.name


@pytest.mark.parametrize("gray", [True, False])
def test_items_are_identical_from_both_kinds_of_store(store: Path, tmp_path: Path, gray: bool):
    report = pack(store, tmp_path / "packed", gray=gray, shard_mb=1)
    assert report.shards > 1 and not report.failures
    files, packed = Manifest.read(store / "manifest.csv"), Manifest.read(tmp_path / "packed" / "manifest.csv")
    assert [r.id for r in packed] == [r.id for r in files] and [r.text for r in packed] == [r.text for r in files]
    assert [(r.frames, r.samples) for r in packed] == [(r.frames, r.samples) for r in files]
    for streams in ({"audio": False}, {"video": False}, {}):
        keep = {r.id for r in files if r.samples or streams.get("audio") is False}
        pairs = [m.filter(lambda r: r.id in keep) for m in (files, packed)]  # noqa: B023
        both = [items(m, gray=gray, **streams) for m in pairs]
        assert len(both[0]) >= 8 and all(same(a, b) for a, b in zip(*both, strict=True))


def test_shards_are_plain_safetensors_with_text_inside(store: Path, tmp_path: Path):
    pack(store, tmp_path)
    with safe_open(tmp_path / "shards" / "00000.safetensors", framework="np") as shard:
        assert shard.get_tensor("spk/00/frames").shape == (12, 96, 96)
        assert shard.get_tensor("spk/00/samples").dtype == np.int16
        assert json.loads(shard.metadata()["spk/é猫 #1"])["text"] == "WORDS 4"


def test_items_may_be_written_to_and_the_store_stays(store: Path, tmp_path: Path):
    manifest = pack(store, tmp_path).manifest
    frames = ClipDataset(manifest, raw, audio=False).load(0).video.frames
    torch.from_numpy(frames).zero_()
    assert verify(tmp_path).sound


def test_what_was_not_packed_is_said(store: Path, tmp_path: Path):
    manifest = pack(store, tmp_path).manifest
    silent = next(i for i, row in enumerate(manifest) if not row.samples)
    for options, match in ({"video": False}, "without sound"), ({"audio": False, "gray": False}, "in grey"):
        with pytest.raises(DataError, match=match):
            ClipDataset(manifest, raw, **options)[silent]
    with pytest.raises(DataError, match="16000 Hz"):
        ClipDataset(manifest, raw, rate=8000)[0]


def test_packing_goes_on_where_it_stopped(store: Path, tmp_path: Path):
    whole = pack(store, tmp_path / "a", shard_mb=1)

    def stop(done: int, total: int) -> None:
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(store, tmp_path / "b", shard_mb=1, progress=stop)
    assert not (tmp_path / "b" / "manifest.csv").exists()
    again = pack(store, tmp_path / "b", shard_mb=1)
    assert 0 < again.reused < again.shards and again.manifest == whole.manifest
    assert (tmp_path / "a/index.csv").read_bytes() == (tmp_path / "b/index.csv").read_bytes()
    with pytest.raises(ConfigError, match="otherwise"):
        pack(store, tmp_path / "b", gray=False)


def test_a_clip_that_cannot_be_read_is_left_out_and_named(store: Path, tmp_path: Path):
    manifest = Manifest.read(store / "manifest.csv")
    broken = Manifest([*manifest.rows, ManifestRow("gone", "mouth/gone.mp4", frames=10, samples=0)], store)
    report = pack(broken, tmp_path)
    assert list(report.failures) == ["gone"] and len(report.manifest) == 9
    assert "gone" in (tmp_path / "failures.csv").read_text()
    with pytest.raises(DataError, match="no clip could be packed"):
        pack(Manifest(broken.rows[-1:], store), tmp_path / "none")


def offset(shard: Path, name: str) -> int:
    """Where an array's bytes begin in the file."""
    content = shard.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return 8 + size + json.loads(content[8 : 8 + size])[name]["data_offsets"][0]


@pytest.mark.parametrize("damage", ["bit", "cut", "header", "gone"])
def test_damage_is_named_and_repaired(store: Path, tmp_path: Path, damage: str, capsys):
    pack(store, tmp_path, shard_mb=1)
    before = items(Manifest.read(store / "manifest.csv"), audio=False)
    place = tmp_path / "shards" / "00001.safetensors"
    shard = Shard(place)
    if damage == "bit":
        with place.open("r+b") as file:
            file.seek(offset(place, f"{shard.clips[0]}/frames") + 7)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 1]))
    elif damage == "cut":
        place.write_bytes(place.read_bytes()[:-1000])
    elif damage == "header":
        place.write_bytes(b"\xff" * 100 + place.read_bytes()[100:])
    else:
        place.unlink()
    report = verify(tmp_path)
    expected = set(shard.clips[:1]) if damage == "bit" else None
    assert not report.sound and report.clips == 9
    assert set(report.damaged) == expected if expected else set(report.damaged) <= set(shard.clips)
    assert main(["store", "verify", str(tmp_path)]) == 2
    assert next(iter(report.damaged)) in capsys.readouterr().out
    assert main(["store", "verify", str(tmp_path), "--repair"]) == 0
    assert verify(tmp_path).sound
    after = items(Manifest.read(tmp_path / "manifest.csv"), audio=False)
    assert all(same(a, b) for a, b in zip(before, after, strict=True))


def test_a_damaged_index_is_not_believed(store: Path, tmp_path: Path):
    pack(store, tmp_path)
    index = tmp_path / "index.csv"
    index.write_bytes(index.read_bytes().replace(b"spk/01", b"spk/1O"))
    with pytest.raises(DataError, match="index is damaged"):
        verify(tmp_path)
    with pytest.raises(DataError, match="not a packed store"):
        verify(store)


def test_a_full_disk_is_one_clear_error_and_nothing_half_written(store: Path, tmp_path: Path, monkeypatch):
    def full(arrays, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("viseme.core.data.packed.save_file", full)
        with pytest.raises(VisemeError, match="Make room and run again"):
            pack(store, tmp_path / "p")
        assert not list((tmp_path / "p").rglob("*.safetensors"))
    assert len(pack(store, tmp_path / "p").manifest) == 9


def test_command_line(store: Path, tmp_path: Path, capsys):
    assert main(["store", "pack", str(store), "--out", str(tmp_path / "p"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 9
    assert main(["store", "verify", str(tmp_path / "p")]) == 0
    assert main(["store", "pack", str(store)]) == 2
