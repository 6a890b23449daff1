"""Images with spoken captions: SpokenCOCO (over COCO 2014) and Flickr8k Audio, by Karpathy's split.

    COCO_2014/{train2014,val2014}/*.jpg                 SpokenCOCO/SpokenCOCO_{train,val}.json, wavs/...
    Flickr8k/Images/*.jpg                               Flickr8k_audio/wavs/<image>_<k>.wav
    Karpathy_split/dataset_{coco,flickr8k}.json         .../Hubert_units/<same path>.unit

Rows of the manifest: `path` the image, `audio` the spoken caption, `text` what it says; `extra` has `units` (its unit
file), `image` (the image's name) and `references` (all written captions of the image, one a line).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import DataError

__all__ = ["CaptionedImage", "Roots", "SpokenCaption", "published_rows", "read_karpathy", "read_spokencoco", "scan"]

FLICKR_CAPTIONS = 5


@dataclass(frozen=True)
class CaptionedImage:
    """An image of Karpathy's split: its path below the image folder, split (`restval` included), written captions."""

    path: str
    split: str
    captions: tuple[str, ...]

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).stem


@dataclass(frozen=True)
class SpokenCaption:
    """A spoken caption of SpokenCOCO; `wav` is relative to the corpus."""

    wav: str
    text: str
    speaker: str
    id: str

    @property
    def units(self) -> str:
        """Its unit file, relative to the folder of units."""
        return str(PurePosixPath(self.wav.removeprefix("wavs/")).with_suffix(".unit"))


@dataclass(frozen=True)
class Roots:
    """Folders of images, of unit files and of sound."""

    coco_images: str = "COCO_2014"
    flickr_images: str = "Flickr8k/Images"
    coco_units: str = "SpokenCOCO/Hubert_units"
    flickr_units: str = "Flickr8k_audio/Hubert_units"
    coco_audio: str = "SpokenCOCO"
    flickr_audio: str = "Flickr8k_audio/wavs"


def read_karpathy(content: Mapping[str, Any]) -> list[CaptionedImage]:
    """The images of a `dataset_*.json`.

    Raises:
        DataError: another structure.
    """
    try:
        return [
            CaptionedImage(
                str(PurePosixPath(image.get("filepath", "")) / image["filename"]),
                image["split"],
                tuple(sentence["raw"] for sentence in image["sentences"]),
            )
            for image in content["images"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError("not a split file of Karpathy's", got=f"no {error}") from error


def read_spokencoco(contents: Iterable[Mapping[str, Any]]) -> dict[str, list[SpokenCaption]]:
    """Spoken captions by image (path without its ending) of `SpokenCOCO_{train,val}.json`.

    Raises:
        DataError: another structure.
    """
    found: dict[str, list[SpokenCaption]] = {}
    try:
        for content in contents:
            for item in content["data"]:
                spoken = [
                    SpokenCaption(c["wav"], c.get("text", ""), c.get("speaker", ""), c.get("uttid", c["wav"]))
                    for c in item["captions"]
                ]
                found[str(PurePosixPath(item["image"]).with_suffix(""))] = spoken
    except (KeyError, TypeError) as error:
        raise DataError("not a list of SpokenCOCO", got=f"no {error}") from error
    return found


def published_rows(
    split: str,
    coco: Sequence[CaptionedImage],
    flickr: Sequence[CaptionedImage],
    spoken: Mapping[str, Sequence[SpokenCaption]],
    roots: Roots,
    has_units: Callable[[str], bool],
    *,
    test_data: str = "coco",
) -> list[ManifestRow]:
    """The published lists: for training every caption of COCO's `train` images (`restval` is not added), then every
    Flickr8k training image with each caption that has units; COCO's `val` or the asked-for test images with their
    first caption.

    Args:
        split: `train`, `val` or `test`.
        coco, flickr: of `read_karpathy`.
        spoken: of `read_spokencoco`.
        roots: folders.
        has_units: whether a file of units (relative to the folder of Flickr8k's) exists.
        test_data: `coco` or `flickr`.

    Raises:
        DataError: an image without spoken captions, or no such split.
    """
    if split not in ("train", "val", "test") or test_data not in ("coco", "flickr"):
        raise DataError("no such list", expected="train | val | test, coco | flickr", got=f"{split}, {test_data}")
    rows = []
    every = split == "train"
    if split != "test" or test_data == "coco":
        for image in coco:
            if image.split == split:
                rows += _coco_rows(image, spoken, roots, every)
    if split == "train" or (split == "test" and test_data == "flickr"):
        for image in flickr:
            if image.split == split:
                rows += _flickr_rows(image, roots, has_units if every else None)
    return rows


def _coco_rows(
    image: CaptionedImage, spoken: Mapping[str, Sequence[SpokenCaption]], roots: Roots, every: bool
) -> list[ManifestRow]:
    captions = spoken.get(str(PurePosixPath(image.path).with_suffix("")))
    if not captions:
        raise DataError("an image without spoken captions in SpokenCOCO", got=image.path)
    return [
        ManifestRow(
            id=f"{image.name}_{caption.id}",
            path=f"{roots.coco_images}/{image.path}",
            audio=f"{roots.coco_audio}/{caption.wav}",
            text=caption.text,
            speaker=caption.speaker,
            language="en",
            split=image.split,
            dataset="spokencoco",
            extra=_extra(image, f"{roots.coco_units}/{caption.units}"),
        )
        for caption in (captions if every else captions[:1])
    ]


def _flickr_rows(image: CaptionedImage, roots: Roots, has_units: Callable[[str], bool] | None) -> list[ManifestRow]:
    rows = []
    for k in range(FLICKR_CAPTIONS if has_units else 1):
        units = f"{image.name}_{k}.unit"
        if has_units and not has_units(units):
            continue
        rows.append(
            ManifestRow(
                id=f"{image.name}_{k}",
                path=f"{roots.flickr_images}/{image.path}",
                audio=f"{roots.flickr_audio}/{image.name}_{k}.wav",
                text=image.captions[k] if k < len(image.captions) else "",
                language="en",
                split=image.split,
                dataset="flickr8k",
                extra=_extra(image, f"{roots.flickr_units}/{units}"),
            )
        )
    return rows


def _extra(image: CaptionedImage, units: str) -> dict[str, str]:
    return {
        "image": image.name,
        "units": units,
        "references": "\n".join(" ".join(text.split()) for text in image.captions),
    }


def scan(root: str | Path, split: str, *, test_data: str = "coco", roots: Roots | None = None) -> Manifest:
    """The published list of a split from the published layout below `root`.

    Raises:
        DataError: a missing or unreadable list, or an image without spoken captions.
    """
    base, roots = Path(root), roots or Roots()
    karpathy = base / "Karpathy_split"
    needs_coco = not (split == "test" and test_data == "flickr")
    needs_flickr = split == "train" or not needs_coco
    coco = read_karpathy(_json(karpathy / "dataset_coco.json")) if needs_coco else []
    flickr = read_karpathy(_json(karpathy / "dataset_flickr8k.json")) if needs_flickr else []
    lists = [base / "SpokenCOCO" / f"SpokenCOCO_{part}.json" for part in ("train", "val")] if needs_coco else []
    spoken = read_spokencoco(_json(path) for path in lists)
    units = base / roots.flickr_units
    rows = published_rows(split, coco, flickr, spoken, roots, lambda name: (units / name).exists(), test_data=test_data)
    if not rows:
        raise DataError("no captions in this split", path=base, got=split)
    return Manifest(rows, base)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("not a readable list", path=path, got=" ".join(str(error).split())[:200]) from error
