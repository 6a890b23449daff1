"""Weights of other people's networks: a file, a folder as transformers writes it, or a model of Hugging Face's hub."""

from __future__ import annotations

from pathlib import Path

from viseme.core.errors import CheckpointError

__all__ = ["weights_file"]

_FILES = ("model.safetensors", "pytorch_model.bin")
_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def weights_file(name: str) -> Path:
    """Where the weights lie that are named by a file, a folder, or `owner/name` of the hub (downloaded once).

    Raises:
        CheckpointError: neither the folder nor the hub has them, or the hub cannot be reached.
    """
    path = Path(name)
    if path.is_file() or path.suffix in _ENDINGS:
        return path
    from transformers.utils import cached_file

    reason = ""
    for file in _FILES:
        try:
            return Path(cached_file(name, file))
        except (OSError, ValueError) as error:
            reason = reason or " ".join(str(error).split())[:200]
    raise CheckpointError(
        "no weights of this name", path=name, expected=f"a file, a folder with {_FILES[0]}, or owner/name", got=reason
    )
