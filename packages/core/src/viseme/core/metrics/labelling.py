"""Pseudo-labels: transcripts of unlabelled clips by a speech recogniser, as Auto-AVSR makes them of VoxCeleb2 and
AVSpeech (Ma et al., "Auto-AVSR: Audio-Visual Speech Recognition with Automatic Labels", 2023)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from viseme.core.data import Manifest, ManifestRow, read_packed
from viseme.core.data.shards import packed_place
from viseme.core.errors import DataError, VisemeError
from viseme.core.files import write_text_atomic
from viseme.core.media import read_audio
from viseme.core.metrics.recogniser import RATE, Heard, Recogniser, hear
from viseme.core.text import normalise

__all__ = ["LabelReport", "label"]


@dataclass(frozen=True)
class LabelReport:
    """What `label` did.

    Attributes:
        manifest: the clips with transcripts, old and new; its file is `manifest_file`.
        labelled: how many transcripts are new in it, of which `reused` were heard in an earlier run.
        rejected: id -> why it has none (also in `labels_rejected.csv`).
    """

    manifest: Manifest
    manifest_file: Path
    labelled: int
    reused: int
    rejected: dict[str, str]


def label(
    store: str | Path,
    recogniser: Recogniser,
    *,
    out: str | Path | None = None,
    normaliser: str = "auto_avsr",
    languages: Iterable[str] = (),
    min_confidence: float = 0.0,
    relabel: bool = False,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> LabelReport:
    """Transcribe the clips of a prepared store that have no transcript. Resumable: what was heard once is kept.

    Args:
        store: a prepared store, packed or not (its folder).
        recogniser: what hears (`load_recogniser`).
        out: the manifest to write; `manifest_labelled.csv` in the store by default.
        normaliser: of transcripts, by name; the manifest names it in column `text_normaliser`.
        languages: keep only clips in which one of these (two letters) is heard; all by default.
        min_confidence: keep only transcripts of at least this probability a unit.
        relabel: clips that have a transcript as well.
        batch: recordings heard at once.
        progress: called with (clips done, clips in all).

    Raises:
        DataError: not a store, or no clip is left; or a filter needs what this recogniser does not give.
    """
    store = Path(store)
    manifest = Manifest.read(store / "manifest.csv")
    wanted = {language.lower() for language in languages}
    journal = store / ".label" / f"{hashlib.sha256(recogniser.name.encode()).hexdigest()[:16]}.jsonl"
    known = _read(journal)
    todo = [row for row in manifest if relabel or not row.text]
    rejected: dict[str, str] = {}
    reused = sum(row.id in known for row in todo)
    fresh = iter([row for row in todo if row.id not in known])
    done = reused
    while rows := list(islice(fresh, batch)):
        for row, heard in _hear(manifest, rows, recogniser, rejected):
            known[row.id] = heard
            _append(journal, row.id, heard)
        done += len(rows)
        if progress is not None:
            progress(done, len(todo))
    rows, labelled = [], 0
    for row in manifest:
        heard_now = known.get(row.id) if relabel or not row.text else None
        if heard_now is None:
            rows += [row] if row.text and not relabel else []
            continue
        text = normalise(heard_now.text, normaliser)
        if reason := _refusal(heard_now, text, wanted, min_confidence):
            rejected[row.id] = reason
            continue
        labelled += 1
        confidence = "" if heard_now.confidence is None else f"{heard_now.confidence:.3f}"
        said = {"text_by": recogniser.name, "text_confidence": confidence, "text_normaliser": normaliser}
        rows.append(replace(row, text=text, language=heard_now.language or row.language, extra=row.extra | said))
    _write_rejected(store / "labels_rejected.csv", rejected)
    if not rows:
        reason = next(iter(rejected.values()), "there were none")
        raise DataError("no clip has a transcript", path=store / "labels_rejected.csv", got=reason)
    place = Path(out) if out is not None else store / "manifest_labelled.csv"
    found = Manifest(rows, store)
    (found if place.parent.absolute() == store.absolute() else found.with_root(place.parent)).write(place)
    return LabelReport(found, place, labelled, reused, rejected)


def _refusal(heard: Heard, text: str, languages: set[str], min_confidence: float) -> str:
    """Why a transcript is not used; empty if it is."""
    if languages and not heard.language:
        raise DataError("this recogniser does not tell languages apart", hint="Leave the language filter out.")
    if min_confidence > 0 and heard.confidence is None:
        raise DataError("this recogniser gives no confidence", hint="Leave min_confidence out.")
    if languages and heard.language.lower() not in languages:
        return f"language {heard.language}"
    if heard.confidence is not None and heard.confidence < min_confidence:
        return f"confidence {heard.confidence:.3f}"
    return "" if text else "nothing was heard"


def _hear(
    manifest: Manifest, rows: list[ManifestRow], recogniser: Recogniser, rejected: dict[str, str]
) -> Iterator[tuple[ManifestRow, Heard]]:
    """What is heard in clips; one that cannot be read is rejected and stops nothing."""
    readable: list[tuple[ManifestRow, np.ndarray]] = []
    for row in rows:
        try:
            readable.append((row, _samples(manifest, row)))
        except VisemeError as error:
            rejected[row.id] = str(error)
    found = hear(recogniser, [samples for _, samples in readable]) if readable else []
    yield from zip([row for row, _ in readable], found)


def _samples(manifest: Manifest, row: ManifestRow) -> np.ndarray:
    if packed_place(row.path):
        samples = read_packed(manifest.root, row.path, video=False, audio=True, gray=True)[1]
        assert samples is not None
        return samples.astype(np.float32) / 32768
    start_s = row.start_s or 0.0
    return read_audio(manifest.audio_file(row), rate=RATE, start_s=start_s, end_s=row.end_s).samples


def _read(journal: Path) -> dict[str, Heard]:
    known = {}
    for line in journal.read_bytes().split(b"\n") if journal.is_file() else []:
        try:
            fields = json.loads(line)
            clip = str(fields.pop("id"))
            known[clip] = Heard(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # a torn line: heard again
    return known


def _append(journal: Path, clip: str, heard: Heard) -> None:
    journal.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"id": clip, "text": heard.text, "confidence": heard.confidence, "language": heard.language})
    with journal.open("ab") as file:
        torn = file.tell() > 0 and not _ends_line(journal)
        file.write((b"\n" if torn else b"") + line.encode("ascii") + b"\n")


def _ends_line(journal: Path) -> bool:
    with journal.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _write_rejected(path: Path, rejected: dict[str, str]) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    lines = [f"{quoted(name)},{quoted(why)}\n" for name, why in rejected.items()]
    write_text_atomic(path, "id,reason\n" + "".join(lines))
