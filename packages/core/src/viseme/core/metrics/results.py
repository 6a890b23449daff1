"""Result files: figures never travel without where they come from."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from viseme.core.errors import DataError
from viseme.core.files import write_text_atomic

__all__ = ["Provenance", "collect_provenance", "write_clip_csv", "write_results"]

_PACKAGES = ("viseme-core", "viseme-avsr", "viseme-raven", "viseme-lip2speech", "viseme-im2speech", "viseme-wav2lip")
_LIBRARIES = ("torch", "lightning", "numpy", "av", "opencv-python-headless", "sentencepiece")


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from. Holds no host name, user name or path.

    Attributes:
        synthetic: whether the data are rendered rather than recorded; shown wherever the result is.
        normaliser: name of the text normaliser that references and hypotheses went through.
        data_sha256: of the manifest's content (`Manifest.sha256`).
        model_sha256: of the weights.
        config: what was asked for, as plain values.
        versions: of our packages and the libraries under them that are installed.
        machine: processor, cores, memory in GB, accelerators, system.
        date: UTC, ISO 8601.
    """

    synthetic: bool
    normaliser: str
    data_sha256: str
    model_sha256: str
    config: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    date: str = ""


def collect_provenance(
    *,
    synthetic: bool,
    normaliser: str,
    data_sha256: str,
    model_sha256: str = "",
    config: Mapping[str, Any] | None = None,
) -> Provenance:
    """Provenance with versions, machine and date of now."""
    return Provenance(
        synthetic=synthetic,
        normaliser=normaliser,
        data_sha256=data_sha256,
        model_sha256=model_sha256,
        config=dict(config or {}),
        versions=_versions(),
        machine=_machine(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def write_results(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    provenance: Provenance,
    *,
    chance: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a results file: JSON with `rows` (one mapping per line of the table), `chance` (what no skill would get,
    where known) and `provenance`; all of it or nothing.

    Raises:
        DataError: no rows, or a value that JSON cannot hold (not-a-number included).
    """
    if not rows:
        raise DataError("no results to write", path=path)
    content = {
        "synthetic": provenance.synthetic,
        "rows": [dict(row) for row in rows],
        **({"chance": [dict(row) for row in chance]} if chance else {}),
        "provenance": asdict(provenance),
    }
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError("results that JSON cannot hold", path=path, got=str(error)) from error
    write_text_atomic(path, text + "\n")


def write_clip_csv(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the results of each clip as CSV, columns in the order of their first appearance; all of it or nothing.

    Raises:
        DataError: no rows.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        raise DataError("no clips to write", path=path)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, out.getvalue())


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (*_PACKAGES, *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, Any]:
    accelerators = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gb": _memory_gb(),
        "accelerators": accelerators,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        return platform.processor()
    return platform.processor()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):  # the system does not say
        return None
