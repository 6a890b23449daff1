"""Captioned pictures: the same seed gives the same bytes, splits share nothing, and what is said is what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from viseme.core.data import Manifest
from viseme.core.errors import ConfigError, DataError

pytest.importorskip("espeakng_loader", reason="scenes are spoken by espeak-ng (viseme-core[synthetic])")

from viseme.core.metrics.recogniser import load_recogniser
from viseme.core.synthetic.scenes import COLOURS, RATE, VOICES, Scene, draw_scene, make_scenes, render_scene, speak
from viseme.core.types import Audio


def test_seeds_give_bytes_and_corpora_can_grow(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    make_scenes(first, 12, seed=5)
    report = make_scenes(second, 6, seed=5)
    assert report.made == 6
    grown = make_scenes(second, 12, seed=5)
    assert grown.made == 6
    names = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    with pytest.raises(DataError, match="other scenes"):
        make_scenes(second, 12, seed=6)
    with pytest.raises(ConfigError):
        make_scenes(tmp_path / "c", 0)


def test_splits_share_nothing(tmp_path: Path) -> None:
    make_scenes(tmp_path, 40, seed=1, size_px=32)
    rows = Manifest.read(tmp_path / "manifest.csv")
    parts = {split: rows.filter(split=split) for split in VOICES}
    for what in (lambda row: row.text, lambda row: row.speaker, lambda row: row.path):
        seen = [set(map(what, part)) for part in parts.values()]
        assert sum(map(len, seen)) == len(set().union(*seen))
    assert all(row.extra["synthetic"] for row in rows)
    assert {split: len(part) for split, part in parts.items()} == {"train": 34, "val": 2, "test": 4}


def test_a_caption_is_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures share the recording, and a later run finds it again."""
    module = "viseme.core.synthetic.scenes"
    monkeypatch.setattr(f"{module}.draw_scene", lambda split, rng: Scene(("red", "ball"), "above", ("blue", split)))
    monkeypatch.setattr(f"{module}._draw", lambda *_: None)
    monkeypatch.setattr(f"{module}.speak", lambda caption, voice: Audio(np.zeros(RATE, np.float32), RATE))
    assert make_scenes(tmp_path, 20, size_px=32).hours == pytest.approx(3 / 3600)
    monkeypatch.setattr(f"{module}.speak", None)
    again = make_scenes(tmp_path, 25, size_px=32)
    assert again.made == 5 and len(list(tmp_path.rglob("*.wav"))) == 3 and len(list(tmp_path.rglob("*.png"))) == 25
    assert {row.audio for row in Manifest.read(tmp_path / "manifest.csv").filter(split="train")} == {"train/00000.wav"}


def test_a_recogniser_hears_what_is_said(tmp_path: Path) -> None:
    """PocketSphinx with the corpus' grammar, whatever it heard before."""
    pytest.importorskip("pocketsphinx", reason="viseme-core[metrics]; the adapters' own tests need no recogniser")
    make_scenes(tmp_path, 1, size_px=32)
    recogniser = load_recogniser(f"sphinx:{tmp_path / 'scenes.gram'}")
    captions = ["a yellow cross above a red tent", "a green star left of a red box"]
    sounds = [speak(text, "en-us+m3").samples for text in captions]
    assert recogniser(sounds) == captions
    assert recogniser([np.zeros(0, np.float32), *sounds[::-1]]) == ["", *captions[::-1]]
    (tmp_path / "bad.gram").write_text("no grammar")
    for name in ("bad.gram", "gone.gram"):
        with pytest.raises(ConfigError):
            load_recogniser(f"sphinx:{tmp_path / name}")


@pytest.mark.parametrize("place", ["above", "below", "left of", "right of"])
def test_the_larger_object_is_where_the_caption_says(place: str) -> None:
    scene = Scene(("red", "ball"), place, ("blue", "box"))
    assert scene.caption == f"a red ball {place} a blue box"
    picture = render_scene(scene, np.random.default_rng(0)).astype(int)
    centres, sizes = {}, {}
    for colour in ("red", "blue"):
        near = np.abs(picture - COLOURS[colour]).sum(-1) < 70
        sizes[colour] = near.sum()
        centres[colour] = np.argwhere(near).mean(0)
    assert sizes["red"] > 1.5 * sizes["blue"]
    down, across = centres["red"] - centres["blue"]
    wanted = {"above": -down, "below": down, "left of": -across, "right of": across}
    assert wanted[place] > 20


def test_captions_belong_to_one_split() -> None:
    rng = np.random.default_rng(0)
    for split in VOICES:
        assert all(draw_scene(split, rng).split == split for _ in range(20))
