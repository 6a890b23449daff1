"""Result files."""

from __future__ import annotations

import csv
import getpass
import json
import platform
from pathlib import Path

import pytest

from viseme.core.errors import DataError
from viseme.core.metrics import collect_provenance, write_clip_csv, write_results


def test_results_carry_their_provenance(tmp_path: Path) -> None:
    provenance = collect_provenance(
        synthetic=True, normaliser="upper", data_sha256="d" * 64, model_sha256="m" * 64, config={"beam": 40}
    )
    write_results(tmp_path / "deep" / "results.json", [{"condition": "bruit à 0 dB", "wer": 0.1}], provenance)
    text = (tmp_path / "deep" / "results.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert content["synthetic"] is True
    assert content["rows"] == [{"condition": "bruit à 0 dB", "wer": 0.1}]
    found = content["provenance"]
    assert (found["normaliser"], found["config"], found["data_sha256"]) == ("upper", {"beam": 40}, "d" * 64)
    assert found["versions"]["torch"] and found["versions"]["viseme-core"] and found["machine"]["cores"] >= 1
    assert found["date"].endswith("+00:00")
    assert str(Path.home()) not in text and str(tmp_path) not in text
    assert platform.node() not in text or len(platform.node()) < 4  # a host called "x" proves nothing
    assert getpass.getuser() not in json.dumps(found["machine"])


def test_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    provenance = collect_provenance(synthetic=False, normaliser="none", data_sha256="")
    for rows in ([], [{"wer": float("nan")}], [{"path": tmp_path}]):
        with pytest.raises(DataError, match=r"results\.json"):
            write_results(tmp_path / "results.json", rows, provenance)
    assert list(tmp_path.iterdir()) == []


def test_clip_csv(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    write_clip_csv(path, [{"id": "a", "ref": 'x, "y"', "errors": 1}, {"id": "b", "note": "no face"}])
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"id": "a", "ref": 'x, "y"', "errors": "1", "note": ""}
    assert rows[1]["note"] == "no face"
    with pytest.raises(DataError):
        write_clip_csv(path, [])
