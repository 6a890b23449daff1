"""Tux Paint's stamps as a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.core.data.corpora.tuxpaint import scan
from viseme.core.errors import DataError


def stamp(root: Path, name: str, text: str, *, languages: tuple[str, ...] = ("fr",), picture: str = ".png") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(picture).touch()
    path.with_suffix(".txt").write_text(text, encoding="utf-8")
    for language in languages:
        ending = "_desc.ogg" if language == "en" else f"_desc_{language}.ogg"
        path.with_name(path.name + ending).touch()


def test_stamps(tmp_path: Path) -> None:
    stamp(tmp_path, "animals/lion", "A lion.\nes.utf8=Un león.\nfr.utf8=Un lion.\n", languages=("fr", "en"))
    stamp(tmp_path, "animals/lion-2", "Another lion.\nfr.utf8=Un autre.\n")
    stamp(tmp_path, "town/bus", "A bus.\nfr.utf8=Un bus.\n", picture=".svg")
    stamp(tmp_path, "town/tree", "A tree.\nes.utf8=Un árbol.\n")  # a recording without a caption
    found = scan(tmp_path, "fr")
    assert [row.id for row in found] == ["animals/lion-2", "animals/lion"]
    assert [row.text for row in found] == ["Un autre.", "Un lion."]
    assert found.audio_file(found[1]).name == "lion_desc_fr.ogg" and found.file(found[1]).is_file()
    reasons = " ".join(reason for _, reason in found.skipped)
    assert "no picture of pixels" in reasons and "no caption in this language" in reasons
    assert [row.text for row in scan(tmp_path, "en")] == ["A lion."]
    with pytest.raises(DataError, match="no usable"):
        scan(tmp_path, "xx")
    with pytest.raises(DataError, match="no such folder"):
        scan(tmp_path / "none")
