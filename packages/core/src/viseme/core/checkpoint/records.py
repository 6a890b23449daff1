"""What is known of each published weight: where it comes from, whose it is, and what it claims.

A task package registers its records when its `published` module is imported; a converter finds the record of the file
it was given, prints the licence once, and writes it into the model card.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from viseme.core.errors import CheckpointError

__all__ = ["WeightRecord", "announce", "available_models", "find_record", "identify", "register"]


@dataclass(frozen=True)
class WeightRecord:
    """One published file of weights.

    Args:
        name: unique and readable, e.g. `vsr_trlrs3_base_v2`; the published file's name where that is unique.
        system: the package it belongs to (`avsr`, `raven`, ...).
        source: where its authors publish it (URL).
        licence: the licence of the weights, or what is said of it.
        commercial_ok: whether that licence plainly allows commercial use; False where it is silent.
        paper: the paper to cite.
        file: the published file's name.
        size_bytes: its size, where known.
        md5, sha256: checksums, or the beginning that was published.
        trained_on: the data behind it.
        claims: published figures, e.g. `{"LRS3 WER %": 20.3}`.
    """

    name: str
    system: str
    source: str
    licence: str
    commercial_ok: bool
    paper: str
    file: str = ""
    size_bytes: int | None = None
    md5: str = ""
    sha256: str = ""
    trained_on: str = ""
    claims: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def card(self) -> str:
        """The record as lines of a model card (Markdown)."""
        lines = [
            f"- weights: {self.name}" + (f" (`{self.file}`)" if self.file else ""),
            f"- source: {self.source}",
            f"- licence: {self.licence}",
            f"- commercial use: {'allowed' if self.commercial_ok else 'not plainly allowed'}",
            f"- paper: {self.paper}",
        ]
        if self.trained_on:
            lines.append(f"- trained on: {self.trained_on}")
        lines += [f"- published figure: {metric} {value:g}" for metric, value in self.claims.items()]
        return "\n".join(lines) + "\n"


_records: dict[str, WeightRecord] = {}
_announced: set[str] = set()


def register(records: Iterable[WeightRecord]) -> None:
    """Make records known. Registering the same record again changes nothing.

    Raises:
        ValueError: another record has that name.
    """
    for record in records:
        if _records.setdefault(record.name, record) != record:
            raise ValueError(f"two different records are called {record.name!r}")


def available_models(system: str | None = None, *, commercial_ok: bool = False) -> list[WeightRecord]:
    """The records of a system (or of all), by name; only those that plainly allow commercial use if asked."""
    return [
        record
        for _, record in sorted(_records.items())
        if (system is None or record.system == system) and (record.commercial_ok or not commercial_ok)
    ]


def find_record(name: str) -> WeightRecord:
    """The record of that name.

    Raises:
        CheckpointError: none is known; the message lists those that are.
    """
    if name not in _records:
        raise CheckpointError(f"no published weights are called {name!r}", expected=", ".join(sorted(_records)) or None)
    return _records[name]


def identify(path: str | Path, system: str | None = None) -> WeightRecord | None:
    """The record whose checksum the file has, or None. A file's name decides nothing: published names repeat."""
    known = [record for record in available_models(system) if record.sha256 or record.md5]
    digests = {}
    for kind in {"sha256" for record in known if record.sha256} | {"md5" for record in known if not record.sha256}:
        with Path(path).open("rb") as stream:
            digests[kind] = hashlib.file_digest(stream, kind).hexdigest()
    for record in known:
        wanted = ("sha256", record.sha256) if record.sha256 else ("md5", record.md5)
        if digests[wanted[0]].startswith(wanted[1].lower()):
            return record
    return None


def announce(record: WeightRecord) -> None:
    """Print the licence of published weights to stderr, once per process."""
    if record.name in _announced:
        return
    _announced.add(record.name)
    use = "" if record.commercial_ok else "; commercial use is not plainly allowed"
    print(f"{record.name}: weights of {record.source}, licence: {record.licence}{use}", file=sys.stderr)
