"""Soak: thousands of short clips, some broken in every way known here, through `viseme prepare` as a user runs it.

    python -m tools.soak [--clips 2000] [--broken 0.02] [--out runs/soak] [--workers N]

The first run is killed outright when half is done, the second goes on, the third has nothing to do. Every good clip
must
come out whole, every broken one must be named with a reason that fits, and the third run must change nothing. Prints a
table; exits with 1 where anything is otherwise.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import VisemeError
from viseme.core.files import write_text_atomic
from viseme.core.media import read_audio, read_video
from viseme.core.testing import clips as media

__all__ = ["BROKEN", "GOOD", "Soak", "portrait"]

SIDE = 160
KILLED_AT = 0.5


def portrait(number: int, side: int) -> np.ndarray:
    """One of the generated faces (side, side, 3); nobody has it."""
    data = (files("viseme.core") / "synthetic" / "identities" / f"{number:02d}.jpg").read_bytes()
    picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def swaying(number: int, count: int, side: int = SIDE) -> np.ndarray:
    """`count` pictures (T, side, side, 3) of a face that sways."""
    face = portrait(number, side)
    return np.stack([np.roll(face, round(4 * np.sin(t / 3)), axis=1) for t in range(count)])


# ---------------------------------------------------------------------------------------------------------------- clips


@dataclass(frozen=True)
class Good:
    """A kind of clip that must come out: how one is written (path, identity), and its frames at 25 a second."""

    suffix: str
    write: Callable[[Path, int], object]
    frames: int


def _plain(count: int = 10, **options: object) -> Callable[[Path, int], object]:
    return lambda path, face: media.write_clip(path, frames=swaying(face, count), **options)  # type: ignore[arg-type]


def _variable(path: Path, face: int) -> object:
    return media.write_clip(path, frames=swaying(face, 10), times_s=list(np.arange(10) * 0.04 + [0, 0.01] * 5))


def _odd(path: Path, face: int) -> object:
    return media.write_clip(path, frames=swaying(face, 10, 154))


def _states_wrong_duration(path: Path, face: int) -> object:
    whole = media.write_clip(path.with_suffix(".whole.mp4"), frames=swaying(face, 10))
    media.state_wrong_duration(whole, path, 6.0)
    return whole.unlink()


GOOD: dict[str, Good] = {
    "plain": Good(".mp4", _plain(), 10),
    "two a tick": Good(".mp4", _plain(20, fps=50), 10),
    "ntsc": Good(".mov", _plain(12, fps=Fraction(30000, 1001)), 10),
    "matroska": Good(".mkv", _plain(), 10),
    "webm": Good(".webm", _plain(video_codec="libvpx", audio_codec="libopus", rate=48000), 10),
    "avi": Good(".avi", _plain(audio_codec="pcm_s16le"), 10),
    "no sound": Good(".mp4", _plain(rate=None), 10),
    "stereo": Good(".mp4", _plain(channels=2, rate=44100), 10),
    "variable rate": Good(".mp4", _variable, 10),
    "odd size": Good(".mp4", _odd, 10),
    "wrong duration": Good(".mp4", _states_wrong_duration, 10),
}


@dataclass(frozen=True)
class Broken:
    """A kind of clip that is damaged: how one is made (path, a good one's bytes), and what is said of it. `salvaged`
    ones are prepared as far as they go and say so in the manifest's `note`."""

    make: Callable[[Path, bytes], object]
    says: str
    salvaged: bool = False


def _noise(count: int, at: int, content: bytes) -> bytes:
    junk = np.random.default_rng(at).integers(0, 256, count, np.uint8).tobytes()
    return content[:at] + junk + content[at + count :]


def _media_data(content: bytes) -> tuple[int, int]:
    """Where an mp4's coded pictures and sound begin and end."""
    begin = content.index(b"mdat")
    return begin + 4, begin - 4 + struct.unpack_from(">I", content, begin - 4)[0]


def _corrupt(share: float, to: float) -> Callable[[Path, bytes], object]:
    def make(path: Path, content: bytes) -> object:
        begin, end = _media_data(content)
        first, last = (begin + int((end - begin) * part) for part in (share, to))
        return path.write_bytes(_noise(last - first, first, content))

    return make


def _long(path: Path) -> bytes:
    """Two seconds, of which enough is left when a part is lost."""
    return media.write_clip(path, frames=swaying(3, 50)).read_bytes()


def _cut_short(path: Path, content: bytes) -> object:
    content = _long(path)
    return path.write_bytes(content[: int(len(content) * 0.7)])


def _corrupt_middle(path: Path, content: bytes) -> object:
    return _corrupt(0.7, 0.75)(path, _long(path))


def _stopped_clock(path: Path, content: bytes) -> object:
    """The header says that its clock does not tick."""
    changed = bytearray(content)
    for box in (b"mvhd", b"mdhd"):
        at = changed.find(box)
        while at >= 0:
            struct.pack_into(">I", changed, at + 4 + 12, 0)
            at = changed.find(box, at + 4)
    return path.write_bytes(bytes(changed))


def _unreadable(path: Path, content: bytes) -> object:
    path.write_bytes(content)
    return path.chmod(0)


def _nobody(path: Path, content: bytes) -> object:
    return media.write_clip(path, frames=np.full((10, SIDE, SIDE, 3), 90, np.uint8))


def _hardly_seen(path: Path, content: bytes) -> object:
    pictures = np.full((20, SIDE, SIDE, 3), 90, np.uint8)
    pictures[:4] = swaying(3, 4)
    return media.write_clip(path, frames=pictures)


def _tiny(path: Path, content: bytes) -> object:
    return media.write_clip(path, frames=np.zeros((5, 2, 2, 3), np.uint8))


NO_MEDIA = "not a readable media file|no video|no frame can be decoded"
BROKEN: dict[str, Broken] = {
    "empty": Broken(lambda path, good: path.write_bytes(b""), "empty"),
    "zeros": Broken(lambda path, good: path.write_bytes(bytes(4000)), NO_MEDIA),
    "noise": Broken(lambda path, good: path.write_bytes(_noise(4000, 0, bytes(4000))), NO_MEDIA),
    "text": Broken(lambda path, good: path.write_text("this is not a film\n" * 40), NO_MEDIA),
    "header only": Broken(lambda path, good: path.write_bytes(good[:200]), NO_MEDIA),
    "no picture": Broken(lambda path, good: media.write_clip(path, frames=None), "no video"),
    "nobody": Broken(_nobody, "no face in any frame"),
    "hardly seen": Broken(_hardly_seen, "too rarely"),
    "two pixels": Broken(_tiny, "no face"),
    "all corrupt": Broken(_corrupt(0.0, 1.0), NO_MEDIA),
    "clock at rest": Broken(_stopped_clock, NO_MEDIA + "|too few pictures"),
    "unreadable": Broken(_unreadable, "Permission denied"),
    "link to nothing": Broken(lambda path, good: path.symlink_to("gone.mp4"), "link that leads nowhere"),
    "folder": Broken(lambda path, good: path.mkdir(), "folder with the name of a recording"),
    "cut short": Broken(_cut_short, "is cut short", salvaged=True),
    "corrupt middle": Broken(_corrupt_middle, "left out", salvaged=True),
}


def _unique(content: bytes, suffix: str, number: int) -> bytes:
    """The clip with bytes of its own at the end, which every reader skips; an mp4 wants them in a box."""
    if suffix not in (".mp4", ".mov"):
        return content
    mark = f"clip {number}".encode()
    return content + struct.pack(">I", 8 + len(mark)) + b"free" + mark


# ----------------------------------------------------------------------------------------------------------------- soak


@dataclass
class Soak:
    """One soak.

    Attributes:
        out: folder for everything.
        clips: how many, broken ones among them.
        broken: their share; at least one of each kind.
        workers: processes of each run.
    """

    out: Path
    clips: int = 2000
    broken: float = 0.02
    workers: int = 2
    problems: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.out / "in"

    @property
    def store(self) -> Path:
        return self.out / "store"

    def run(self) -> dict[str, object]:
        """All of it.

        Returns:
            What happened, in figures; `problems` is empty where all is well.
        """
        shutil.rmtree(self.out, ignore_errors=True)
        self.good, self.bad = self._write()
        self._prepare("killed", kill_at=int(KILLED_AT * self.clips))
        done_before = self._lines()
        self._prepare("resumed")
        repeated = (
            self._lines() - len(self.good) - len(self.bad) + sum(self._by_scan(kind) for kind in self.bad.values())
        )
        self._check()
        before = self._snapshot()
        self._prepare("again")
        if changed := sorted(name for name, mark in self._snapshot().items() if before.get(name) != mark):
            self.problems.append(f"the run with nothing to do changed {', '.join(changed[:5])}")
        return {
            "clips": self.clips,
            "good": len(self.good),
            "broken": len(self.bad),
            "kinds": dict(Counter(self.bad.values())),
            "done_when_killed": done_before,
            "prepared_twice": repeated,
            "seconds": self.seconds,
            "workers": self.workers,
            "problems": self.problems,
        }

    def _write(self) -> tuple[dict[str, Good], dict[str, str]]:
        """Id -> kind of the good clips, and of the broken ones; a good one of each kind and face is encoded once."""
        self.source.mkdir(parents=True)
        rng = np.random.default_rng(0)
        count = max(len(BROKEN), round(self.broken * self.clips))
        broken = {int(n): i for i, n in enumerate(rng.choice(self.clips, count, replace=False))}
        encoded: dict[tuple[str, int], bytes] = {}
        good, bad, names = {}, {}, list(GOOD)
        faces = 1 if self.clips < 500 else 4
        work = self.out / "work"
        work.mkdir()
        for number in range(self.clips):
            name = names[number % len(names)] if number not in broken else "plain"
            kind, face = GOOD[name], 3 + number // len(names) % faces
            if (name, face) not in encoded:
                path = work / f"clip{kind.suffix}"
                kind.write(path, face)
                encoded[name, face] = path.read_bytes()
            content = _unique(encoded[name, face], kind.suffix, number)
            clip = f"{number // 500:02d}/clip{number:05d}"
            path = (self.source / clip).with_suffix(kind.suffix)
            path.parent.mkdir(exist_ok=True)
            if number in broken:
                bad[clip] = list(BROKEN)[broken[number] % len(BROKEN)]
                BROKEN[bad[clip]].make(path, content)
            else:
                good[clip] = kind
                path.write_bytes(content)
        return good, bad

    def _prepare(self, name: str, kill_at: int | None = None) -> None:
        """One run of the command; killed with all its processes once so many clips are done."""
        words = ["prepare", self.source, self.store, "--workers", self.workers, "--crops", "mouth,face"]
        command = [sys.executable, "-m", "viseme.core.cli.viseme", *map(str, words)]
        started = time.monotonic()
        with (self.out / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, preexec_fn=_without_privileges,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            while kill_at is not None and process.poll() is None:
                if self._lines() >= kill_at:
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(0.02)
            code = process.wait()
        self.seconds[name] = round(time.monotonic() - started, 1)
        if kill_at is None and code:
            self.problems.append(f"the run {name!r} ended with {code}: {(self.out / f'{name}.log').read_text()[-500:]}")
        if kill_at is not None and code != -signal.SIGKILL:
            self.problems.append(f"the run to be killed ended by itself with {code}")

    def _lines(self) -> int:
        return sum(file.read_bytes().count(b"\n") for file in (self.store / ".prepare" / "journal").glob("*.jsonl"))

    @staticmethod
    def _by_scan(kind: str) -> bool:
        """Whether the reader of the folder leaves it out, so that preparation never meets it."""
        return kind in ("link to nothing", "folder")

    def _check(self) -> None:
        manifest = Manifest.read(self.store / "manifest.csv")
        rows = {row.id: row for row in manifest}
        reasons: dict[str, str] = {}
        with (self.store / "failures.csv").open(encoding="utf-8", newline="") as lines:
            for line in csv.DictReader(lines):
                reasons[line["id"] or str(Path(line["path"]).with_suffix(""))] = line["reason"]
        for clip, kind in self.good.items():
            if clip not in rows:
                self.problems.append(f"lost: {clip}: {reasons.get(clip, 'and not named')}")
            elif said := self._faults(manifest, rows[clip], kind.frames):
                self.problems.append(f"{clip}: {said}")
        for clip, name in self.bad.items():
            kind = BROKEN[name]
            if clip in rows and not kind.salvaged:
                self.problems.append(f"{name}: {clip} was taken for good")
            elif clip in rows and (said := self._faults(manifest, rows[clip], None)):
                self.problems.append(f"{name}: {clip}: {said}")
            elif clip not in rows and (kind.salvaged or not re.search(kind.says, reasons.get(clip, ""))):
                self.problems.append(f"{name}: {clip}: expected {kind.says!r}, got {reasons.get(clip, 'no word')!r}")
            elif clip in rows and not re.search(kind.says, rows[clip].extra.get("note", "")):
                self.problems.append(f"{name}: {clip}: no fitting note: {rows[clip].extra.get('note', 'none')!r}")
        if unknown := (rows.keys() | reasons.keys()) - self.good.keys() - self.bad.keys():
            self.problems.append(f"clips that were never there: {sorted(unknown)[:5]}")
        if left := list((self.store / ".prepare" / "partial").rglob("*.part*")):
            self.problems.append(f"half-written files: {left[:5]}")
        listed = {row.path for row in manifest} | {row.audio for row in manifest if row.audio}
        stray = {
            path.relative_to(self.store).as_posix()
            for kind in ("mouth", "audio")
            for path in (self.store / kind).rglob("*")
            if path.is_file()
        } - listed
        if stray:
            self.problems.append(f"files of no clip: {sorted(stray)[:5]}")

    @staticmethod
    def _faults(manifest: Manifest, row: ManifestRow, frames: int | None) -> str:
        """What is wrong with a prepared clip: read whole, as a training would."""
        try:
            crops = read_video(manifest.file(row), fps=None).frames
            samples = len(read_audio(manifest.audio_file(row)).samples) if row.samples else 0
        except VisemeError as error:
            return str(error)
        if crops.shape != (row.frames, 96, 96, 3) or (frames is not None and abs(len(crops) - frames) > 1):
            return f"crops of {crops.shape} for {row.frames} frames, expected {frames}"
        if samples != (row.samples or 0) or (samples and samples != 640 * len(crops)):
            return f"{samples} samples for {len(crops)} frames"
        return ""

    def _snapshot(self) -> dict[str, tuple[int, int] | bytes]:
        """Path -> size and time, or the bytes of the lists, which are written anew."""
        found: dict[str, tuple[int, int] | bytes] = {}
        for path in self.store.rglob("*"):
            if path.is_file() and path.name != "lock":
                rewritten = path.suffix in (".csv", ".html", ".txt") or path.name == "contact_sheet.jpg"
                state = path.stat()
                name = path.relative_to(self.store).as_posix()
                found[name] = path.read_bytes() if rewritten else (state.st_size, state.st_mtime_ns)
        return found


def _without_privileges() -> None:
    """Run by root, a file without permissions can be read: drop the capabilities that allow it (Linux)."""
    if os.geteuid() == 0 and sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--broken", type=float, default=0.02, help="share of the clips; at least one of each kind")
    parser.add_argument("--out", type=Path, default=Path("runs/soak"))
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    result = Soak(args.out, args.clips, args.broken, args.workers).run()
    write_text_atomic(args.out / "soak.json", json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return bool(result["problems"])


if __name__ == "__main__":
    sys.exit(main())
