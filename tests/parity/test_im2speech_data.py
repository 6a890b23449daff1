"""Units and token ids, training targets, generated rows, learning rates, lists of files, batches, unit error rates."""

from __future__ import annotations

import harness
import pytest
import torch
from im2speech_entries import SYSTEM, Check, given

from viseme.core.data.corpora.spoken_captions import Roots, published_rows, read_karpathy, read_spokencoco
from viseme.im2speech.data import CaptionItem, collate
from viseme.im2speech.schedule import warmup_factor
from viseme.im2speech.tokens import UnitTokens, deduplicate, published_parse, unit_error_rate

PUBLISHED = UnitTokens(numbering="published")


def entries(kind: str):
    return pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, f"data/{kind}"))


def test_every_kind_is_tested() -> None:
    kinds = {e["kind"] for e in harness.vectors(SYSTEM).values() if e["kind"].startswith("data/")}
    tested = ("units", "target", "parse", "lr", "files", "collate", "unit_error_rate")
    assert kinds <= {f"data/{kind}" for kind in tested}


@entries("units")
def test_units(name: str, entry: dict) -> None:
    check, inputs, config = Check(entry), given(entry), entry["config"]
    tokens = UnitTokens(len(inputs["units"]), "published")
    assert (tokens.pad, tokens.bos, tokens.eos) == tuple(config[key] for key in ("pad", "bos", "eos"))
    assert tokens.vocabulary == config["vocab"]
    check.check("unit_to_token", [tokens.encode(unit) for unit in inputs["units"]])
    check.check("token_to_unit", [tokens.decode(token) for token in inputs["tokens"]])
    check.finish()


@entries("target")
def test_target(name: str, entry: dict) -> None:
    check = Check(entry)
    check.check("tokens", PUBLISHED.target(given(entry)["units"]))
    check.finish()


@entries("parse")
def test_parse(name: str, entry: dict) -> None:
    check, rows = Check(entry), given(entry)["rows"]
    parsed = published_parse(rows)
    check.check("units", parsed)
    check.check("vocoder_units", [deduplicate(units) for units in parsed])
    check.finish()
    for row, original in zip(rows, parsed):  # ours agrees but for the cutting errors
        if PUBLISHED.eos in row[2:-1] and 0 not in row[: row.index(PUBLISHED.eos)]:
            assert PUBLISHED.parse(row) == original


@entries("lr")
def test_learning_rate(name: str, entry: dict) -> None:
    check, config = Check(entry), entry["config"]
    total = config["total"] if config["schedule"] == "cosine" else None

    def rate(updates: int) -> float:
        return config["base"] * warmup_factor(updates, warmup=config["warmup"], total=total, variant="published")

    check.check("lr", [rate(updates) for updates in given(entry)["updates_done"]])
    check.check("first_update_lr", rate(0))
    check.finish()


@entries("files")
def test_lists(name: str, entry: dict) -> None:
    check, inputs, config = Check(entry), given(entry), entry["config"]
    rows = published_rows(
        config["mode"],
        read_karpathy(inputs["dataset_coco.json"]),
        read_karpathy(inputs["dataset_flickr8k.json"]),
        read_spokencoco(inputs[f"SpokenCOCO_{part}.json"] for part in ("train", "val")),
        Roots(**inputs["roots"]),
        set(inputs["existing_flickr_units"]).__contains__,
        test_data=config["test_data"],
    )
    check.check("images", [row.path for row in rows])
    needed = config["mode"] != "test" or config["dataset"] == "im_unit"  # which loads units in testing for no use
    check.check("units", [row.extra["units"] for row in rows] if needed else [])
    check.finish()


@entries("collate")
def test_collate(name: str, entry: dict) -> None:
    check, inputs = Check(entry), given(entry)
    items = [
        None if skip else CaptionItem(torch.zeros(3, 4, 4), tokens, name, row)
        for row, (tokens, skip, name) in enumerate(zip(inputs["items"], inputs["skip"], inputs["names"]))
    ]
    batch = collate([item for item in items if item is not None])
    check.check("tokens", batch["tokens"].tolist())
    check.check("lengths", batch["lengths"].tolist())
    check.check("names", batch["names"])
    check.finish()


@entries("unit_error_rate")
def test_unit_error_rate(name: str, entry: dict) -> None:
    check, inputs = Check(entry), given(entry)
    check.check("rate", unit_error_rate([unit for unit in inputs["prediction"] if unit], inputs["truth"]))
    check.finish()
