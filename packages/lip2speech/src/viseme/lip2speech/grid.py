"""GRID as distributed to what the published systems train on: aligned faces at 25 fps, 16 kHz sound without rumble."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from viseme.core.errors import DataError, VisemeError
from viseme.core.media import VideoWriter, read_audio, stream_frames, write_audio
from viseme.core.types import Audio
from viseme.lip2speech.align import ALIGNED_SIZE, align_frame, highpass, read_grid_landmarks, similarity

__all__ = ["GridReport", "prepare_grid"]

REFERENCE_FRAME = 6


@dataclass
class GridReport:
    """How many clips were made now, were there already, and what failed (clip -> reason)."""

    done: int = 0
    kept: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def prepare_grid(data: str | Path, out: str | Path, landmarks: str | Path, reference: str | Path) -> GridReport:
    """Align every clip; what is there is kept, and one bad clip stops nothing.

    Raises:
        DataError: no clips, or no readable reference.
    """
    frames = read_grid_landmarks(reference)
    if len(frames) <= REFERENCE_FRAME:
        raise DataError(
            "the reference has too few frames", path=reference, expected=REFERENCE_FRAME + 1, got=len(frames)
        )
    clips = sorted(path for ending in ("mpg", "mp4", "avi") for path in Path(data).glob(f"*/video/*.{ending}"))
    if not clips:
        raise DataError("no clips", path=data, expected="<subject>/video/<n>.mpg")
    report = GridReport()
    for path in clips:
        subject, name = path.parts[-3], path.stem
        video, sound = Path(out) / subject / "video" / f"{name}.mp4", Path(out) / subject / "audio" / f"{name}.flac"
        if video.is_file() and sound.is_file():
            report.kept += 1
            continue
        try:
            _align(path, Path(landmarks) / subject / "video" / f"{name}.txt", frames[REFERENCE_FRAME], video, sound)
            report.done += 1
        except VisemeError as error:
            report.failures[f"{subject}/{name}"] = str(error)
    return report


def _align(path: Path, landmarks: Path, onto: np.ndarray, video: Path, sound: Path) -> None:
    points = read_grid_landmarks(landmarks)
    video.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(video, 25.0, (ALIGNED_SIZE, ALIGNED_SIZE), crf=10) as writer:
        for index, frame in enumerate(stream_frames(path, fps=25.0)):
            if index >= len(points):
                raise DataError("fewer landmarks than frames", path=landmarks, got=len(points))
            writer.write(align_frame(frame, similarity(points[index], onto)))
    audio = read_audio(path, rate=16_000)
    write_audio(sound, Audio(highpass(audio.samples, audio.rate).astype(np.float32), audio.rate))
