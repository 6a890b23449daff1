"""A model directory: everything a pipeline needs to run, in formats that cannot run anything themselves.

    config.yaml        what the model is: plain YAML values
    model.safetensors  its weights
    card.md            what it was trained on, measured results, licence (free text, may be edited)
    checksums.json     format version, size and SHA-256 of every file the model needs
    ...                unit lists, tokenizer files

Written whole into a temporary directory beside the target and renamed, so that a crash never leaves half a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from viseme.core.errors import CheckpointError

__all__ = ["FORMAT", "ModelDir", "load_model_dir", "save_model_dir"]

FORMAT = 1
CONFIG, WEIGHTS, CARD, CHECKSUMS = "config.yaml", "model.safetensors", "card.md", "checksums.json"


@dataclass(frozen=True)
class ModelDir:
    """A loaded model directory: its `config`, its `state` dict, and the `path` where its other files lie."""

    config: dict
    state: dict[str, Tensor]
    path: Path

    def file(self, name: str) -> Path:
        """Path of one of the model's own files.

        Raises:
            CheckpointError: the directory has no such file.
        """
        path = self.path / name
        if not path.is_file():
            raise CheckpointError(f"the model directory has no {name}", path=self.path)
        return path

    @property
    def card(self) -> str:
        """The model card's text, empty where there is none."""
        path = self.path / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def save_model_dir(
    directory: str | Path,
    config: Mapping,
    state: Mapping[str, Tensor],
    *,
    files: Mapping[str, str | bytes | Path] | None = None,
    writers: Iterable[Callable[[Path], object]] = (),
    card: str = "",
) -> Path:
    """Write a model directory, atomically; an older model directory of that name is replaced.

    Args:
        directory: where to. An existing directory that is not a model directory is never replaced.
        config: plain values (str, numbers, bool, None, lists, dicts).
        state: the state dict; tensors that share memory are stored apart.
        files: further files by name: their text, their bytes, or a path to copy from.
        writers: called with the directory being written, e.g. `tokenizer.save`.
        card: text of `card.md`.

    Raises:
        CheckpointError: the target is something else than a model directory, or the config holds other objects.
    """
    target = Path(directory).absolute()
    if target.exists() and not _replaceable(target):
        raise CheckpointError("exists and is not a model directory; it is left as it is", path=target)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        work.chmod(0o755)  # mkdtemp makes it private; a model is shared like any other file
        try:
            text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        except yaml.YAMLError as error:
            raise CheckpointError(f"the config holds more than plain values: {error}", path=target) from error
        (work / CONFIG).write_text(text, encoding="utf-8")
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        save_file(tensors, work / WEIGHTS, metadata={"format": "pt"})
        for name, content in (files or {}).items():
            _write(work / _plain(name, target), content)
        for writer in writers:
            writer(work)
        sums = {
            path.relative_to(work).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(work.rglob("*"))
            if path.is_file()
        }
        _write(work / CARD, card)
        _write(work / CHECKSUMS, json.dumps({"format": FORMAT, "files": sums}, indent=2) + "\n")
        _swap(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def load_model_dir(directory: str | Path) -> ModelDir:
    """Load a model directory onto the CPU, after checking every file it declares.

    Files that the directory does not declare (notes, plots) are ignored.

    Raises:
        CheckpointError: not a model directory, of a newer format, or a file is missing or altered (named).
    """
    path = Path(directory)
    if not path.is_dir():
        raise CheckpointError("no such model directory", path=path, hint="`convert` or `train` makes one.")
    _verify(path)
    try:
        config = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"not plain YAML: {_line(error)}", path=path / CONFIG) from error
    if not isinstance(config, dict):
        raise CheckpointError("not a mapping", path=path / CONFIG, got=type(config).__name__)
    try:
        state = load_file(path / WEIGHTS)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"not a readable safetensors file: {_line(error)}", path=path / WEIGHTS) from error
    return ModelDir(config, state, path)


def _verify(path: Path) -> None:
    """Every declared file is there with its size and checksum; config and weights are declared."""
    listing = path / CHECKSUMS
    if not listing.is_file():
        raise CheckpointError(
            f"not a model directory: it has no {CHECKSUMS}", path=path, hint="`convert` makes one from a checkpoint."
        )
    try:
        declared = json.loads(listing.read_text(encoding="utf-8"))
        version = declared["format"]
        sums = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in declared["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"the list of files is damaged: {_line(error)}", path=listing) from error
    if version != FORMAT:
        raise CheckpointError(
            "model directory of another format", path=path, expected=FORMAT, got=version, hint="Update viseme."
        )
    for name in (CONFIG, WEIGHTS):
        if name not in sums:
            raise CheckpointError(f"{name} is not in the list of files", path=listing)
    for name, (size, digest) in sums.items():
        file = path / _plain(name, listing)
        if not file.is_file():
            raise CheckpointError("the file is missing from the model directory", path=file)
        if file.stat().st_size != size:
            raise CheckpointError(
                "the file was altered", path=file, expected=f"{size} bytes", got=f"{file.stat().st_size} bytes"
            )
        if (found := _sha256(file)) != digest:
            raise CheckpointError(
                "the file was altered", path=file, expected=f"sha256 {digest[:12]}...", got=f"{found[:12]}..."
            )


def _plain(name: str, where: Path) -> PurePosixPath:
    """`name` as a path that stays below the directory."""
    pure = PurePosixPath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
        raise CheckpointError(f"file name {name!r} leads out of the model directory", path=where)
    return pure


def _write(path: Path, content: str | bytes | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _replaceable(target: Path) -> bool:
    return target.is_dir() and ((target / CHECKSUMS).is_file() or not any(target.iterdir()))


def _swap(work: Path, target: Path) -> None:
    """Put `work` in the place of `target`. No directory can be renamed over a full one, so the old one steps aside."""
    if not target.exists():
        os.rename(work, target)  # noqa: PTH104 - the primitive, named as what it is
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    os.rename(target, aside / "old")  # noqa: PTH104
    try:
        os.rename(work, target)  # noqa: PTH104
    except OSError:
        os.rename(aside / "old", target)  # noqa: PTH104
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
