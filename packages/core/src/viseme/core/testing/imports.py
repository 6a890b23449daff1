"""What importing a package costs and drags in, measured in a process of its own that cannot reach a network."""

from __future__ import annotations

import json
import subprocess
import sys

__all__ = ["HEAVY", "check_import"]

HEAVY = (
    "torchvision",
    "torchaudio",
    "timm",
    "fairseq",
    "decord",
    "librosa",
    "gradio",
    "ray",
    "transformers",
    "matplotlib",
    "tensorboard",
    "numba",
    "pandas",
)

_PROBE = """
import json, socket, sys, time
def refuse(*args, **kwargs): raise OSError("no network in this test")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import torch, numpy  # their own seconds are not ours
start = time.perf_counter()
__import__(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def check_import(module: str, *, seconds: float = 2.0, forbidden: tuple[str, ...] = HEAVY, attempts: int = 3) -> None:
    """`module` imports without a network, without any of `forbidden`, and within `seconds` (torch's own apart).

    The best of `attempts` counts: a busy machine must not fail the test.
    """
    best = float("inf")
    for _ in range(attempts):
        run = subprocess.run([sys.executable, "-c", _PROBE, module], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        report = json.loads(run.stdout.splitlines()[-1])
        dragged_in = sorted(set(forbidden) & set(report["modules"]))
        assert not dragged_in, f"import {module} brings in {', '.join(dragged_in)}"
        best = min(best, report["seconds"])
        if best < seconds:
            return
    raise AssertionError(f"import {module} takes {best:.1f} s, expected below {seconds:g} s")
