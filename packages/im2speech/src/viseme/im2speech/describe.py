"""What `im2speech describe` and `im2speech speak` do with files: batches, where results go, bad inputs by name."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from viseme.core.checkpoint import load_model_dir
from viseme.core.cli import emit
from viseme.core.errors import ConfigError, VisemeError
from viseme.core.media import write_audio
from viseme.im2speech.data import read_units
from viseme.im2speech.images import list_images, read_image
from viseme.im2speech.pipeline import Im2Speech, Synthesis
from viseme.im2speech.published import read_unit_file
from viseme.im2speech.tokens import deduplicate

__all__ = ["run", "speak_files"]


def run(args: argparse.Namespace) -> int:
    """`im2speech describe`; returns the exit code."""
    if args.batch < 1:
        raise ConfigError("a batch holds at least one picture", got=args.batch)
    sources = _sources(args.inputs)
    single = len(sources) == 1 and not Path(args.inputs[0]).is_dir()
    model = Im2Speech.from_pretrained(args.model, device=args.device)
    search = model.search if args.beam is None else replace(model.search, beam=args.beam)
    sound_out = None if args.units else _Sound(args.out, single)
    failed = 0

    def results() -> Iterator[Synthesis]:
        nonlocal failed
        for some in _batches(sources, args.batch):
            images: list[np.ndarray] = []
            names: list[str | Path] = []
            for source in some:
                try:
                    images.append(read_image(io.BytesIO(sys.stdin.buffer.read()) if source == "-" else source))
                    names.append(source)
                except VisemeError as error:
                    if single:
                        raise
                    failed += 1
                    print(f"im2speech: {error}", file=sys.stderr)
            labels = ["standard input" if name == "-" else Path(name).name for name in names]
            found = model.describe_batch(images, labels, search=search, sound=not args.units)
            for source, one in zip(names, found, strict=True):
                if sound_out is not None:
                    sound_out.write(source, one)
                if not args.json:
                    for note in one.notes:
                        print(f"{one.name}: {note}", file=sys.stderr)
                yield one

    shown = results() if args.json else _lines(results(), sound_out)
    emit(shown, out=args.out if args.units else None, as_json=args.json)
    return 2 if failed else 0


def _sources(inputs: list[str]) -> list[str | Path]:
    """Pictures, folders opened up, in order."""
    found: list[str | Path] = []
    for name in inputs:
        if name == "-":
            found.append(name)
        elif Path(name).is_dir():
            found += list_images(Path(name))
        else:
            found.append(Path(name))
    return found


def _batches(sources: list[str | Path], size: int) -> Iterator[list[str | Path]]:
    for start in range(0, len(sources), size):
        yield sources[start : start + size]


def _lines(results: Iterator[Synthesis], sound: _Sound | None) -> Iterator[str]:
    for one in results:
        if sound is None:
            yield f"{Path(one.name).stem}|{one}"
        elif one.audio is not None:
            yield f"{sound.last}: {one.audio.duration_s:.2f} s, confidence {one.confidence:.2f}"


class _Sound:
    """Where wave files go: beside the picture, to one file, or into a folder."""

    def __init__(self, out: str | None, single: bool) -> None:
        self.out = None if out in (None, "-") else Path(out)
        self.single = single
        self.last = Path()
        self._taken: set[Path] = set()
        if self.out is not None and not single and self.out.suffix in (".wav", ".flac"):
            raise ConfigError("several pictures need a folder", expected="--out FOLDER", got=self.out)

    def write(self, source: str | Path, result: Synthesis) -> None:
        assert result.audio is not None
        name = "stdin.wav" if source == "-" else f"{Path(source).stem}.wav"
        if self.out is None:
            path = Path(name) if source == "-" else Path(source).with_suffix(".wav")
        elif self.single and self.out.suffix in (".wav", ".flac"):
            path = self.out
        else:
            path = self.out / name
        number = 2
        while path in self._taken:  # pictures of one name from several folders
            path = path.with_name(f"{Path(name).stem}_{number}.wav")
            number += 1
        self._taken.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, result.audio)
        self.last = path


def speak_files(args: argparse.Namespace) -> int:
    """`im2speech speak`; returns the exit code."""
    from viseme.core.types import Audio
    from viseme.im2speech.train import load_vocoder

    folder = load_model_dir(args.model)
    if folder.config.get("part") == "vocoder":
        voice = load_vocoder(args.model)
    else:
        model = Im2Speech.from_pretrained(args.model, device=args.device)
        if model.vocoder is None:
            raise ConfigError("this model has no vocoder", got=args.model)
        voice = model.vocoder
    import torch

    from viseme.core.device import resolve_device

    device = resolve_device(args.device)
    voice.to(device)
    failed = 0
    for name in args.inputs:
        try:
            for stem, units in _units_in(Path(name)):
                if not args.no_durations:
                    units = deduplicate(units)
                if max(units, default=0) >= voice.config.units:
                    raise ConfigError("no such unit", path=name, expected=f"below {voice.config.units}", got=max(units))
                units_U = torch.tensor(units, dtype=torch.long, device=device)
                samples = voice.speak(units_U, durations=not args.no_durations, speaker=args.speaker)
                out = Path(args.out) / f"{stem}.wav"
                out.parent.mkdir(parents=True, exist_ok=True)
                write_audio(out, Audio(samples.cpu().numpy(), voice.config.rate))
                print(out)
        except VisemeError as error:
            if len(args.inputs) == 1:
                raise
            failed += 1
            print(f"im2speech: {error}", file=sys.stderr)
    return 2 if failed else 0


def _units_in(path: Path) -> Iterator[tuple[str, list[int]]]:
    if path.suffix == ".unit":
        yield path.stem, read_unit_file(path)
        return
    for name, units in read_units(path).items():
        yield name, [int(unit) for unit in units]
