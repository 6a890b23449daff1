"""Triton kernels for what torch's parts do in several passes over memory. Each module has the name of the loss whose
plain functions define it; `pick` chooses. Kernels run on CUDA, and, under `TRITON_INTERPRET=1`, on CPU tensors (slowly:
for tests). `VISEME_KERNELS=0` turns them off.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from torch import Tensor

__all__ = ["pick", "usable"]

Function = TypeVar("Function", bound=Callable[..., Any])


@cache
def _devices() -> tuple[str, ...]:
    """Types of device that kernels run on here. Triton comes with CUDA builds of torch, or as the extra `kernels`."""
    if os.environ.get("VISEME_KERNELS") == "0" or importlib.util.find_spec("triton") is None:
        return ()
    return ("cuda", "cpu") if os.environ.get("TRITON_INTERPRET") == "1" else ("cuda",)


def usable(x: Tensor) -> bool:
    """Whether kernels run on this tensor's device."""
    return x.device.type in _devices()


def pick(x: Tensor, module: str, plain: Function) -> Function:
    """The function of `plain`'s name, less its leading underscore, in the kernels' module where kernels run on `x`'s
    device; else `plain`."""
    if not usable(x):
        return plain
    chosen: Function = getattr(importlib.import_module(f"{__name__}.{module}"), plain.__name__.lstrip("_"))
    return chosen
