"""Reading checkpoints that others published, without running a line of what is in them.

A PyTorch checkpoint is a pickle, and a pickle is a program. Here only `torch.load(weights_only=True)` reads one: its
unpickler knows tensors and plain containers and refuses everything else. What a file really is, is seen from its first
bytes, never from its name.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from viseme.core.errors import CheckpointError

__all__ = ["Inert", "read_arrays_pickle", "read_object", "read_published"]


class Inert:
    """Stands in for a class that a published file pickled: keeps what it was given, does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.args, self.kwargs = args, kwargs
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__.get("state")
        if isinstance(state, dict) and name in state:
            return state[name]
        raise AttributeError(name)


def read_published(
    path: str | Path,
    *,
    unwrap: str | Sequence[str] = (),
    prefix: str = "",
    torchscript: bool = False,
    inert: Iterable[str] = (),
) -> dict[str, Tensor]:
    """The state dict in a published file (`.pth`, `.pt`, `.ckpt`, `.tar`, `.safetensors`), on the CPU.

    Args:
        path: the file; its kind is seen from its content.
        unwrap: where in the file the state dict is, key by key: `"state_dict"`, or `("model", "state_dict")`.
            Nothing is unwrapped unasked.
        prefix: keep the keys that start so, without it (`"model."`, `"module."`).
        torchscript: the file is a TorchScript archive; take its parameters and buffers.
        inert: full names of classes (`"argparse.Namespace"`) that the file may hold; each becomes an `Inert` that
            keeps its data. Nothing of that name is ever imported.

    Raises:
        CheckpointError: no such file, damaged, refused because it holds more than weights, or not a state dict where
            told (the message lists the keys there are).
    """
    path = Path(path)
    keys = (unwrap,) if isinstance(unwrap, str) else tuple(unwrap)
    found = _read_torchscript(path) if torchscript else read_object(path, inert=inert)
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            raise CheckpointError(f"there is no {key!r} in the file", path=path, got=_describe(found))
        found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError("this is not a state dict", path=path, expected="names to tensors", got=_describe(found))
    state = {str(key).removeprefix(prefix): value for key, value in found.items() if str(key).startswith(prefix)}
    if not state:
        raise CheckpointError("there are no weights" + (f" under {prefix!r}" if prefix else ""), path=path)
    return state


def read_object(path: str | Path, *, inert: Iterable[str] = ()) -> Any:
    """Whatever a checkpoint file holds (weights, epochs, hyper-parameters), as plain containers and CPU tensors.

    Raises:
        CheckpointError: no such file, damaged, or refused because it holds more than `inert` allows.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("no such file" if not path.exists() else "not a file", path=path)
    if path.stat().st_size == 0:
        raise CheckpointError("the file is empty", path=path)
    if _is_safetensors(path):
        try:
            return load_file(path)
        except (SafetensorError, ValueError) as error:
            raise CheckpointError(f"damaged safetensors file: {_line(error)}", path=path) from error
    if _is_torchscript(path):
        raise CheckpointError("this is a TorchScript archive", path=path, hint="Ask for it with torchscript=True.")
    stand_ins: list[Any] = [(type(name.rpartition(".")[2], (Inert,), {}), name) for name in inert]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickle protocols: what cannot be read raises anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "refused: the file is damaged, or holds more than weights (a pickle is a program)",
            path=path,
            got=_reason(error),
            hint="Nothing in it was run. If you trust its source, name the harmless classes it needs (inert=...).",
        ) from error
    except (RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"not a readable checkpoint: {_line(error)}", path=path) from error
    except (AssertionError, RecursionError, MemoryError, OverflowError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"damaged checkpoint: {_line(error)}", path=path) from error


def read_arrays_pickle(path: str | Path, *, allow: Iterable[tuple[str, str]] = ()) -> Any:
    """A plain pickle of numbers, strings, containers and numpy arrays, as landmark files are published.

    Args:
        path: the file.
        allow: further `(module, name)` pairs that may be imported; each is a decision to trust that class.

    Raises:
        CheckpointError: no such file, damaged, or it names anything else (nothing was run).
    """
    path = Path(path)
    allowed = _ARRAY_GLOBALS | set(allow)

    class ArraysOnly(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in allowed:
                raise CheckpointError(f"refused: the pickle wants {module}.{name}", path=path)
            return super().find_class(module.replace("numpy.core.", "numpy._core."), name)

    if not path.is_file():
        raise CheckpointError("no such file", path=path)
    try:
        with path.open("rb") as stream:
            return ArraysOnly(stream).load()
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way at all
        raise CheckpointError(f"damaged pickle: {_line(error)}", path=path) from error


_ARRAY_GLOBALS = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"),
        ("_codecs", "encode"),  # how protocol 2 spells the bytes of an array
    }
)


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError("no such file", path=path)
    if not _is_torchscript(path):
        raise CheckpointError("not a TorchScript archive", path=path)
    try:
        module = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"damaged TorchScript archive: {_line(error)}", path=path) from error
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[-1] == "constants.pkl" for name in archive.namelist())
    except Exception:  # a damaged archive fails in many ways; torch.load will say that it is one
        return False


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of header length, then JSON."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _describe(found: object) -> str:
    if not isinstance(found, Mapping):
        return type(found).__name__
    kinds = [f"{key} ({type(value).__name__})" for key, value in list(found.items())[:12]]
    return f"a mapping of {len(found)}: " + ", ".join(kinds) + (", ..." if len(found) > 12 else "")


def _reason(error: BaseException) -> str:
    """What was refused, out of torch's paragraph, without its advice on how to get round that."""
    text = " ".join(str(error).split())
    if match := re.search(r"GLOBAL (\S+) (?:was not an allowed global|whose module)", text):
        return f"a pickled {match[1]}"
    _, mark, rest = text.partition("WeightsUnpickler error: ")
    return (rest if mark else text).split(". ")[0][:200]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
