"""`avsr live`: a file at the pace of real time, or a webcam, read while it plays; and how late the words came.

One tick is 40 ms: a frame and 640 samples.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from viseme.avsr.live import LiveSession, LiveUnit
from viseme.avsr.model import Modality
from viseme.avsr.pipeline import AVSR
from viseme.avsr.recording import FPS, RATE
from viseme.core.data.transforms import SAMPLES_PER_FRAME
from viseme.core.errors import ConfigError, FaceError, MediaError
from viseme.core.faces import CropVariant, FaceTracker, MouthCropper
from viseme.core.media import probe, stream_frames
from viseme.core.media.decode_audio import stream_audio

__all__ = ["LiveReport", "MouthFollower", "watch"]

SMOOTHING_FRAMES = 7
"""Frames over which a face's shape is averaged; only the past, since the future has not come."""
Tick = tuple[np.ndarray | None, np.ndarray | None]


class MouthFollower:
    """The mouth of the most prominent face, frame by frame: a face that is lost keeps its last place."""

    def __init__(self, variant: CropVariant) -> None:
        self._cropper = MouthCropper(variant)
        self._tracker = FaceTracker(points=self._cropper.select)
        self._recent: deque[np.ndarray] = deque(maxlen=SMOOTHING_FRAMES)
        self.frames = self.missing = 0

    def crop(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) RGB -> (96, 96) grey; all zero until a face has been seen."""
        self._tracker.update(frame)
        seen = [track for track in self._tracker.tracks if track.frames[-1] == self.frames]
        self.frames += 1
        if seen:
            self._recent.append(seen[0].landmarks[-1])
        else:
            self.missing += 1
        if not self._recent:
            return np.zeros((self._cropper.size, self._cropper.size), np.uint8)
        shape = np.mean([points - points.mean(0) for points in self._recent], axis=0)
        points = shape + self._recent[-1].mean(0)
        try:
            return next(iter(self._cropper.crops([frame], [points], gray=True)))
        except FaceError:
            self.missing += 1
            return np.zeros((self._cropper.size, self._cropper.size), np.uint8)


@dataclass(frozen=True)
class LiveReport:
    """How a live reading went.

    Attributes:
        text: what was read.
        units: each with when it was said, and `shown_s`, when it came out, in seconds from the start.
        duration_s: of what was read.
        delay_median_s, delay_90_s: from a unit's frame to its coming out; None where nothing was read.
        busy: share of the time spent computing: below 1 it keeps up.
        faceless: share of the frames without a face.
    """

    text: str
    units: tuple[tuple[LiveUnit, float], ...]
    duration_s: float
    delay_median_s: float | None
    delay_90_s: float | None
    busy: float
    faceless: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        units = [{**asdict(unit), "shown_s": round(shown, 3)} for unit, shown in self.units]
        return {**{key: value for key, value in vars(self).items() if key != "units"}, "units": units}


def watch(
    recogniser: AVSR, source: str, modality: Modality | None = None, *, seconds: float | None = None, show: Any = None
) -> LiveReport:
    """Read a source at the pace of real time.

    Args:
        recogniser: a model trained with chunks.
        source: a file, or `webcam` (`webcam:1` for the second one), which has pictures and no sound.
        modality: what to read from; by default what both model and source have.
        seconds: stop after this.
        show: called with each unit as it comes out.

    Raises:
        MediaError: an unreadable file, no such webcam.
        ConfigError: a model without chunks, or a modality that model or source do not have.
    """
    webcam = source.startswith("webcam") and not Path(source).exists()
    has = {"video"} if webcam else _streams_of(source)
    session = LiveSession(recogniser, modality or _best(recogniser, has, source))
    wanted = {"video", "audio"} if session.modality == "audiovisual" else {session.modality}
    if wanted - has:
        raise MediaError(f"no {' and '.join(sorted(wanted - has))} to read live", path=source)
    ticks = _webcam(source) if webcam else _file(Path(source), wanted)
    follower = MouthFollower(recogniser.inputs.crop)
    start, busy, count = time.monotonic(), 0.0, 0
    shown: list[tuple[LiveUnit, float]] = []

    def put(crops: np.ndarray | None, samples: np.ndarray | None, last: bool = False) -> None:
        for unit in session.push(crops, samples, last=last):
            shown.append((unit, time.monotonic() - start))
            if show is not None:
                show(unit)

    for frame, samples in ticks:
        if not webcam:  # a webcam paces itself
            time.sleep(max(0.0, start + (count + 1) / FPS - time.monotonic()))
        began = time.monotonic()
        put(None if frame is None else follower.crop(frame)[None], samples)
        busy += time.monotonic() - began
        count += 1
        if seconds is not None and count >= seconds * FPS:
            break
    put(None, None, last=True)
    delays = sorted(when - unit.time_s for unit, when in shown)
    elapsed = max(time.monotonic() - start, 1e-9)
    return LiveReport(
        session.text,
        tuple(shown),
        count / FPS,
        round(float(np.median(delays)), 3) if delays else None,
        round(float(np.quantile(delays, 0.9)), 3) if delays else None,
        round(busy / elapsed, 3),
        round(follower.missing / follower.frames, 3) if follower.frames else 0.0,
    )


def _streams_of(source: str) -> set[str]:
    info = probe(source)
    return {name for name, there in (("video", info.has_video), ("audio", info.has_audio)) if there}


def _best(recogniser: AVSR, has: set[str], source: str) -> Modality:
    """The richest reading that both allow."""
    every: tuple[Modality, ...] = ("audiovisual", "video", "audio")
    for modality in every:
        needed = {"video", "audio"} if modality == "audiovisual" else {modality}
        if needed <= has and modality in recogniser.modalities:
            return modality
    raise ConfigError(
        "model and source have nothing in common",
        expected=" or ".join(recogniser.modalities),
        got=f"{source}: {' and '.join(sorted(has))}",
    )


def _file(path: Path, wanted: set[str]) -> Iterator[Tick]:
    """Ticks of a file."""
    frames = stream_frames(path, fps=FPS) if "video" in wanted else None
    sounds = _in_ticks(stream_audio(path, rate=RATE)) if "audio" in wanted else None
    if frames is None:
        assert sounds is not None
        for samples in sounds:
            yield None, samples
        return
    for frame in frames:
        silence = np.zeros(SAMPLES_PER_FRAME, np.float32)
        yield frame, None if sounds is None else next(sounds, silence)


def _in_ticks(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Sound in pieces of one tick; the last one may be shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate((rest, block))
        while len(rest) >= SAMPLES_PER_FRAME:
            yield rest[:SAMPLES_PER_FRAME]
            rest = rest[SAMPLES_PER_FRAME:]
    if len(rest):
        yield np.pad(rest, (0, SAMPLES_PER_FRAME - len(rest)))


def _webcam(source: str) -> Iterator[Tick]:
    """Frames of a webcam at 25 fps: the newest one at each tick."""
    number = source.partition(":")[2] or "0"
    if not number.isdigit():
        raise ConfigError("no such webcam", expected="webcam, webcam:0, webcam:1, ...", got=source)
    camera = cv2.VideoCapture(int(number))
    try:
        if not camera.isOpened():
            raise MediaError("this webcam cannot be opened", path=source)
        start, count = time.monotonic(), 0
        while True:
            there, picture = camera.read()
            if not there:
                return
            while count <= (time.monotonic() - start) * FPS:
                yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), None
                count += 1
    finally:
        camera.release()


def live(args: argparse.Namespace) -> None:
    """Run the verb: words on standard output as they come, how late they were on standard error."""
    from viseme.core.cli import emit

    recogniser = AVSR.from_pretrained(args.model, device=args.device)
    asked = None if args.modality == "auto" else args.modality

    def show(unit: LiveUnit) -> None:
        if not args.json:
            print(unit.text, end="", flush=True)

    report = watch(recogniser, args.source, asked, seconds=args.seconds, show=show)
    if args.json:
        emit([report], as_json=True)
    else:
        print()
    if report.delay_median_s is not None:
        late = f"came {report.delay_median_s:.2f} s late (median; 90 % within {report.delay_90_s:.2f} s)"
        print(f"{len(report.units)} units {late}, {100 * report.busy:.0f} % of the time computing", file=sys.stderr)
    if report.faceless > 0:
        print(f"no face in {100 * report.faceless:.0f} % of the frames", file=sys.stderr)
