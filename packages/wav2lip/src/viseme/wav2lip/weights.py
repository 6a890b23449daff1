"""Networks in and out of files: model directories, and published checkpoints wherever a directory is expected."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from viseme.core.checkpoint import announce, find_record, identify, load_model_dir, save_model_dir
from viseme.core.errors import CheckpointError
from viseme.wav2lip.published import KINDS, RECORDS, Published, build_model, read_checkpoint

__all__ = ["Loaded", "convert_file", "load_network", "save_network"]


@dataclass(frozen=True, eq=False)
class Loaded:
    """A network from a file.

    Attributes:
        model: in evaluation mode, on the CPU.
        kind: see `published.KINDS`.
        settings: what training or conversion noted (`audio_offset_frames`, `synthetic`, ...).
        sha256: of the weights' file.
    """

    model: nn.Module
    kind: str
    settings: dict[str, Any]
    sha256: str


def save_network(
    directory: str | Path, kind: str, model: nn.Module, *, settings: dict[str, Any] | None = None, card: str = ""
) -> Path:
    """Write a model directory that `load_network` reads."""
    config = getattr(model, "config", None)
    content = {
        "package": "wav2lip",
        "kind": kind,
        "model": config.to_dict() if config is not None else {},
        "settings": dict(settings or {}),
    }
    return save_model_dir(directory, content, model.state_dict(), card=card)


def load_network(path: str | Path, kind: str) -> Loaded:
    """A network of that kind from a model directory, or from a published checkpoint file.

    Raises:
        CheckpointError: neither, damaged, or another kind of network.
    """
    path = Path(path)
    if path.is_file():
        published = read_checkpoint(path)
        if (record := identify(path, "wav2lip")) is not None:
            announce(record)
        model, found, settings = published.build(), published.kind, published_settings(published)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    else:
        folder = load_model_dir(path)
        if folder.config.get("package") != "wav2lip" or folder.config.get("kind") not in KINDS:
            raise CheckpointError("not a model of viseme-wav2lip", path=path, got=folder.config.get("package"))
        found, settings = folder.config["kind"], dict(folder.config.get("settings", {}))
        with torch.device("meta"):  # drawing weights that are replaced would take longer than all else here
            model = build_model(found, folder.config["model"])
        if odd := sorted(set(model.state_dict()) ^ set(folder.state)):
            raise CheckpointError(f"{len(odd)} weights are missing or unknown", path=path, got=", ".join(odd[:5]))
        model.load_state_dict(folder.state, assign=True)
        listed = json.loads(folder.file("checksums.json").read_text(encoding="utf-8"))
        digest = str(listed["files"]["model.safetensors"]["sha256"])  # checked when the folder was read
    if found != kind:
        raise CheckpointError(f"this is the {found}, not the {kind}", path=path)
    return Loaded(model.eval(), found, settings, digest)


def published_settings(published: Published) -> dict[str, Any]:
    """How a published network wants to be used: the generator hears a frame's own sound at inference (offset 0)."""
    return {"audio_offset_frames": 0, "published": True} if published.kind == "generator" else {"published": True}


def convert_file(checkpoint: str | Path, directory: str | Path, *, name: str | None = None) -> tuple[Path, str]:
    """A published checkpoint -> a model directory; returns it and the kind of network.

    Args:
        name: of the record to print the licence of and to write into the card; found by checksum where known.

    Raises:
        CheckpointError: not a checkpoint of Wav2Lip's networks, or no such record.
    """
    published = read_checkpoint(checkpoint)
    record = find_record(name) if name else identify(checkpoint, "wav2lip")
    card = f"# {Path(checkpoint).stem}\n\nConverted from a published checkpoint: Wav2Lip's {published.kind}.\n\n"
    if record is not None:
        announce(record)
        card += record.card()
    else:
        known = ", ".join(known.name for known in RECORDS)
        card += f"The file is not one of the known ones by its checksum; if it is ({known}), its licence applies.\n"
    settings = published_settings(published)
    return save_network(directory, published.kind, published.build(), settings=settings, card=card), published.kind
