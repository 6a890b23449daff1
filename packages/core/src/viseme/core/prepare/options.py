"""What a prepared store is made with; kept beside it, so that a store never mixes two ways."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from viseme.core.errors import ConfigError
from viseme.core.faces import CropVariant
from viseme.core.files import write_text_atomic

__all__ = ["AUDIO_RATE", "FPS", "PrepareOptions"]

FPS = 25.0
AUDIO_RATE = 16_000
_CROPS = ("mouth", "mouth68", "lips", "face")


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `prepare` that decide what the store holds; see there."""

    crops: tuple[str, ...] = ("mouth",)
    variant: CropVariant = "mediapipe"
    stride: int = 8
    mesh_stride: int = 4
    face: int | None = None
    landmarks: str | None = None
    long_gap_s: float = 1.0
    min_visible: float = 0.5
    sync: str | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.crops) - set(_CROPS)) or not self.crops:
            raise ConfigError("unknown crops", expected=" | ".join(_CROPS), got=unknown or "none")
        if self.variant not in get_args(CropVariant):
            raise ConfigError("unknown crop variant", expected=" | ".join(get_args(CropVariant)), got=self.variant)
        if self.stride < 1 or self.mesh_stride < 1:
            raise ConfigError("strides start at 1", got=(self.stride, self.mesh_stride))
        if self.face is not None and self.face < 1:
            raise ConfigError("faces are counted from 1, most prominent first", got=self.face)
        if not 0 <= self.min_visible <= 1:
            raise ConfigError("min_visible is a share of the frames", expected="0 to 1", got=self.min_visible)
        if self.landmarks is not None and not Path(self.landmarks).is_dir():
            raise ConfigError("no such folder of landmarks", path=self.landmarks)

    def claim(self, path: Path) -> None:
        """Write the options to `path`, or check that the store there was made with the same.

        Raises:
            ConfigError: it was made with others.
        """
        mine = json.loads(json.dumps(asdict(self)))
        if not path.exists():
            write_text_atomic(path, json.dumps(mine, indent=1) + "\n")
            return
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if different := {name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)}:
            raise ConfigError(
                "this store was prepared with other options",
                path=path.parent,
                expected={name: theirs.get(name) for name in sorted(different)},
                got={name: mine.get(name) for name in sorted(different)},
                hint="Give the same options, or another folder.",
            )


def crop_names(crops: str | Sequence[str]) -> tuple[str, ...]:
    """`"mouth"`, `"mouth,face"` or a sequence as a tuple."""
    return tuple(crops.split(",")) if isinstance(crops, str) else tuple(crops)
