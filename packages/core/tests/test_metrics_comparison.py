"""Evaluations on disk, and two of them compared."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from viseme.core.cli.viseme import app
from viseme.core.errors import DataError
from viseme.core.metrics import collect_provenance, compare, read_evaluation, write_evaluation
from viseme.core.testing.commands import check_user_error, run_command

WORDS = ["BIN", "BLUE", "AT", "F", "TWO", "NOW"]


def recognition(folder: Path, errors: Sequence[int], *, normaliser: str = "none", modality: str = "video") -> Path:
    """An evaluation of as many clips, with so many words wrong in each."""
    clips: list[dict[str, Any]] = []
    for index, wrong in enumerate(errors):
        reference = [*WORDS[index % 6 :], *WORDS[: index % 6]]
        heard = ["NO"] * wrong + reference[wrong:]
        texts = {"reference": " ".join(reference), "hypothesis": " ".join(heard)}
        clips.append({"id": f"c{index}", "modality": modality, **texts, "errors": wrong, "words": 6})
    rate = sum(errors) / (6 * len(errors))
    provenance = collect_provenance(synthetic=True, normaliser=normaliser, data_sha256="d")
    rows = [{"modality": modality, "wer": rate, "low": 0.9 * rate, "high": 1.1 * rate}]
    write_evaluation(folder, rows, clips, provenance)
    return folder


def test_the_files_say_the_same(tmp_path: Path) -> None:
    found = read_evaluation(recognition(tmp_path / "a", [0, 1, 2, 0]) / "results.json")
    assert found.synthetic and found.rows[0]["wer"] == pytest.approx(3 / 24)
    assert [clip["errors"] for clip in found.clips] == ["0", "1", "2", "0"]
    page = (tmp_path / "a" / "results.html").read_text(encoding="utf-8")
    assert "SYNTHETIC" in page and "0.125" in page and "NO NO" in page and "normaliser" in page
    assert not re.search(r"(src|href)=.?https?://|<script", page)


def test_chance_is_what_other_clips_hypotheses_get(tmp_path: Path) -> None:
    recognition(tmp_path, [0] * 12)
    (chance,) = json.loads((tmp_path / "results.json").read_text())["chance"]
    assert chance["modality"] == "video" and chance["low"] <= chance["wer"] <= chance["high"]
    assert chance["wer"] == 0  # twelve clips, of which every sixth says the same: half the list away is the same again
    recognition(tmp_path, [0] * 7)
    assert json.loads((tmp_path / "results.json").read_text())["chance"][0]["wer"] > 0.5


def test_a_clear_difference_and_none(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    hard = generator.integers(0, 4, 60)  # what both find hard; on top of it, b is a little better everywhere
    a, b = recognition(tmp_path / "a", hard + 1), recognition(tmp_path / "b", hard)
    (change,) = compare(read_evaluation(a), read_evaluation(b)).changes
    assert (change.figure, change.condition, change.clips) == ("wer", "modality video", 60)
    assert (change.difference, change.low, change.high) == pytest.approx((-1 / 6, -1 / 6, -1 / 6))
    assert change.clear and change.probability_better == 1
    (same,) = compare(read_evaluation(a), read_evaluation(a)).changes
    assert same.difference == 0 and not same.clear and same.probability_better == 0.5
    shuffled = recognition(tmp_path / "c", generator.permutation(hard))
    (noise,) = compare(read_evaluation(b), read_evaluation(shuffled)).changes
    assert noise.low < 0 < noise.high


def test_higher_is_better_for_intelligibility(tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 0.1)):
        clips = [{"id": str(k), "speech": "generated", "stoi": 0.5 + shift + k / 100, "pesq": ""} for k in range(20)]
        provenance = collect_provenance(synthetic=False, normaliser="none", data_sha256="d")
        write_evaluation(tmp_path / name, [{"speech": "generated", "stoi": 0.6 + shift}], clips, provenance)
    (change,) = compare(read_evaluation(tmp_path / "a"), read_evaluation(tmp_path / "b")).changes
    assert change.figure == "stoi" and change.difference == pytest.approx(0.1) and change.probability_better == 1


def test_what_does_not_mean_the_same_is_refused(tmp_path: Path) -> None:
    a = read_evaluation(recognition(tmp_path / "a", [0, 1, 2]))
    other = read_evaluation(recognition(tmp_path / "b", [0, 1, 2], normaliser="upper"))
    with pytest.raises(DataError, match="normaliser none and upper"):
        compare(a, other)
    assert compare(a, other, anyway=True).notes == ["normaliser none and upper"]
    with pytest.raises(DataError, match="other clips"):
        compare(a, read_evaluation(recognition(tmp_path / "c", [0, 1])))
    with pytest.raises(DataError, match="nothing in common"):
        compare(a, read_evaluation(recognition(tmp_path / "d", [0, 1, 2], modality="audio")), anyway=True)


def test_the_command(tmp_path: Path) -> None:
    a, b = recognition(tmp_path / "a", [2] * 9), recognition(tmp_path / "b", [1] * 9)
    found = run_command(app, ["compare", a, b / "results.json", "--json", "--out", tmp_path / "ab.html"])
    assert found.code == 0, found.err
    (change,) = json.loads(found.out)["changes"]
    assert change["clear"] and change["b"] < change["a"]
    assert "SYNTHETIC" in (tmp_path / "ab.html").read_text()
    assert "b better" in run_command(app, ["compare", a, b]).out
    check_user_error(app, ["compare", a, tmp_path / "nowhere"], "no evaluation", "nowhere")
    (b / "results.json").write_text("[]")
    check_user_error(app, ["compare", a, b], "not the results")


def test_evaluate_refuses_what_it_cannot_place(tmp_path: Path) -> None:
    from viseme.core.checkpoint import save_model_dir

    rest = ["--data", tmp_path, "--out", tmp_path / "out"]
    check_user_error(app, ["evaluate", tmp_path / "no model", *rest], "no model")
    check_user_error(app, ["evaluate", save_model_dir(tmp_path / "m", {"dim": 1}, {}), *rest], "which package")
    of_another = save_model_dir(tmp_path / "n", {"package": "nobodys"}, {})
    check_user_error(app, ["evaluate", of_another, *rest], "pip install viseme-nobodys")
