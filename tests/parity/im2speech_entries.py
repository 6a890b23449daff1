"""What the im2speech vectors add to `topic`: weights with ties and constants, answers in JSON files, rows of their own
lengths, answers that count only where a margin is wide enough."""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import harness
import numpy as np
import topic
import torch

SYSTEM = "im2speech"

__all__ = ["SYSTEM", "Check", "given", "tensors", "weights"]


def _folder_of(name: str) -> Path:
    """A file of this topic: beside `vectors.json`, else beside our own copy of it."""
    places = (harness.folder(SYSTEM), harness.HERE / SYSTEM)
    return next(place for place in places if (place / name).exists())


@cache
def recipes() -> Any:
    return harness.load_module(_folder_of("inputs.py") / "inputs.py")


@lru_cache(maxsize=1)
def _plain(path: Path) -> dict[str, np.ndarray]:
    """The fill of a key list with its constants and ties, which takes seconds at full size; not to be written to."""
    return recipes().weights(path)


def weights(entry: dict, keys: str) -> dict[str, torch.Tensor]:
    """The weights of one key list after its steps; constants and tied entries included. Not to be written to."""
    name = f"{keys}.keys.json"
    filled = dict(_plain(_folder_of(name) / name))
    for step in entry["weights"][keys]:
        if "stored" in step:
            with np.load(harness.folder(SYSTEM) / entry["file"]) as arrays:
                value = filled[step["key"]].copy()
                value[slice(*step.get("rows", (None,)))] = arrays[step["stored"]]
            filled[step["key"]] = value
            continue
        scale, offset = np.float32(step.get("scale", 1)), np.float32(step.get("offset", 0))
        for key in filled:
            if re.fullmatch(step["match"], key):
                filled[key] = np.asarray(offset + scale * filled[key], dtype="float32")
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in filled.items()}


def pointer(entry: dict, path: str) -> Any:
    """What the entry's JSON file holds under `/a/b/0`."""
    value = json.loads((harness.folder(SYSTEM) / entry["file"]).read_text(encoding="utf-8"))
    for part in path.strip("/").split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def given(entry: dict) -> dict[str, Any]:
    """All inputs of an entry, from its npz or JSON file."""
    if not entry["file"].endswith(".json"):
        return topic.inputs(SYSTEM, entry)
    return {
        name: pointer(entry, spec["stored"]) if "stored" in spec else spec["value"]
        for name, spec in entry["inputs"].items()
    }


def tensors(entry: dict) -> dict[str, torch.Tensor]:
    """The arrays among the inputs of an entry."""
    return {name: torch.from_numpy(value) for name, value in given(entry).items() if isinstance(value, np.ndarray)}


class Check(topic.Check):
    """`topic.Check` with this topic's further fields."""

    def __init__(self, entry: dict) -> None:
        super().__init__(SYSTEM, entry)

    def check(self, name: str, answer: Any) -> None:
        spec = self.entry["arrays"].get(name)
        if spec is None:
            return
        if self.entry["file"].endswith(".json"):
            if problem := harness.inputs.disagreement(answer, pointer(self.entry, spec["stored"]), spec):
                self.wrong.append(f"{name}: {problem}")
            self.left.discard(name)
            return
        if not {"row_lengths", "where"} & set(spec):
            super().check(name, answer)
            return
        got = answer.detach().cpu().numpy() if hasattr(answer, "detach") else np.asarray(answer)
        if "full" in spec:
            assert list(got.shape) == list(spec["full"]), f"{name}: shape {got.shape}, expected {spec['full']}"
        got = got[harness.inputs.index(spec["slice"])] if "slice" in spec else got
        want = harness.inputs.stored_answer(self.folder, self.entry, name)
        counts = np.ones(want.shape, bool)
        for row, length in enumerate(spec.get("row_lengths", [])):
            counts[row, length:] = False
        if "where" in spec:
            with np.load(self.folder / self.entry["file"]) as arrays:
                counts &= arrays[spec["where"]["stored"]].reshape(want.shape) >= spec["where"]["at_least"]
        assert counts.any(), f"{name}: nothing of it counts"
        if got.shape != want.shape:
            self.wrong.append(f"{name}: shape {got.shape}, expected {want.shape}")
        elif problem := harness.inputs.disagreement(got[counts], want[counts], spec):
            self.wrong.append(f"{name}: {problem}")
        self.left.discard(name)
