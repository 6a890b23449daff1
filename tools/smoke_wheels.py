"""Each wheel, alone with what it declares, in an environment of its own: does it install, import and work?

    python -m tools.smoke_wheels [--wheels dist] [--work .smoke] [NAME ...]

Finds files that were left out of a wheel and dependencies that nobody declared. Works without a network where pip has
been told of local wheels.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CORE = "viseme_core"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.smoke_wheels", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="packages to try, e.g. avsr (default: all)")
    parser.add_argument("--wheels", type=Path, default=REPOSITORY / "dist", help="where the wheels are (default: dist)")
    parser.add_argument("--work", type=Path, default=REPOSITORY / ".smoke", help="where the environments go")
    args = parser.parse_args()
    wheels = {path.name.split("-")[0]: path for path in sorted(args.wheels.glob("viseme_*.whl"))}
    if CORE not in wheels:
        print(f"no wheel of {CORE} in {args.wheels}: run `make wheels` first", file=sys.stderr)
        return 2
    wanted = [f"viseme_{name}" for name in args.names] or list(wheels)
    for name in wanted:
        if name not in wheels:
            print(f"no wheel of {name} in {args.wheels}", file=sys.stderr)
            return 2
    return 0 if all([try_wheel(name, wheels, args.work) for name in wanted]) else 1


def try_wheel(name: str, wheels: dict[str, Path], work: Path) -> bool:
    """Install one wheel (and core's, by path: never a namesake from an index) and run its smoke test."""
    started = time.monotonic()
    environment = work.resolve() / name
    shutil.rmtree(environment, ignore_errors=True)
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    module = name.replace("_", ".")
    script = "viseme" if name == CORE else name.removeprefix("viseme_")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", "constraints.txt"]
    steps = [
        [*install, *dict.fromkeys([wheels[CORE], wheels[name]])],
        [python, "-m", "pip", "check", "--disable-pip-version-check"],
        # Isolated: neither the working folder nor PYTHONPATH may lend the wheel what it lacks.
        [python, "-I", "-m", "viseme.core.testing.smoke", module, script],
    ]
    for step in steps:
        if subprocess.run(step, cwd=REPOSITORY).returncode != 0:
            print(f"FAILED {name}: {' '.join(map(str, step))}", file=sys.stderr)
            return False
    shutil.rmtree(environment, ignore_errors=True)
    print(f"ok  {name} installs alone and works ({time.monotonic() - started:.0f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
