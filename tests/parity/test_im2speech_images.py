"""Pixels as the captioners see them, and augmentations of image-token maps."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from im2speech_entries import SYSTEM, Check, given, tensors

from viseme.im2speech import augment
from viseme.im2speech.images import CLIP_MEAN, CLIP_STD, clip_pixels, square_pixels


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "image_preprocess/clip", "image_preprocess/square"))
def test_pixels(name: str, entry: dict) -> None:
    check, config, image = Check(entry), entry["config"], given(entry)["image"]
    check.check("corner", image)
    assert config["resampling"] == "bicubic"
    if entry["kind"].endswith("clip"):
        assert config["shortest_edge"] == config["crop"]
        assert (tuple(config["mean"]), tuple(config["std"])) == (CLIP_MEAN, CLIP_STD)
        pixels = clip_pixels(image, config["crop"])
    else:
        height, width = config["size"]
        assert height == width
        pixels = square_pixels(image, height)
    for part in ("pixels", "mean", "std"):
        check.check(part, pixels)
    check.finish()


def codebook(given: dict, config: dict) -> torch.Tensor:
    return given["codebook"][given["ids"]].permute(0, 3, 1, 2)


def random_crop(given: dict, config: dict) -> torch.Tensor:
    size = config["size"]
    return torch.stack([augment.crop(x, *start, size, size) for x, start in zip(given["x"], given["starts"])])


def resized_crop(given: dict, config: dict) -> torch.Tensor:
    boxes = [tuple(box) for box in given["boxes"].tolist()]
    for _, _, height, width in boxes:  # the drawn ones are among those that ours may draw
        share = height * width / given["x"][0, 0].numel()
        assert config["scale"][0] * 0.8 <= share <= config["scale"][1] and height and width
    return augment.resized_crop(given["x"], boxes, config["size"])


KINDS: dict[str, Callable[[dict, dict], torch.Tensor]] = {
    "centre_crop": lambda given, config: augment.centre_crop(given["x"], config["size"]),
    "random_crop": random_crop,
    "random_resized_crop": resized_crop,
    "resize": lambda given, config: augment.resize(given["x"], config["size"]),
    "swap": lambda given, config: augment.swap_patches(given["ids"], *given["params"].tolist()),
    "codebook": codebook,
}
DRAWN = ("token_augment/synonym", "token_augment/noise")


def test_every_augmentation_is_tested() -> None:
    kinds = {e["kind"] for e in harness.vectors(SYSTEM).values() if e["kind"].startswith("token_augment/")}
    assert kinds <= {f"token_augment/{kind}" for kind in KINDS} | set(DRAWN)


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, *(f"token_augment/{kind}" for kind in KINDS)))
def test_augmentation(name: str, entry: dict) -> None:
    check, inputs = Check(entry), {**given(entry), **tensors(entry)}
    check.check("out", KINDS[entry["kind"].partition("/")[2]](inputs, entry["config"]))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "token_augment/synonym"))
def test_synonyms(name: str, entry: dict) -> None:
    """The order of the original's draws is its own affair: what always holds is checked."""
    inputs, config = tensors(entry), entry["config"]
    assert entry["arrays"]["out"]["optional"]
    out = augment.replace_synonyms(
        inputs["ids"],
        inputs["synonyms"],
        best=config["best"],
        probability=config["probability"],
        generator=torch.Generator().manual_seed(config["seed"]),
    )
    allowed = torch.cat([inputs["ids"][..., None], inputs["synonyms"][inputs["ids"]][..., : config["best"]]], dim=-1)
    assert (out[..., None] == allowed).any(-1).all()
    assert abs(float((out != inputs["ids"]).float().mean()) - config["probability"]) < 0.1


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "token_augment/noise"))
def test_noise(name: str, entry: dict) -> None:
    x, config = tensors(entry)["x"], entry["config"]
    assert entry["arrays"]["out"]["optional"]
    out = augment.embedding_noise(
        x,
        probability=config["probability"],
        scale=config["scale"],
        std=config["std"],
        generator=torch.Generator().manual_seed(config["seed"]),
    )
    changed = (out != x).flatten(1).any(1)
    assert int(changed.sum()) == int(len(x) * config["probability"])
