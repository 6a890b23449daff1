"""Image files as the captioners see them: read upright in RGB, scaled with Pillow's bicubic filter as published.

H W pixels.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from viseme.core.errors import MediaError

__all__ = ["IMAGE_SUFFIXES", "clip_pixels", "list_images", "read_image", "square_pixels"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 120_000_000
"""Larger JPEG files are decoded at a fraction of their size; other kinds are refused."""
_LONG = 16  # sides' ratio beyond which only the part of the picture that the crop keeps is scaled
_pillow_limit = threading.Lock()


def read_image(source: str | Path | IO[bytes]) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB: turned as its EXIF tag says, transparency laid over white, 16-bit grey and CMYK
    converted; of an animation the first frame.

    Raises:
        MediaError: no such file, not a picture, damaged, or too large.
    """
    path = source if isinstance(source, str | Path) else getattr(source, "name", "<stream>")
    if isinstance(source, str | Path):
        if Path(source).is_dir():
            raise MediaError("a folder, not a picture", path=path)
        if not Path(source).exists():
            raise MediaError("no such file", path=path)
    try:
        with _no_pillow_limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            with Image.open(source) as image:
                _check_size(image, path)
                image.load()
                return np.asarray(_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise MediaError("not a picture that can be read", path=path) from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise MediaError("a damaged picture", path=path, got=" ".join(str(error).split())[:200]) from error


def _check_size(image: Image.Image, path: object) -> None:
    width, height = image.size
    if width * height <= MAX_PIXELS:
        return
    if image.format == "JPEG":
        image.draft("RGB", (width // 8, height // 8))
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise MediaError(
            "too large a picture",
            path=str(path),
            expected=f"at most {MAX_PIXELS / 1e6:.0f} million pixels",
            got=f"{width} x {height}",
            hint="Scale it down first; a few hundred pixels are all that a captioner sees.",
        )


@contextlib.contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Pillow's own limit would refuse large JPEG files before they can be asked for in a smaller size."""
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode != "F" else max(1.0, float(values.max(initial=0.0)))
        return Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def clip_pixels(image: np.ndarray, size: int = 224) -> Tensor:
    """What the pixels' captioner sees of (H, W, 3) uint8: (3, size, size), shorter side scaled to `size`, centre cut,
    CLIP's mean and standard deviation."""
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    other = size * long // short
    picture = Image.fromarray(image)
    if long > _LONG * short:
        start, part = (long - short) / 2, short
        box = (start, 0, start + part, height) if width > height else (0, start, width, start + part)
        scaled = picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
    else:
        new = (size, other) if width <= height else (other, size)
        scaled = picture.resize(new, Image.Resampling.BICUBIC)
        left, top = (new[0] - size) // 2, (new[1] - size) // 2
        scaled = scaled.crop((left, top, left + size, top + size))
    values = np.asarray(scaled, dtype=np.float32) * np.float32(1 / 255)
    normalised = (values - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


def square_pixels(image: np.ndarray, size: int = 256) -> Tensor:
    """What the image tokenizer sees: (3, size, size) in [0, 1], scaled without regard to its proportions, as
    published."""
    scaled = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy((np.asarray(scaled, dtype=np.float32) / np.float32(255)).transpose(2, 0, 1).copy())


def list_images(folder: Path) -> list[Path]:
    """The picture files below a folder, by name.

    Raises:
        MediaError: there are none.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise MediaError("no pictures in the folder", path=folder, expected=", ".join(IMAGE_SUFFIXES))
    return found
