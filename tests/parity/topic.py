"""Reads the vectors of the topics whose folders bring an `inputs.py` of their own (recipes by name, weights as steps).

`harness.py` holds what all topics share; here is what this schema adds: `fill_array` inputs, lists of stored arrays,
`{"value": v}`, weights as `keys` + steps, and answers with `reduce` and `scale`.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
import torch

__all__ = ["Check", "inputs", "state"]


@lru_cache(maxsize=8)
def recipes(folder: Path) -> ModuleType:
    return harness.load_module(folder / "inputs.py")


def inputs(system: str, entry: dict) -> dict[str, Any]:
    """All inputs of an entry by name: arrays, lists of arrays, or plain values."""
    return {name: _input(system, entry, spec) for name, spec in entry["inputs"].items()}


def _input(system: str, entry: dict, spec: dict) -> Any:
    folder = harness.folder(system)
    if "value" in spec:
        return spec["value"]
    if "stored" in spec:
        with np.load(folder / spec.get("file", entry["file"])) as arrays:
            names = spec["stored"]
            value = [arrays[name] for name in names] if isinstance(names, list) else arrays[names]
    elif "recipe" in spec:
        arguments = {
            name: _input(system, entry, value) if isinstance(value, dict) and "stored" in value else value
            for name, value in spec["args"].items()
        }
        value = getattr(recipes(folder), spec["recipe"])(**arguments)
    elif "fill" in spec:
        value = harness.fill.fill_input(spec["fill"], tuple(spec["shape"]), spec["low"], spec["high"])
    else:
        value = harness.fill.fill_array(spec["fill_array"], tuple(spec["shape"]))
    return value[harness.inputs.index(spec["slice"])] if "slice" in spec else value


def state(system: str, entry: dict, keys: str) -> dict[str, torch.Tensor]:
    """The weights of one key list of an entry, after its steps."""
    folder = harness.folder(system)
    path = next(p for p in (folder / f"{keys}.keys.json", folder.parent / f"{keys}.keys.json") if p.exists())
    filled = {
        name: harness.fill.fill_array(name, tuple(value["shape"]), value["dtype"])
        for name, value in json.loads(path.read_text(encoding="utf-8")).items()
    }
    for step in entry["weights"][keys]:
        if "rows" in step:
            with np.load(folder / entry["file"]) as arrays:
                filled[step["key"]][slice(*step["rows"])] = arrays[step["stored"]]
            continue
        for name in filled:
            if re.fullmatch(step["match"], name):
                scaled = np.float32(step.get("scale", 1)) * filled[name]
                filled[name] = scaled + np.float32(step.get("offset", 0))
    return {name: torch.from_numpy(np.array(value)) for name, value in filled.items()}


class Check(harness.Comparison):
    """`harness.Comparison` that also reduces and scales answers as their entry says, before comparing."""

    def check(self, name: str, answer: Any) -> None:
        spec = self.entry["arrays"].get(name)
        if spec is None:
            return
        got = answer.detach().cpu().numpy() if hasattr(answer, "detach") else np.asarray(answer)
        if "full" in spec:
            assert list(got.shape) == list(spec["full"]), f"{name}: shape {got.shape}, expected {spec['full']}"
        if "slice" in spec:
            got = got[harness.inputs.index(spec["slice"])]
        if "reduce" in spec:
            got = _reduce(got, spec)
        want = harness.inputs.stored_answer(self.folder, self.entry, name)
        got = got * spec.get("scale", 1)
        if "rows" in spec:
            got, want = got[spec["rows"]], want[spec["rows"]]
        if problem := harness.inputs.disagreement(got, want, {"atol_rest": np.inf, **spec}):
            self.wrong.append(f"{name}: {problem}")
        self.left.discard(name)


def _reduce(x: np.ndarray, spec: dict) -> np.ndarray:
    axes = tuple(spec["axes"]) if "axes" in spec else None
    x = x.astype(np.float64)
    if spec["reduce"] == "rms":
        return np.sqrt((x**2).mean(axes))
    if spec["reduce"] == "absmax":
        return np.abs(x).max(axes, initial=0.0)
    return x.std(axes, ddof=spec.get("ddof", 0)) if spec["reduce"] == "std" else x.mean(axes)
