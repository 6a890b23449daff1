"""Tokenizers in model directories: `tokenizer.yaml` names the kind, the normaliser and each file with its SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from omegaconf import OmegaConf

from viseme.core.errors import CheckpointError
from viseme.core.files import write_text_atomic
from viseme.core.text.listed import ListedUnits
from viseme.core.text.tokenizers import CharUnits, SentencePieceUnits, UnitTokenizer, WordUnits

__all__ = ["TOKENIZER_FILE", "load_tokenizer", "save_tokenizer"]

TOKENIZER_FILE = "tokenizer.yaml"
_KINDS: dict[str, type[UnitTokenizer]] = {
    cls.kind: cls for cls in (SentencePieceUnits, CharUnits, WordUnits, ListedUnits)
}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_tokenizer(tokenizer: UnitTokenizer, folder: str | Path) -> None:
    """Write a tokenizer's files, and then `tokenizer.yaml`, into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = tokenizer._write_files(folder)
    record = {
        "kind": tokenizer.kind,
        "normaliser": tokenizer.normaliser,
        "files": {name: _sha256(folder / name) for name in names},
    }
    write_text_atomic(folder / TOKENIZER_FILE, OmegaConf.to_yaml(OmegaConf.create(record)))


def load_tokenizer(folder: str | Path) -> UnitTokenizer:
    """The tokenizer of a model directory.

    Raises:
        CheckpointError: no `tokenizer.yaml`, an unknown kind, or a file that is missing or was altered.
    """
    folder = Path(folder)
    try:
        record = OmegaConf.to_container(OmegaConf.create((folder / TOKENIZER_FILE).read_text(encoding="utf-8")))
    except OSError as error:
        raise CheckpointError("no readable tokenizer in the model directory", path=folder / TOKENIZER_FILE) from error
    except Exception as error:  # OmegaConf lets the YAML parser's own errors through
        raise CheckpointError("not YAML", path=folder / TOKENIZER_FILE, got=str(error)) from error
    if not isinstance(record, dict) or record.get("kind") not in _KINDS or not isinstance(record.get("files"), dict):
        raise CheckpointError(
            "not a tokenizer of ours", path=folder / TOKENIZER_FILE, expected=f"kind: {' | '.join(_KINDS)}", got=record
        )
    for name, checksum in record["files"].items():
        if not (folder / name).is_file():
            raise CheckpointError("the tokenizer names a file that is missing", path=folder / name)
        if _sha256(folder / name) != checksum:
            raise CheckpointError("the file is not the one that was saved (SHA-256 differs)", path=folder / name)
    return _KINDS[record["kind"]]._read_files(folder, str(record.get("normaliser", "none")))
