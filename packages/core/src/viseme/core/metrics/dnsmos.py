"""DNSMOS P.835: how a listener would rate speech, guessed by a network without a reference.

Reddy, Gopal, Cutler, "DNSMOS P.835" (ICASSP 2022). Its weights are not part of this project: `sig_bak_ovr.onnx` of
github.com/microsoft/DNS-Challenge (folder `DNSMOS/DNSMOS`; MIT and CC BY 4.0), downloaded by the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from viseme.core.errors import CheckpointError, DataError, DependencyError

__all__ = ["DNSMOS", "DnsmosScore"]

RATE = 16_000
SAMPLES = 144_160
"""9.01 s: what the network hears at once; shorter speech is repeated, longer heard every second."""

_SIGNAL = (-0.08397278, 1.22083953, 0.0052439)
_BACKGROUND = (-0.13166888, 1.60915514, -0.39604546)
_OVERALL = (-0.06766283, 1.11546468, 0.04602535)


@dataclass(frozen=True)
class DnsmosScore:
    """Mean opinion scores, 1 to 5: of the speech, of the background (5: none heard), and of both together."""

    signal: float
    background: float
    overall: float


class DNSMOS:
    """The published network.

    Args:
        path: `sig_bak_ovr.onnx`.

    Raises:
        CheckpointError: no such file, or another network.
        DependencyError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise DependencyError("DNSMOS needs onnxruntime", hint="pip install 'viseme-core[export]'") from error
        wanted = "sig_bak_ovr.onnx of github.com/microsoft/DNS-Challenge, DNSMOS/DNSMOS"
        if not Path(path).is_file():
            raise CheckpointError("no weights of DNSMOS", path=path, expected=wanted, hint="Download it once.")
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no exception of its own that its versions share
            raise CheckpointError("cannot be read", path=path, expected=wanted, got=type(error).__name__) from error
        inputs = [(given.name, list(given.shape)[1:]) for given in self._session.get_inputs()]
        if inputs != [("input_1", [SAMPLES])]:
            raise CheckpointError("not this network", path=path, expected=wanted, got=inputs)

    def __call__(self, samples: np.ndarray) -> DnsmosScore:
        """The scores of speech (S,) at 16 kHz in [-1, 1]: the mean over its windows.

        Raises:
            DataError: no samples.
        """
        if not len(samples):
            raise DataError("there is no sound to score")
        x = np.tile(np.asarray(samples, np.float32), _doublings(len(samples)))
        starts = range(0, int(len(x) // RATE - SAMPLES / RATE) * RATE + 1, RATE)
        raw = np.stack([self._session.run(None, {"input_1": x[None, s : s + SAMPLES]})[0][0] for s in starts])
        fitted = [np.polyval(curve, raw[:, i]).mean() for i, curve in enumerate((_SIGNAL, _BACKGROUND, _OVERALL))]
        return DnsmosScore(*(float(value) for value in fitted))


def _doublings(length: int) -> int:
    """How often speech is repeated: doubled, as published, until it is long enough."""
    times = 1
    while length * times < SAMPLES:
        times *= 2
    return times
