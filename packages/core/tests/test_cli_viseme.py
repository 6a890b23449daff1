"""The `viseme` console script, end to end, and core's own frozen surface."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from viseme.core.cli.viseme import app
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.testing.imports import check_import
from viseme.core.testing.surface import UPDATE, check_surface


def test_surface_is_frozen() -> None:
    check_surface(app, Path(__file__).with_name("surface.yaml"))


def test_a_changed_surface_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UPDATE, raising=False)
    golden = tmp_path / "surface.yaml"
    with pytest.raises(AssertionError, match="missing"):
        check_surface(app, golden)
    monkeypatch.setenv(UPDATE, "1")
    check_surface(app, golden)
    monkeypatch.delenv(UPDATE)
    check_surface(app, golden)
    golden.write_text(golden.read_text().replace("--clips", "--clip"))
    with pytest.raises(AssertionError, match=r"(?s)verbs/corpus: --clip\n.*verbs/corpus: --clips"):
        check_surface(app, golden)


@pytest.mark.parametrize("module", ["viseme.core.cli.viseme", "viseme.core.training"])
def test_import_is_quick_and_offline(module: str) -> None:
    check_import(module)


def test_the_import_check_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greedy.py").write_text("import wave")
    (tmp_path / "caller.py").write_text("import socket; socket.create_connection(('127.0.0.1', 9))")
    (tmp_path / "slow.py").write_text("import time; time.sleep(0.3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(AssertionError, match="brings in wave"):
        check_import("greedy", forbidden=("wave",))
    with pytest.raises(AssertionError, match="no network"):
        check_import("caller")
    with pytest.raises(AssertionError, match=r"takes 0\.3 s"):
        check_import("slow", seconds=0.2, attempts=1)


def test_corpus_then_prepare(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="the embedded corpus speaks with espeak-ng (viseme-core[synthetic])")
    corpus, store = tmp_path / "a corpus", tmp_path / "störe"
    made = run_command(app, ["corpus", corpus, "--clips", 3, "--seed", 1, "--size", 128, "--workers", 1, "--json"])
    assert made.code == 0, made.err
    assert json.loads(made.out)["made"] == 3
    again = run_command(app, ["corpus", corpus, "--clips", 3, "--seed", 1, "--size", 128, "--workers", 1])
    assert "0 clips rendered now" in again.out
    assert "synthetic" in again.out
    broken = corpus / "trainval" / "broken.mp4"
    broken.parent.mkdir(exist_ok=True)
    broken.write_bytes(b"not a video")
    prepared = run_command(app, ["prepare", corpus, store, "--workers", 1, "--json"])
    assert prepared.code == 0, prepared.err
    facts = json.loads(prepared.out)
    assert (facts["clips"], facts["failed"]) == (3, 1)
    assert "broken" in Path(facts["failures"]).read_text()
    assert Path(facts["sheet"]).stat().st_size > 0
    spoken = run_command(app, ["prepare", corpus, store, "--workers", 1])
    assert "3 clips" in spoken.out
    assert "failures.csv" in spoken.out


def test_user_errors(tmp_path: Path) -> None:
    check_user_error(app, ["prepare", tmp_path / "nowhere", tmp_path / "store"], "nowhere", "no such")
    check_user_error(app, ["corpus", tmp_path / "c", "--clips", "0"], "at least one clip")
    check_user_error(app, ["corpus", tmp_path / "c", "--clips", "many"], "--clips")
    (tmp_path / "videos").mkdir()
    check_user_error(app, ["prepare", tmp_path / "videos", tmp_path / "store"])
