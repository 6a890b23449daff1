"""What evaluation adds up: rows, chance, texts, opinions, lips against sound, and the page to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.data import ManifestRow
from viseme.core.errors import CheckpointError, DataError
from viseme.core.layers.syncnet import SyncNetV2
from viseme.core.media import read_audio
from viseme.core.metrics.dnsmos import DNSMOS
from viseme.core.testing.commands import check_user_error
from viseme.lip2speech.cli import app
from viseme.lip2speech.report import Sample, write_report
from viseme.lip2speech.scores import CHANCE, CHUNK, GENERATED, REAL, Heard, Scorers, Tally
from viseme.lip2speech.scoring import load_sync_scorer

pytest.importorskip("pystoi")
pytest.importorskip("pesq")


class Parrot:
    """Understands by loudness which of two clips it hears."""

    name = "parrot"

    def __call__(self, recordings: Sequence[np.ndarray]) -> list[str]:
        return ["loud one" if np.abs(x).max() > 0.5 else "soft one" for x in recordings]


@pytest.fixture(scope="module")
def speech(clip: Path) -> np.ndarray:
    x = read_audio(clip, rate=16000).samples
    return x / np.abs(x).max()


def heard(name: str, sound: np.ndarray, text: str, gain: float) -> Heard:
    mel = np.zeros((80, len(sound) // 160), np.float32)
    return Heard(ManifestRow(name, f"{name}.mp4", text=text), sound, gain * sound, gain * sound, mel, mel)


def test_rows(speech: np.ndarray, tmp_path: Path) -> None:
    clips = [heard("a", speech, "loud one", 0.9), heard("b", speech[::-1].copy(), "soft one", 0.1)]
    with Scorers("nb_8k_soxr_hq", "lower", Parrot()) as scorers:
        tally = Tally(scorers)
        assert [clip.row.id for clip in tally.add(clips)] == ["a", "b"]
    rows = {row.speech: row for row in tally.rows()}
    assert rows[GENERATED].wer == 0 and rows[GENERATED].stoi > 0.99
    assert rows[CHANCE].wer == 0.5 and rows[CHANCE].stoi < 0.6 and rows[CHANCE].clips == 2
    write_report(tmp_path / "report.html", tally.rows(), [Sample(clips[0], {GENERATED: "<loud>"})], ["SYNTHETIC"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:audio/flac;base64,") == 3 and page.count("data:image/png;base64,") == 2
    assert "SYNTHETIC" in page and "&lt;loud&gt;" in page and "DNSMOS" not in page


def test_chance_needs_another_clip(speech: np.ndarray) -> None:
    tally = Tally(Scorers("nb_8k_soxr_hq", "lower"))
    list(tally.add([heard("a", speech, "", 0.9)]))
    assert [row.speech for row in tally.rows()] == [GENERATED, REAL]


@pytest.mark.parametrize("count", [CHUNK, 2 * CHUNK + 1])
def test_every_clip_is_scored_once(count: int, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viseme.lip2speech.scores._score_one", lambda job: "too short")
    tally = Tally(Scorers("nb_8k_soxr_hq", "lower", Parrot()))
    list(tally.add(heard(str(number), speech, "loud one", 0.9) for number in range(count)))
    assert len(tally.clips) == 3 * count and len(tally.failures) == count
    with pytest.raises(DataError, match="no clip could be scored"):
        tally.rows()


@pytest.mark.heavy
def test_processes_give_the_same(speech: np.ndarray) -> None:
    def rows(workers: int) -> list[float]:
        with Scorers("nb_8k_soxr_hq", "lower", workers=workers) as scorers:
            tally = Tally(scorers)
            list(tally.add([heard("a", speech, "", 0.9), heard("b", 0.5 * speech[::-1], "", 0.5)]))
        return [value for row in tally.rows() for value in (row.stoi, row.estoi, row.pesq or 0.0)]

    assert rows(1) == pytest.approx(rows(2), abs=1e-9)  # extended STOI adds noise of the smallest size


def opinion_net(path: Path, samples: int) -> Path:
    """A network with the inputs and outputs of DNSMOS: mean of the sound, of its squares, and one."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    kind = onnx.TensorProto.FLOAT
    nodes = [
        make.make_node("ReduceMean", ["input_1"], ["mean"], axes=[1], keepdims=1),
        make.make_node("Mul", ["input_1", "input_1"], ["squares"]),
        make.make_node("ReduceMean", ["squares"], ["power"], axes=[1], keepdims=1),
        make.make_node("Constant", [], ["one"], value=make.make_tensor("v", kind, [1, 1], [1.0])),
        make.make_node("Concat", ["mean", "power", "one"], ["opinions"], axis=1),
    ]
    inputs = [make.make_tensor_value_info("input_1", kind, [1, samples])]
    outputs = [make.make_tensor_value_info("opinions", kind, [1, 3])]
    graph = make.make_graph(nodes, "opinions", inputs, outputs)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_dnsmos(tmp_path: Path) -> None:
    """Windows, repetition and the published curves; the network itself is the user's download."""
    score = DNSMOS(opinion_net(tmp_path / "net.onnx", 144160))
    found = score(np.full(16000, 0.5, np.float32))
    assert found.signal == pytest.approx(np.polyval((-0.08397278, 1.22083953, 0.0052439), 0.5), abs=1e-5)
    assert found.background == pytest.approx(np.polyval((-0.13166888, 1.60915514, -0.39604546), 0.25), abs=1e-5)
    assert found.overall == pytest.approx(-0.06766283 + 1.11546468 + 0.04602535, abs=1e-5)
    rising = np.arange(12 * 16000, dtype=np.float32) / 192000  # three windows, a second apart
    starts = [rising[s : s + 144160].mean() for s in (0, 16000, 32000)]
    curve = [np.polyval((-0.08397278, 1.22083953, 0.0052439), value) for value in starts]
    assert score(rising).signal == pytest.approx(np.mean(curve), abs=1e-4)
    with pytest.raises(DataError, match="no sound"):
        score(np.zeros(0, np.float32))
    with pytest.raises(CheckpointError, match="DNS-Challenge"):
        DNSMOS(tmp_path / "none.onnx")
    with pytest.raises(CheckpointError, match="not this network"):
        DNSMOS(opinion_net(tmp_path / "other.onnx", 16000))
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be read"):
        DNSMOS(tmp_path / "junk.onnx")


def test_sync_model(store: Path, vca_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SyncNetV2().state_dict(), tmp_path / "syncnet_v2.model")
    scorer = load_sync_scorer(tmp_path / "syncnet_v2.model")
    frames = np.random.default_rng(0).integers(0, 255, (7, 64, 64, 3), dtype=np.uint8)
    score = scorer(frames, np.zeros(7 * 640, np.float32))
    assert np.isfinite([score.lse_d, score.lse_c]).all()
    with pytest.raises(CheckpointError, match="SyncNet"):
        load_sync_scorer(vca_dir)
    command = ["evaluate", "recipe=vca_demo", f"data.data={store}", f"evaluate.model={vca_dir}"]
    check_user_error(app, [*command, f"evaluate.sync_model={tmp_path / 'syncnet_v2.model'}"], "whole faces")
    check_user_error(app, [*command, f"evaluate.dnsmos={tmp_path / 'none.onnx'}"], "DNSMOS")
