"""Two runs into one folder: the second is told so at once and changes nothing; when the first is gone, however it went,
the folder is free. Parts of a job array share a store, and the same part twice does not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tools.soak import portrait

from viseme.core.cli.viseme import app as viseme
from viseme.core.data import Manifest
from viseme.core.errors import ConfigError
from viseme.core.files import only_run
from viseme.core.media import write_video
from viseme.core.testing.commands import run_command
from viseme.core.types import Video

TRAINING = """
import sys, time, torch
from lightning.pytorch import LightningModule
from viseme.core.training import TrainerConfig, build_trainer, fit

class Slow(LightningModule):
    pause_s = float(sys.argv[2])

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        if self.global_step == 4:
            time.sleep(self.pause_s)
        return self.line(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

torch.set_num_threads(1)
options = TrainerConfig(accelerator="cpu", max_epochs=2, checkpoint_every_steps=2, progress=False, alarm=False)
fit(build_trainer(options, sys.argv[1]), Slow(), torch.utils.data.DataLoader(torch.ones(20, 1), num_workers=1))
"""


@contextmanager
def running(command: list[object], until: Callable[[], object]) -> Iterator[subprocess.Popen]:
    """A process that has come as far as `until`; killed outright at the end."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not until():
            assert process.poll() is None and time.monotonic() < end, "it ended, or never began"
            time.sleep(0.005)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips that take a while."""
    folder = tmp_path_factory.mktemp("talks")
    frames = np.repeat(portrait(3, 224)[None], 150, 0)
    for number in range(4):
        write_video(folder / f"{number}.mp4", Video(frames, 25.0))
    return folder


def prepare_command(talks: Path, store: Path, *words: object) -> list[object]:
    return ["prepare", talks, store, "--workers", 1, *words]


@pytest.mark.heavy
def test_two_preparations_of_one_store(talks: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    words = prepare_command(talks, store)
    partial = store / ".prepare" / "partial"
    with running([sys.executable, "-m", "viseme.core.cli.viseme", *words], lambda: any(partial.glob("*/*"))) as first:
        outcome = run_command(viseme, words)
        assert outcome.code == 2 and "another run is preparing into this folder" in outcome.err
        assert f"process {first.pid}" in outcome.err and "Traceback" not in outcome.err
        shard = run_command(viseme, [*words, "--shard", "1/2"])
        assert shard.code == 2 and "another run is preparing" in shard.err
        assert first.poll() is None, "the first goes on"
    assert run_command(viseme, words).code == 0, "killed, it holds nothing"
    assert len(Manifest.read(store / "manifest.csv")) == 4


@pytest.mark.heavy
def test_parts_of_a_job_array_share_a_store(talks: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    words = prepare_command(talks, store, "--shard", "1/2")
    partial = store / ".prepare" / "partial"
    with running([sys.executable, "-m", "viseme.core.cli.viseme", *words], lambda: any(partial.glob("*/*"))):
        again = run_command(viseme, words)
        assert again.code == 2 and "preparing part 1 of 2" in again.err
        assert run_command(viseme, prepare_command(talks, store)).code == 2, "nobody takes the whole store now"
        assert run_command(viseme, prepare_command(talks, store, "--shard", "2/2")).code == 0
    assert run_command(viseme, words).code == 0
    assert [row.id for row in Manifest.read(store / "manifest.csv")] == ["0", "1", "2", "3"]


@pytest.mark.heavy
def test_two_trainings_in_one_folder(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(TRAINING)
    run = tmp_path / "run"
    command = [sys.executable, "-W", "ignore", program, run]
    with running([*command, 120], (run / "last.ckpt").is_file) as first:
        second = subprocess.run([*map(str, command), "0"], capture_output=True, text=True, check=False)
        assert second.returncode == 1 and "another run is training into this folder" in second.stderr
        assert f"process {first.pid}" in second.stderr
        assert first.poll() is None, "the first goes on"
    # at once, while a data worker of the killed one may still live
    third = subprocess.run([*map(str, command), "0"], capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stderr
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 40


def test_a_folder_is_held_by_processes_not_by_calls(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / "lock"
    hold = "import sys, time\nfrom viseme.core.files import only_run\n"
    hold += f"with only_run({str(lock)!r}, 'working', shared=len(sys.argv) > 1):\n    print('held', flush=True)\n"
    hold += "    time.sleep(60)"
    with only_run(lock, "working"), only_run(lock, "working"):
        pass
    for words, shared in (([], True), (["shared"], False)):
        process = subprocess.Popen([sys.executable, "-c", hold, *words], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            with pytest.raises(ConfigError, match="another run is working"), only_run(lock, "working", shared=shared):
                pass
            if words:
                with only_run(lock, "working", shared=True):
                    pass
        finally:
            process.kill()
            process.communicate()
    with only_run(lock, "working"):
        pass
