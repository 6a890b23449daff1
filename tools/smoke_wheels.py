"""Each wheel, alone with what it declares, in an environment of its own: does it install, import and work?

Core's is made first. Every other one begins as a copy of it (of links): core and what it declares is what each of them
would have fetched first, and so torch is laid down once instead of six times.

    python -m tools.smoke_wheels [--wheels dist] [--work .smoke] [NAME ...]

Finds files that were left out of a wheel and dependencies that nobody declared. Works without a network where pip has
been told of local wheels.
"""

from __future__ import annotations

import argparse
import os
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
    base = args.work.resolve() / "base"
    shutil.rmtree(base, ignore_errors=True)
    venv.create(base, with_pip=True)
    if not passes("base", [install(base, wheels[CORE])]):
        return 1
    good = all([try_wheel(name, wheels, base) for name in wanted])  # a list: every one is tried
    shutil.rmtree(base)
    return 0 if good else 1


def try_wheel(name: str, wheels: dict[str, Path], base: Path) -> bool:
    """Install one wheel (and core's, by path: never a namesake from an index) and run its smoke test."""
    started = time.monotonic()
    environment = base if name == CORE else base.parent / name
    if name != CORE:
        shutil.rmtree(environment, ignore_errors=True)
        shutil.copytree(base, environment, symlinks=True, copy_function=link)
    module = name.replace("_", ".")
    script = "viseme" if name == CORE else name.removeprefix("viseme_")
    python = interpreter(environment)
    steps = [
        install(environment, wheels[CORE], *([] if name == CORE else [wheels[name]])),
        [python, "-m", "pip", "check", "--disable-pip-version-check"],
        # Isolated: neither the working folder nor PYTHONPATH may lend the wheel what it lacks.
        [python, "-I", "-m", "viseme.core.testing.smoke", module, script],
    ]
    if not passes(name, steps):
        return False
    if name != CORE:
        shutil.rmtree(environment)
    print(f"ok  {name} installs alone and works ({time.monotonic() - started:.0f} s)", flush=True)
    return True


def interpreter(environment: Path) -> Path:
    return environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def install(environment: Path, *wheels: Path) -> list[str | Path]:
    options = ["--quiet", "--disable-pip-version-check", "-c", "constraints.txt"]
    return [interpreter(environment), "-m", "pip", "install", *options, *wheels]


def link(source: str, target: str) -> None:
    """A second name for the same file: pip and Python replace files, they never write into one."""
    os.link(source, target, follow_symlinks=False)


def passes(name: str, steps: list[list[str | Path]]) -> bool:
    for step in steps:
        if subprocess.run(step, cwd=REPOSITORY).returncode != 0:
            print(f"FAILED {name}: {' '.join(map(str, step))}", file=sys.stderr)
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
