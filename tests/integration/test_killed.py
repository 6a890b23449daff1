"""Killed by the system while it writes: what was there stays, nothing half is ever seen, and again works. Preparation
and training have tests of their own (`test_prepare_runs`, `test_prepare_scale`, `test_training_resume`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.checkpoint import load_model_dir
from viseme.core.media import probe, write_video
from viseme.core.types import Audio, Video
from viseme.wav2lip.models import GeneratorConfig, Wav2LipGenerator
from viseme.wav2lip.weights import load_network, save_network

TINY = GeneratorConfig((4, 6, 8, 16), (0, 0, 0, 0), (16, 12, 10, 8, 8), (0, 0, 0, 0, 0), (4, 4, 8, 8, 16), 4)


def kill_while(command: list[str], writes: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Run, and SIGKILL it as soon as `writes()`; False where it ended before."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quiet)
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if writes():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    assert process.poll() is not None, "neither wrote nor ended"
    return False


@pytest.mark.heavy
def test_sync_killed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = save_network(tmp_path / "model", "generator", Wav2LipGenerator(TINY))
    face, out = tmp_path / "face.mp4", tmp_path / "out" / "synced.mp4"
    out.parent.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (150, 96, 96, 3), dtype=np.uint8)
    sound = np.random.default_rng(0).normal(0, 0.1, 6 * 16000).astype(np.float32)
    write_video(face, Video(frames, 25.0), Audio(sound, 16000))
    run = [sys.executable, "-m", "viseme.wav2lip.cli"]
    published = ["infer", "--checkpoint_path", model, "--face", face, "--audio", face, "--box", 8, 88, 8, 88]
    sync = [str(word) for word in (*run, *published, "--outfile", out, "--device", "cpu")]
    assert subprocess.run(sync, capture_output=True, check=False).returncode == 0
    whole = out.read_bytes()

    def at_work() -> bool:
        return any(path != out for path in out.parent.rglob("*"))

    assert kill_while(sync, at_work), "it never wrote a temporary file"
    assert out.read_bytes() == whole, "the finished video must stay until the next one is whole"
    assert probe(out).frames >= 150


@pytest.mark.heavy
@pytest.mark.parametrize("after_ms", [0, 9])
def test_model_directory_killed_while_it_is_written(tmp_path: Path, after_ms: int) -> None:
    """What `train`, `convert` and `export` end with."""
    program = f"""
import torch
from viseme.core.checkpoint import save_model_dir
for turn in range(200):
    save_model_dir({str(tmp_path / "model")!r}, {{"turn": turn}}, {{"x": torch.full((300_000,), float(turn))}})
"""
    target = tmp_path / "model"

    def third_turn() -> bool:
        if not any(path.name.startswith(".model.") for path in tmp_path.iterdir()) or not target.exists():
            return False
        time.sleep(after_ms / 1000)
        return True

    assert kill_while([sys.executable, "-c", program], third_turn)
    found = load_model_dir(target)  # checks every file against its checksum
    assert float(found.state["x"][0]) == float(found.state["x"][-1]) == found.config["turn"]


@pytest.mark.heavy
def test_export_killed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = save_network(tmp_path / "model", "generator", Wav2LipGenerator(TINY))
    out = tmp_path / "out" / "generator.pt2"
    out.parent.mkdir()
    out.write_bytes(b"an earlier export")
    export = [sys.executable, "-m", "viseme.wav2lip.cli", "export", str(model), str(out)]
    assert kill_while(export, lambda: any(path != out for path in out.parent.iterdir())), "it never wrote"
    assert out.read_bytes() == b"an earlier export"
    assert subprocess.run(export, capture_output=True, check=False).returncode == 0
    network = load_network(model, "generator").model
    mel, faces = torch.randn(2, 1, 80, 16), torch.rand(2, 6, TINY.image_size, TINY.image_size)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.load(out).module()(mel, faces), network(mel, faces), atol=1e-4, rtol=0)
