"""A hook for face restoration (GFPGAN, CodeFormer, a photographer's own filter): any function of a picture, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from viseme.core.errors import ConfigError

__all__ = ["Enhancer", "enhanced", "load_enhancer"]

Enhancer = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 RGB, the generated face at its size in the frame -> (H', W', 3) uint8 RGB of the same proportions."""


def load_enhancer(name: str) -> Enhancer:
    """The enhancer of a name: `MODULE:FUNCTION`, which is called with each face, or `MODULE:FACTORY=ARGUMENT`, which is
    called once with the argument and returns such a function.

    Raises:
        ConfigError: there is none.
    """
    place, given, argument = name.partition("=")
    module, _, function = place.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        expected = "MODULE:FUNCTION or MODULE:FACTORY=ARGUMENT"
        raise ConfigError("no such enhancer", expected=expected, got=name, hint=str(error)) from error
    return found(argument) if given else found


def enhanced(face_HW3: np.ndarray, enhancer: Enhancer) -> np.ndarray:
    """What the enhancer makes of a face (H, W, 3) float32 in [0, 255], float32 likewise.

    Raises:
        ConfigError: it made something else than a picture.
    """
    made = np.asarray(enhancer(np.rint(face_HW3.clip(0, 255)).astype(np.uint8)))
    if made.ndim != 3 or made.shape[2] != 3 or made.dtype != np.uint8 or not made.size:
        raise ConfigError(
            "the enhancer does not return a picture", expected="(H, W, 3) uint8", got=f"{made.shape} {made.dtype}"
        )
    return made.astype(np.float32)
