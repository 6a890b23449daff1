"""What `avsr transcribe` does: files, folders and standard input in; lines, JSON or subtitles out."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from viseme.avsr.language_model import load_language_model
from viseme.avsr.pipeline import AVSR
from viseme.avsr.search import Search
from viseme.avsr.subtitles import to_srt, to_vtt
from viseme.avsr.transcript import Transcript
from viseme.core.cli import emit
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.files import atomic_path, write_text_atomic

__all__ = ["find_media", "loaded", "transcribe_files", "write_features"]

SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".3gp", ".ogv"),
    *(".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".aif", ".aiff"),
}
"""What counts as a recording in a folder; files that are named are tried whatever they are called."""
STDIN = "-"


def loaded(args: argparse.Namespace) -> tuple[AVSR, Search]:
    """The recogniser and the search that the flags of a verb ask for."""
    recogniser = AVSR.from_pretrained(args.model, device=args.device)
    if args.lm:
        recogniser.use_language_model(load_language_model(args.lm))
    names = ("beam", "ctc_weight", "penalty", "lm_weight", "nbest")
    changes: dict[str, Any] = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    return recogniser, replace(recogniser.search, **changes, greedy=args.greedy or recogniser.search.greedy)


def find_media(inputs: list[str]) -> list[Path]:
    """Files as named; of folders, the recordings in them and below, sorted.

    Raises:
        DataError: a folder without any recording.
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if name == STDIN or not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise DataError("no recordings in this folder", path=path, expected="video or sound files")
        found += inside
    return found


def transcribe_files(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code (2 where any file could not be read; the others are read all the same).

    Raises:
        VisemeError: the only file cannot be read, or flags that exclude one another.
    """
    formats = [name for name in ("json", "srt", "vtt") if getattr(args, name)]
    if len(formats) > 1:
        raise ConfigError("one format at a time", got=" and ".join(f"--{name}" for name in formats))
    if args.all_faces and args.face is not None:
        raise ConfigError("--face and --all-faces exclude one another")
    paths = find_media(args.inputs)
    subtitles = {"srt": to_srt, "vtt": to_vtt}.get(formats[0]) if formats else None
    if subtitles and len(paths) > 1 and args.out in (None, "-"):
        raise ConfigError("subtitles of several files need --out FOLDER", got=f"{len(paths)} files")
    recogniser, search = loaded(args)
    run = _Run(recogniser, search, args, alone=len(paths) == 1)
    if not subtitles:
        emit((found for path in paths for found in run.read(path)), out=args.out, as_json=args.json)
    elif len(paths) == 1:
        text = subtitles(run.read(paths[0]))
        emit([text.rstrip("\n")], out=args.out)
    else:
        for path, name in zip(paths, _names(paths, formats[0]), strict=True):
            if found := run.read(path):
                write_text_atomic(Path(args.out) / name, subtitles(found))
    return 2 if run.failed else 0


def write_features(args: argparse.Namespace) -> int:
    """Run `avsr features`; returns the exit code, as `transcribe_files`."""
    recogniser = AVSR.from_pretrained(args.model, device=args.device)
    paths = find_media(args.inputs)
    failed = 0
    for path, name in zip(paths, _names(paths, "npz"), strict=True):
        try:
            with _as_file(path) as file:
                found = recogniser.features(file, args.modality, layer=args.layer, face=args.face)
        except VisemeError as error:
            if len(paths) == 1:
                raise
            failed += 1
            print(f"avsr: {error}", file=sys.stderr)
            continue
        out = Path(args.out) / name
        with atomic_path(out) as temporary:
            np.savez(temporary, **found)
        print(f"{out}: " + ", ".join(f"{key} {value.shape[0]} x {value.shape[1]}" for key, value in found.items()))
    return 2 if failed else 0


class _Run:
    """Reads one file after another; one that cannot be read is named, and the others are read."""

    def __init__(self, recogniser: AVSR, search: Search, args: argparse.Namespace, *, alone: bool) -> None:
        self.recogniser, self.search, self.args, self.alone = recogniser, search, args, alone
        self.failed = 0

    def read(self, path: Path) -> list[Transcript]:
        try:
            with _as_file(path) as file:
                found = self._transcripts(file)
        except VisemeError as error:
            if self.alone:
                raise
            self.failed += 1
            print(f"avsr: {error}", file=sys.stderr)
            return []
        if str(path) == STDIN:
            found = [replace(transcript, name="standard input") for transcript in found]
        if not self.args.json:
            for note in dict.fromkeys(note for transcript in found for note in transcript.notes):
                print(f"{found[0].name}: {note}", file=sys.stderr)
        return found

    def _transcripts(self, file: Path) -> list[Transcript]:
        if self.args.all_faces:
            return self.recogniser.transcribe_speakers(file, self.args.modality, search=self.search)
        return [self.recogniser.transcribe(file, self.args.modality, face=self.args.face, search=self.search)]


@contextmanager
def _as_file(path: Path) -> Iterator[Path]:
    """A file that can be read twice: standard input is kept in one until it has been read."""
    if str(path) != STDIN:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="avsr-") as folder:
        kept = Path(folder) / "standard input"
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield kept


def _names(paths: list[Path], suffix: str) -> list[str]:
    """A name for each file's subtitles; files of one name in several folders get numbers."""
    seen: dict[str, int] = {}
    names = []
    for path in paths:
        count = seen[path.stem] = seen.get(path.stem, 0) + 1
        names.append(f"{path.stem}{f' ({count})' if count > 1 else ''}.{suffix}")
    return names
