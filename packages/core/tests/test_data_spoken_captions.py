"""SpokenCOCO and Flickr8k Audio from the published layout (the lists themselves are among the parity tests)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from viseme.core.data.corpora.spoken_captions import scan
from viseme.core.errors import DataError


def layout(root: Path) -> None:
    def write(name: str, content: object) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def image(name: str, split: str, **more: object) -> dict:
        return {"filename": name, "split": split, "sentences": [{"raw": f"Caption {k} ."} for k in range(5)], **more}

    coco = [image("a1.jpg", "train", filepath="train2014"), image("a2.jpg", "val", filepath="val2014")]
    coco += [image("a3.jpg", "test", filepath="val2014"), image("a4.jpg", "restval", filepath="val2014")]
    write("Karpathy_split/dataset_coco.json", {"images": coco})
    flickr = [image("b1.jpg", "train"), image("b2.jpg", "test")]
    write("Karpathy_split/dataset_flickr8k.json", {"images": flickr})

    def spoken(path: str, stem: str) -> dict:
        captions = [
            {"text": f"t{k}", "speaker": "s", "uttid": f"{stem}{k}", "wav": f"wavs/x/{stem}_{k}.wav"} for k in (0, 1)
        ]
        return {"image": path, "captions": captions}

    write("SpokenCOCO/SpokenCOCO_train.json", {"data": [spoken("train2014/a1.jpg", "a1")]})
    val = [spoken("val2014/a2.jpg", "a2"), spoken("val2014/a3.jpg", "a3")]
    write("SpokenCOCO/SpokenCOCO_val.json", {"data": val})
    units = root / "Flickr8k_audio" / "Hubert_units"
    units.mkdir(parents=True)
    (units / "b1_3.unit").touch()


def test_lists(tmp_path: Path) -> None:
    layout(tmp_path)
    train = scan(tmp_path, "train")
    assert [row.path for row in train] == ["COCO_2014/train2014/a1.jpg"] * 2 + ["Flickr8k/Images/b1.jpg"]
    assert [row.extra["units"] for row in train][1:] == [
        "SpokenCOCO/Hubert_units/x/a1_1.unit",
        "Flickr8k_audio/Hubert_units/b1_3.unit",
    ]
    assert train[2].text == "Caption 3 ." and train[0].text == "t0"
    assert len(train[0].extra["references"].split("\n")) == 5
    assert [row.path for row in scan(tmp_path, "val")] == ["COCO_2014/val2014/a2.jpg"]
    assert [row.path for row in scan(tmp_path, "test")] == ["COCO_2014/val2014/a3.jpg"]
    assert [row.path for row in scan(tmp_path, "test", test_data="flickr")] == ["Flickr8k/Images/b2.jpg"]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a readable list"):
        scan(tmp_path, "train")
    layout(tmp_path)
    with pytest.raises(DataError, match="no such list"):
        scan(tmp_path, "trainval")
    (tmp_path / "SpokenCOCO" / "SpokenCOCO_val.json").write_text('{"data": []}')
    with pytest.raises(DataError, match="without spoken captions"):
        scan(tmp_path, "val")
    (tmp_path / "Karpathy_split" / "dataset_coco.json").write_text('{"pictures": []}')
    with pytest.raises(DataError, match="Karpathy"):
        scan(tmp_path, "val")
