"""Captioned images without downloads: two coloured objects in a picture, and a voice that says which and where.

    a red ball above a blue box

The larger object is named first, so that each picture has one right caption. Splits share neither a caption nor a
voice: an unseen picture asks for a combination that was never heard. In `OUT/{train,val,test}/NNNNN.png`, with one
recording for each caption (`.wav`, named after the first picture that it belongs to), a manifest, and the sentences'
grammar in `scenes.gram` (JSGF) for recognisers that take one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import ConfigError, DataError
from viseme.core.files import write_bytes_atomic, write_text_atomic
from viseme.core.media import read_audio, write_audio
from viseme.core.signal import resample
from viseme.core.synthetic.corpus import SYNTHETIC_NOTE
from viseme.core.synthetic.speech import synthesise
from viseme.core.types import Audio

__all__ = [
    "COLOURS",
    "PLACES",
    "SHAPES",
    "VOICES",
    "Scene",
    "ScenesReport",
    "draw_scene",
    "grammar",
    "make_scenes",
    "render_scene",
    "speak",
]

SHAPES = ("ball", "box", "star", "cross", "tent")
COLOURS = {
    "red": (214, 40, 40),
    "green": (46, 139, 60),
    "blue": (36, 84, 196),
    "yellow": (236, 196, 32),
    "purple": (130, 60, 160),
}
PLACES = ("above", "below", "left of", "right of")
VOICES = {"train": "en-us+m3", "val": "en-us+m7", "test": "en-us+Annie"}
"""espeak-ng's voice of each split; of those whose samples are the same every time (some variants are not)."""

RATE = 16000
_VERSION = 2  # of the generator: a corpus made by another is not continued
_SETTINGS = "scenes.json"
_GRAMMAR = "scenes.gram"
_ROUND = ("train",) * 8 + ("test",) + ("train",) * 8 + ("val",) + ("train",) + ("test",)
_BLOCKS = 20  # of captions by hash: the first two are test's, the third is val's


@dataclass(frozen=True)
class Scene:
    """What is in a picture: (colour, shape) of the larger object, where it is, (colour, shape) of the smaller one."""

    first: tuple[str, str]
    place: str
    second: tuple[str, str]

    @property
    def caption(self) -> str:
        return f"a {' '.join(self.first)} {self.place} a {' '.join(self.second)}"

    @property
    def split(self) -> str:
        """Which split owns the caption."""
        block = int(hashlib.sha256(self.caption.encode()).hexdigest(), 16) % _BLOCKS
        return "test" if block < 2 else "val" if block == 2 else "train"


@dataclass(frozen=True)
class ScenesReport:
    """Folder, manifest, pictures by split, how many were made now, hours of speech."""

    root: Path
    manifest: Path
    clips: dict[str, int]
    made: int
    hours: float


def draw_scene(split: str, rng: np.random.Generator) -> Scene:
    """A scene drawn uniformly from those that `split` owns."""

    def thing() -> tuple[str, str]:
        return str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))

    while True:
        scene = Scene(thing(), str(rng.choice(PLACES)), thing())
        if scene.first != scene.second and scene.split == split:
            return scene


def render_scene(scene: Scene, rng: np.random.Generator, size_px: int = 96) -> np.ndarray:
    """The picture, (size_px, size_px, 3) uint8 RGB: places, sizes and background drawn from `rng`."""
    light = rng.uniform(200, 250, 3)
    slope = rng.uniform(-20, 20, (2, 3))
    y, x = np.mgrid[0 : 1 : size_px * 1j, 0 : 1 : size_px * 1j]
    picture = light + y[..., None] * slope[0] + x[..., None] * slope[1] + rng.normal(0, 3, (size_px, size_px, 3))
    picture = np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8))
    radii = (rng.uniform(0.19, 0.23), rng.uniform(0.10, 0.13))
    along, across = rng.uniform(0.26, 0.30), rng.uniform(-0.12, 0.12, 2)
    sign = -1 if scene.place in ("above", "left of") else 1
    for (colour, shape), radius, side, shift in zip((scene.first, scene.second), radii, (sign, -sign), across):
        offset = 0.5 + side * (along if radius > 0.15 else along - 0.04)
        centre = (0.5 + shift, offset) if scene.place in ("above", "below") else (offset, 0.5 + shift)
        tint = np.clip(np.array(COLOURS[colour]) + rng.uniform(-14, 14, 3), 0, 255)
        _draw(picture, shape, centre, radius, tuple(float(value) for value in tint))
    return picture


def _draw(
    picture: np.ndarray, shape: str, centre: tuple[float, float], radius: float, colour: tuple[float, ...]
) -> None:
    size, fraction = len(picture), 4  # sub-pixel places, in sixteenths
    scale = size * 2**fraction
    middle, r = np.array(centre) * scale, radius * scale
    if shape == "ball":
        cv2.circle(picture, _point(middle), round(r), colour, -1, cv2.LINE_AA, fraction)
        return
    if shape == "star":
        turns = np.arange(10) * np.pi / 5 - np.pi / 2
        reach = np.where(np.arange(10) % 2, 0.42, 1.1)[:, None]
        corners = np.stack([np.cos(turns), np.sin(turns)], 1) * reach
    else:
        corners = np.array(_CORNERS[shape])
    polygon = np.round(middle + corners * r).astype(np.int32)
    cv2.fillPoly(picture, [polygon], colour, cv2.LINE_AA, fraction)


_CORNERS = {
    "box": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "tent": [(0, -1.05), (1.05, 0.85), (-1.05, 0.85)],
    "cross": [
        *[(-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35)],
        *[(0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35)],
    ],
}


def _point(place: np.ndarray) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def grammar() -> str:
    """The captions' grammar in the JSpeech Grammar Format."""
    parts = {"colour": COLOURS, "shape": SHAPES, "place": PLACES}
    rules = "".join(f"<{name}> = {' | '.join(words)};\n" for name, words in parts.items())
    sentence = "public <caption> = a <colour> <shape> <place> a <colour> <shape>;\n"
    return f"#JSGF V1.0;\ngrammar scenes;\n{sentence}{rules}"


def speak(caption: str, voice: str) -> Audio:
    """A caption said by a voice, 16 kHz; the same arguments give the same samples.

    Raises:
        DependencyError: espeak-ng is not installed.
    """
    words = caption.replace(" of a ", " of_a ").split()  # espeak-ng speaks these two as one word
    said = synthesise([word.replace("_", " ") for word in words], voice, words_per_minute=150).audio
    samples = resample(torch.from_numpy(said.samples), said.rate, RATE).numpy()
    return Audio(samples.astype(np.float32), RATE)


def make_scenes(
    out: str | Path,
    clips: int,
    seed: int = 0,
    *,
    size_px: int = 96,
    on_clip: Callable[[int, int], None] | None = None,
) -> ScenesReport:
    """Render captioned images. Picture `k` of a seed is the same whatever their number; those already there are kept.

    Args:
        out: folder; made if missing.
        clips: of every 20, one is val's and two are test's.
        seed: of everything.
        size_px: side of the pictures.
        on_clip: called with (done, clips).

    Raises:
        ConfigError: an option out of range.
        DataError: `out` holds scenes of other settings.
        DependencyError: espeak-ng is not installed.
    """
    if clips < 1 or seed < 0 or size_px < 32:
        raise ConfigError("scenes need clips >= 1, seed >= 0, size_px >= 32", got=(clips, seed, size_px))
    root = Path(out)
    settings = json.dumps({"version": _VERSION, "seed": seed, "size_px": size_px, "note": SYNTHETIC_NOTE}, indent=2)
    if (root / _SETTINGS).exists() and (root / _SETTINGS).read_text(encoding="utf-8") != settings + "\n":
        raise DataError("other scenes are there", path=root, hint="Choose another folder or remove it.")
    write_text_atomic(root / _SETTINGS, settings + "\n")
    write_text_atomic(root / _GRAMMAR, grammar())
    rows, made = [], 0
    spoken: dict[str, str] = {}
    for number in range(clips):
        row, new = _make(root, seed, size_px, number, spoken)
        rows.append(row)
        made += new
        if on_clip is not None:
            on_clip(number + 1, clips)
    manifest = root / "manifest.csv"
    Manifest(rows, root).write(manifest)
    return ScenesReport(
        root,
        manifest,
        {split: sum(row.split == split for row in rows) for split in VOICES},
        made,
        sum({row.audio: row.samples or 0 for row in rows}.values()) / RATE / 3600,
    )


def _make(root: Path, seed: int, size_px: int, number: int, spoken: dict[str, str]) -> tuple[ManifestRow, bool]:
    """Picture `number`; `spoken` names the recording of each caption so far, which its other pictures share."""
    split = _ROUND[number % len(_ROUND)]
    rng = np.random.default_rng((seed, number))
    scene = draw_scene(split, rng)
    name = f"{split}/{number:05d}"
    picture = root / f"{name}.png"
    recording = root / spoken.setdefault(scene.caption, f"{name}.wav")
    made = not (picture.exists() and recording.exists())
    if made:
        if not recording.exists():
            write_audio(recording, speak(scene.caption, VOICES[split]))
        done, png = cv2.imencode(".png", render_scene(scene, rng, size_px)[..., ::-1])
        assert done
        write_bytes_atomic(picture, png.tobytes())
    row = ManifestRow(
        id=name,
        path=f"{name}.png",
        audio=spoken[scene.caption],
        frames=0,
        samples=len(read_audio(recording, rate=RATE).samples),
        rate=RATE,
        text=scene.caption,
        speaker=VOICES[split],
        language="en",
        split=split,
        dataset="viseme-scenes",
        extra={"image": name, "references": scene.caption, "synthetic": "1"},
    )
    return row, made
