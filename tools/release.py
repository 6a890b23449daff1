"""Are the built distributions fit to publish?

    python -m tools.release [DIST]

Every package has a wheel and an sdist of the same version, which is core's; the wheel holds every source file, licence
and `py.typed`, and requires core in that very version; nothing licensed, private or huge went along.
"""

from __future__ import annotations

import email
import re
import sys
import tarfile
import zipfile
from pathlib import Path

from viseme.core import __version__

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = re.compile(r"(_units\.txt|\.model|20words_mean_face\.npy|\.pth|\.ckpt|\.mp4|\.pyc|/\.[^/]+)$")
"""Third-party data, weights, recordings, leavings."""
LARGEST_MB = 20


def check(dist: Path) -> list[str]:
    """What is wrong with the distributions of a folder; nothing is the aim."""
    faults = []
    for project in sorted((ROOT / "packages").glob("*/pyproject.toml")):
        name = f"viseme_{project.parent.name}"
        wheel, sdist = dist / f"{name}-{__version__}-py3-none-any.whl", dist / f"{name}-{__version__}.tar.gz"
        for built in (wheel, sdist):
            if not built.is_file():
                faults.append(f"{built.name} was not built (is its version {__version__}?)")
        if wheel.is_file():
            faults += [f"{wheel.name}: {fault}" for fault in check_wheel(wheel, project.parent)]
        if sdist.is_file():
            faults += [f"{sdist.name}: {fault}" for fault in check_sdist(sdist, project.parent)]
    return faults


def check_wheel(wheel: Path, package: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(info))
    source = package / "src"
    files = (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    kept = {path.relative_to(source).as_posix() for path in files}
    faults = [f"lacks {name}" for name in sorted(kept - names)]
    faults += [f"holds {name}" for name in sorted(names) if FORBIDDEN.search(name)]
    faults += [] if any("/licenses/LICENSE" in name for name in names) else ["lacks its licence"]
    faults += [] if f"viseme/{package.name}/py.typed" in names else ["lacks py.typed"]
    faults += ["has __init__.py at the namespace's level"] if "viseme/__init__.py" in names else []
    needs = metadata.get_all("Requires-Dist") or []
    if package.name != "core" and f"viseme-core=={__version__}" not in needs:
        faults.append(f"requires {[n for n in needs if n.startswith('viseme-core')]}, not viseme-core=={__version__}")
    for field in ("Summary", "Requires-Python", "License-Expression", "Description-Content-Type"):
        if not metadata.get(field):
            faults.append(f"its metadata have no {field}")
    if len(str(metadata.get_payload())) < 200:
        faults.append("its README is missing or says nothing")
    return faults + size(wheel)


def check_sdist(sdist: Path, package: Path) -> list[str]:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    faults = [f"holds {name}" for name in names if FORBIDDEN.search(name) and not name.endswith(("/.gitignore",))]
    for wanted in ("pyproject.toml", "README.md", "LICENSE", f"src/viseme/{package.name}/__init__.py"):
        if not any(name.split("/", 1)[-1] == wanted for name in names):
            faults.append(f"lacks {wanted}")
    return faults + size(sdist)


def size(built: Path) -> list[str]:
    megabytes = built.stat().st_size / 1e6
    return [f"has {megabytes:.1f} MB, more than {LARGEST_MB}"] if megabytes > LARGEST_MB else []


def main() -> int:
    dist = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    faults = check(dist)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        for built in sorted(dist.glob("viseme*")):
            print(f"{built.stat().st_size / 1e6:6.2f} MB  {built.name}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
