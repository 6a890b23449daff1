"""Image tokens on disk: a picture as 32 x 32 codes of 16 bits, 2 KB instead of its file. What `im2speech codes` runs.

One safetensors file holds the codes of all pictures of a manifest under their paths; training reads them instead of
pictures (`data.codes_file`), and no longer runs the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from viseme.core.cli import track
from viseme.core.data import Manifest
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.files import atomic_path
from viseme.im2speech.data import pixels_for
from viseme.im2speech.images import read_image
from viseme.im2speech.pipeline import Im2Speech

__all__ = ["read_codes", "write_codes"]


def write_codes(model: Im2Speech, manifest: Manifest, out: Path, *, batch: int = 8) -> dict[str, str]:
    """Tokenise every picture of a manifest once.

    Returns:
        Pictures that could not be read, with reasons.

    Raises:
        ConfigError: a captioner that reads pixels.
        DataError: no picture could be read.
    """
    captioner = model.captioner
    if captioner.config.image != "codes":
        raise ConfigError("this captioner reads pixels: it has no image tokens", expected="a captioner of codes")
    prepare = pixels_for("codes", captioner.config.image_size)
    paths = list(dict.fromkeys(row.path for row in manifest))
    found: dict[str, Tensor] = {}
    failures: dict[str, str] = {}
    for start in track(range(0, len(paths), batch), "tokenising", unit="batches"):
        names, pixels = [], []
        for path in paths[start : start + batch]:
            try:
                pixels.append(prepare(read_image(manifest.root / path)))
                names.append(path)
            except VisemeError as error:
                failures[path] = str(error)
        if names:
            codes_BSS = captioner.image_codes(torch.stack(pixels).to(model.device)).cpu().to(torch.int16)
            found |= {name: codes.clone() for name, codes in zip(names, codes_BSS, strict=True)}
    if not found:
        raise DataError("no picture could be read", path=manifest.root, got=next(iter(failures.values()), "none"))
    with atomic_path(out) as temporary:
        save_file(found, temporary, metadata={"codes": str(captioner.config.codes)})
    return failures


def read_codes(path: Path, codes: int) -> Mapping[str, Tensor]:
    """What `write_codes` wrote: (side, side) int16 by picture.

    Raises:
        DataError: another file, or codes of a larger codebook.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError("not a file of image tokens", path=path, got=" ".join(str(error).split())[:200]) from error
    highest = max((int(value.max()) for value in found.values()), default=-1)
    if highest >= codes:
        raise DataError("image tokens of a larger codebook", path=path, expected=f"below {codes}", got=highest)
    return found
