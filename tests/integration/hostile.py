"""Files that run a program when they are read carelessly: the program makes a folder."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import torch

__all__ = ["LAYOUTS", "Evil", "hostile_weights"]

LAYOUTS = ["zip", "plain", "torch", "legacy"]


class Evil:
    """Unpickling it makes a folder."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.flag),)


def hostile_weights(root: Path, layout: str) -> tuple[Path, Path]:
    """A checkpoint that runs a program when it is unpickled, and the folder that tells."""
    flag, path = root / "ran", root / f"{layout}.pth"
    evil = {"state_dict": {"weight": Evil(flag)}}
    if layout == "zip":
        _zip_pickle(path, pickle.dumps(evil, protocol=2))
    elif layout == "plain":
        path.write_bytes(pickle.dumps(evil))
    elif layout == "torch":
        torch.save(evil, path)
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=False)
    return path, flag


def _zip_pickle(path: Path, content: bytes) -> None:
    """As torch.save lays a checkpoint out, with a pickle of ours."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
