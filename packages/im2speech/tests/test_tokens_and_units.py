"""Numberings of units, files of units, feature front-ends, clustering, extraction that survives being stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.data import Manifest
from viseme.core.errors import ConfigError, DataError, MediaError
from viseme.core.media import read_audio
from viseme.core.testing.commands import check_user_error, run_command
from viseme.im2speech.cli import app
from viseme.im2speech.data import read_units, write_units
from viseme.im2speech.extract import extract
from viseme.im2speech.schedule import warmup_factor
from viseme.im2speech.tokens import UnitTokens, deduplicate
from viseme.im2speech.units import CepstralFeatures, HubertFeatures, UnitExtractor, fit_clusters, nearest_centres


@pytest.mark.parametrize("units", [1, 100, 200, 500])
def test_plain_numbering_has_no_collision(units: int) -> None:
    tokens = UnitTokens(units)
    ids = [tokens.encode(unit) for unit in range(units)]
    assert len({*ids, tokens.pad, tokens.bos, tokens.eos}) == units + 3 == tokens.vocabulary
    assert [tokens.decode(token) for token in ids] == list(range(units))
    every = tokens.target(range(units))
    assert tokens.parse(every) == list(range(units))


def test_published_numbering_collides_where_it_did() -> None:
    tokens = UnitTokens(numbering="published")
    ids = [tokens.encode(unit) for unit in range(200)]
    assert ids[100] == tokens.bos and 103 not in ids and tokens.eos not in ids and max(ids) == tokens.vocabulary - 1
    assert tokens.parse(tokens.target(range(200))) == list(range(200))
    assert tokens.parse([tokens.bos, tokens.bos, 104, tokens.eos, 0, 0]) == [100, 101]


def test_empty_rows_and_wrong_units() -> None:
    tokens = UnitTokens(20)
    assert tokens.parse([]) == tokens.parse([tokens.bos]) == tokens.parse([tokens.bos, tokens.eos]) == []
    assert deduplicate([]) == [] and deduplicate([1, 1, 2, 1]) == [1, 2, 1]
    for unit in (-1, 20):
        with pytest.raises(DataError, match="no such unit"):
            tokens.encode(unit)
    with pytest.raises(ConfigError, match="numbering"):
        UnitTokens(20, "other")  # type: ignore[arg-type]


def test_schedule() -> None:
    assert warmup_factor(0, warmup=10, total=100) == 0.1
    assert warmup_factor(9, warmup=10, total=100) == 1.0
    assert warmup_factor(99, warmup=10, total=100) == warmup_factor(500, warmup=10, total=100) == 0.0
    assert warmup_factor(0, warmup=0, total=None) == 1.0
    with pytest.raises(ConfigError):
        warmup_factor(0, warmup=100, total=100)
    with pytest.raises(ConfigError):
        warmup_factor(0, warmup=1, total=10, variant="other")


def test_files_of_units(tmp_path: Path) -> None:
    book = {"a/b": [1, 2, 3], "with|bar": [7], "empty": []}
    write_units(tmp_path / "u.txt", book)
    found = read_units(tmp_path / "u.txt")
    assert {name: units.tolist() for name, units in found.items()} == book
    for text, said in (("a 1 2\n", "line 1"), ("a|1\na|2\n", "twice"), ("a|x\n", "line 1")):
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(DataError, match=said):
            read_units(tmp_path / "bad.txt")


def test_cepstra_hear_words_not_loudness() -> None:
    draw = torch.Generator().manual_seed(0)
    sound = torch.randn(16000, generator=draw) * torch.linspace(0.01, 0.2, 16000)
    features = CepstralFeatures()
    whole = features(sound)
    assert whole.shape == (50, 26)
    torch.testing.assert_close(features(sound * 3), whole, atol=0.05, rtol=0.05)
    assert features(torch.zeros(640)).isfinite().all()


def test_clusters_are_found() -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(5, 8)) * 10
    frames = [(centres[draw.integers(5, size=200)] + draw.normal(size=(200, 8))).astype(np.float32) for _ in range(3)]
    found = fit_clusters(frames, 5, share=1.0, starts=3)
    distance = np.linalg.norm(found[:, None] - centres[None], axis=-1).min(0)
    assert distance.max() < 1
    np.testing.assert_array_equal(found, fit_clusters(frames, 5, share=1.0, starts=3))
    with pytest.raises(DataError, match="too few frames"):
        fit_clusters(frames[:1], 500, share=1.0)


def test_nearest_is_nearest() -> None:
    x, centres = torch.randn(50, 6), torch.randn(9, 6)
    torch.testing.assert_close(nearest_centres(x, centres), torch.cdist(x, centres).argmin(1))


def test_hubert_model_directory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    features = HubertFeatures.empty(2, hidden_size=32, num_attention_heads=2, intermediate_size=64)
    extractor = UnitExtractor(features, torch.randn(7, 32))
    sound = np.random.default_rng(0).normal(size=9000).astype(np.float32) * 0.1
    units = extractor(sound)
    assert len(units) == 27 and units.max() < 7
    again = UnitExtractor.load(extractor.save(tmp_path / "units"), device="cpu")
    np.testing.assert_array_equal(again(sound), units)
    with pytest.raises(MediaError, match="too short"):
        extractor(sound[:399])
    with pytest.raises(ConfigError, match="layer"):
        HubertFeatures(again.features.model, 3)  # type: ignore[attr-defined]


def test_extraction_resumes_and_names_failures(scenes: Path, tmp_path: Path) -> None:
    extractor = UnitExtractor.load(scenes.parent / "exp" / "demo_units" / "model", device="cpu")
    rows = Manifest.read(scenes / "manifest.csv")[:6]
    out = tmp_path / "units.txt"
    whole = extract(extractor, rows, out)
    assert (whole.made, whole.kept, whole.failures) == (6, 0, {})
    expected = out.read_text()
    lines = expected.splitlines(keepends=True)
    out.unlink()
    (tmp_path / "units.txt.part").write_text("".join(lines[:3]) + lines[3][:20])  # stopped in the fourth
    resumed = extract(extractor, rows, out)
    assert (resumed.made, resumed.kept) == (3, 3) and out.read_text() == expected
    assert extract(extractor, rows, out).made == 0

    broken = Manifest([*rows, type(rows[0])(id="gone", path="x.png", audio="gone.wav")], rows.root)
    report = extract(extractor, broken, tmp_path / "more.txt")
    assert report.made == 6 and list(report.failures) == ["gone"]
    assert "gone" in (tmp_path / "failures.csv").read_text()


def test_silence_has_units(scenes: Path) -> None:
    extractor = UnitExtractor.load(scenes.parent / "exp" / "demo_units" / "model", device="cpu")
    assert len(extractor(np.zeros(16000, np.float32))) == 50


def test_speak_units(voice_dir: Path, model_dir: Path, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "u.txt").write_text("a|1 1 2 3 -1\nb|5\n")
    for model in (voice_dir, model_dir):
        outcome = run_command(
            app, ["speak", tmp_path / "u.txt", "--model", model, "--out", tmp_path / "o", "--no-durations"]
        )
        assert outcome.code == 0, outcome.err
        assert len(read_audio(tmp_path / "o" / "a.wav").samples) == 4 * 320
    (tmp_path / "high.txt").write_text("a|1 99\n")
    check_user_error(app, ["speak", tmp_path / "high.txt", "--model", voice_dir, "--out", tmp_path], "no such unit")
