"""Runs of `prepare`: several processes, killed and resumed, hopeless, on a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.media import write_video
from viseme.core.prepare import PrepareOptions, prepare
from viseme.core.prepare.journal import Journal
from viseme.core.prepare.pool import run_jobs
from viseme.core.prepare.worker import Job
from viseme.core.types import Video


def face_clip(path: Path, count: int = 10) -> Path:
    from importlib.resources import files

    data = (files("viseme.core") / "synthetic" / "identities" / "03.jpg").read_bytes()
    picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, Video(np.stack([np.roll(picture, t, 1) for t in range(count)]), 25.0))
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    first = face_clip(folder / "clip00.mp4")
    for number in range(1, 6):
        shutil.copy(first, folder / f"clip{number:02d}.mp4")
    return folder


def manifest(corpus: Path, count: int = 6) -> Manifest:
    return Manifest([ManifestRow(f"sub/clip{n:02d}", f"clip{n:02d}.mp4") for n in range(count)], corpus)


def contents(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*.mp4"))}


def journal_lines(store: Path) -> list[str]:
    files = (store / ".prepare" / "journal").glob("*.jsonl")
    return [line for file in files for line in file.read_text().splitlines()]


def test_processes_give_what_one_gives(corpus: Path, tmp_path: Path):
    one = prepare(manifest(corpus), tmp_path / "one", workers=1)
    two = prepare(manifest(corpus), tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") and len(contents(tmp_path / "two")) == 6
    assert one.manifest == two.manifest


def test_a_second_run_reuses_everything_and_takes_new_labels(corpus: Path, tmp_path: Path):
    store = tmp_path / "store"
    prepare(manifest(corpus, 2), store, workers=1)
    before = {p: p.stat().st_mtime_ns for p in store.rglob("*.mp4")}
    labelled = Manifest([ManifestRow(r.id, r.path, text="NEW WORDS") for r in manifest(corpus, 2)], corpus)
    report = prepare(labelled, store, workers=1)
    assert report.reused == 2 and {p: p.stat().st_mtime_ns for p in store.rglob("*.mp4")} == before
    assert [row.text for row in report.manifest] == ["NEW WORDS"] * 2


def test_changed_sources_lost_files_and_other_parts_are_prepared_again(corpus: Path, tmp_path: Path):
    source, store = tmp_path / "src", tmp_path / "store"
    shutil.copytree(corpus, source)
    prepare(manifest(source, 4), store, workers=1)
    face_clip(source / "clip00.mp4", count=14)
    (store / "mouth/sub/clip01.mp4").unlink()
    rows = manifest(source, 4).rows
    rows[2] = ManifestRow(rows[2].id, rows[2].path, end_s=0.2)
    report = prepare(Manifest(rows, source), store, workers=1)
    assert report.reused == 1
    assert [row.frames for row in report.manifest] == [14, 10, 5, 10]


def test_other_options_need_another_store(corpus: Path, tmp_path: Path):
    prepare(manifest(corpus, 1), tmp_path / "store", workers=1)
    with pytest.raises(ConfigError, match="other options"):
        prepare(manifest(corpus, 1), tmp_path / "store", workers=1, variant="retinaface")


def test_failures_are_remembered_unless_asked_to_retry(corpus: Path, tmp_path: Path):
    rows = [*manifest(corpus, 1).rows, ManifestRow("bad", "absent.mp4")]
    store = tmp_path / "store"
    for retry, lines in ((False, 2), (False, 2), (True, 3)):
        report = prepare(Manifest(rows, corpus), store, workers=1, retry_failed=retry)
        assert list(report.failures) == ["bad"]
        assert len(journal_lines(store)) == lines


def test_everything_failing_stops_early(tmp_path: Path):
    rows = [ManifestRow(f"c{n}", "absent.mp4") for n in range(50)]
    with pytest.raises(DataError, match=r"the first 20 clips failed.*no such file"):
        prepare(Manifest(rows, tmp_path), tmp_path / "store", workers=1)
    assert len((tmp_path / "store" / "failures.csv").read_text().splitlines()) == 21


def test_one_success_before_the_failures_goes_on(corpus: Path, tmp_path: Path):
    rows = [*manifest(corpus, 1).rows, *(ManifestRow(f"c{n}", "absent.mp4") for n in range(30))]
    assert len(prepare(Manifest(rows, corpus), tmp_path / "store", workers=1).failures) == 30


def test_progress_sees_every_record(corpus: Path, tmp_path: Path):
    seen = []

    def progress(records, what, total):
        seen.append((what, total))
        for record in records:
            seen.append(record.id)
            yield record

    prepare(manifest(corpus, 2), tmp_path / "store", workers=1, progress=progress)
    assert seen == [("preparing", 2), "sub/clip00", "sub/clip01"]


def test_a_full_disk_stops_with_one_clear_error_and_nothing_half_written(corpus: Path, tmp_path: Path, monkeypatch):
    store = tmp_path / "store"
    prepare(manifest(corpus, 1), store, workers=1)

    def full(self, frame):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("viseme.core.media.VideoWriter.write", full)
        with pytest.raises(VisemeError, match="the disk is full"):
            prepare(manifest(corpus, 3), store, workers=1)
    assert list(contents(store)) == ["mouth/sub/clip00.mp4"]
    assert len(journal_lines(store)) == 1
    assert prepare(manifest(corpus, 3), store, workers=1).reused == 1


@pytest.mark.parametrize("ballast_kib", [160, 228])
def test_a_really_full_disk(corpus: Path, tmp_path: Path, ballast_kib: int):
    """The same on a file system of 256 KiB, where the kernel itself says no; needs the right to mount."""
    store = tmp_path / "store"
    store.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("cannot mount here; the simulated full disk above covers this")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(store)], capture_output=True)
    if made.returncode:
        pytest.skip("cannot mount here; the simulated full disk above covers this")
    try:
        (store / "ballast").write_bytes(bytes(ballast_kib * 1024))
        with pytest.raises(VisemeError, match="the disk is full"):
            prepare(manifest(corpus, 6), store, workers=1)
        assert not list(store.rglob("*.part*"))
        (store / "ballast").unlink()
        assert len(prepare(manifest(corpus, 2), store, workers=1).manifest) == 2
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)  # -l: PyAV may keep a file open that failed at its end


class Fatal:
    """Kills the process that unpickles it, as a crash in a decoder would."""

    def __reduce__(self):
        return (os._exit, (1,))


def test_a_process_that_dies_takes_only_its_own_clip(corpus: Path, tmp_path: Path):
    rows, store = manifest(corpus).rows, tmp_path / "store"
    jobs = [Job(corpus / r.path, Fatal() if n == 2 else None, r, store, PrepareOptions()) for n, r in enumerate(rows)]
    records = {record.id: record for record in run_jobs(jobs, 2)}
    assert {i for i, record in records.items() if record.status == "failed"} == {rows[2].id}
    assert "process died" in records[rows[2].id].reason
    assert len(records) == 6
    assert Journal(store).read().keys() == records.keys()


SCRIPT = """
import sys
from viseme.core.data import Manifest, ManifestRow
from viseme.core.prepare import prepare
if __name__ == "__main__":
    rows = [ManifestRow(f"sub/clip{n:02d}", f"clip{n:02d}.mp4") for n in range(6)]
    prepare(Manifest(rows, sys.argv[1]), sys.argv[2], workers=2)
"""


def test_killed_at_any_moment_it_goes_on_where_it_was(corpus: Path, tmp_path: Path):
    store, script = tmp_path / "store", tmp_path / "run.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), str(corpus), str(store)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not journal_lines(store) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its workers notice and go
    done = len(journal_lines(store))
    assert 1 <= done <= 6
    report = prepare(manifest(corpus), store, workers=1)
    assert report.reused == done and len(report.manifest) == 6
    assert len(journal_lines(store)) == 6
    reference = prepare(manifest(corpus), tmp_path / "reference", workers=1)
    assert contents(store) == contents(reference.store)
    assert not [path for path in store.rglob("*") if "part" in path.name and path.is_file()]


def test_a_torn_line_of_the_journal_is_no_record(corpus: Path, tmp_path: Path):
    store = tmp_path / "store"
    prepare(manifest(corpus, 2), store, workers=1)
    (file,) = (store / ".prepare" / "journal").glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-40])
    assert prepare(manifest(corpus, 2), store, workers=1).reused == 1


def test_a_store_that_cannot_be_made(corpus: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        prepare(manifest(corpus, 1), tmp_path / "file" / "store", workers=1)
