"""Scripts in several processes of one machine, as `torchrun` starts them, joined by gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["torchrun", "torchrun_commands"]

PATIENCE_S = 280.0
"""A little less than a test may take, so that what the processes said is shown."""


def torchrun(script: str, folder: Path, *arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run a Python script in several processes of one thread each.

    Args:
        script: its text; written into `folder`.
        arguments: of the script.

    Returns:
        Exit code, and what the processes wrote.
    """
    path = folder / "script.py"
    path.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*command, str(path), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


_COMMANDS = """
import importlib, json, sys
main = importlib.import_module(sys.argv[1]).main
sys.exit(next(filter(None, map(main, json.loads(sys.argv[2]))), 0))
"""


def torchrun_commands(
    module: str, folder: Path, *command_lines: Sequence[str], processes: int = 2
) -> subprocess.CompletedProcess[str]:
    """Command lines one after the other in the same processes, until one fails.

    Args:
        module: whose `main` takes a command line.
    """
    return torchrun(_COMMANDS, folder, module, json.dumps([list(line) for line in command_lines]), processes=processes)
