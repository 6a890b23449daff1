"""What is found out before the generator runs: where the face is in each frame, which frames are shown, when the mouth
speaks. Needs no torch, so that torch can be loaded meanwhile (`command.py`).

T frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from viseme.core.errors import FaceError
from viseme.core.faces import FaceTracker, YuNet, choose_track
from viseme.wav2lip.boxes import FacePath, face_path, keep_points
from viseme.wav2lip.geometry import apply_frame_options
from viseme.wav2lip.options import SyncOptions
from viseme.wav2lip.real_video import limit_resolution, rescaled_size
from viseme.wav2lip.silence import rest_weights
from viseme.wav2lip.sound import RATE, Clock, Sound, open_sound
from viseme.wav2lip.source import Source, open_source, source_index
from viseme.wav2lip.track_cache import TrackCache

__all__ = ["Plan", "Progress", "make_plan", "rest_frame"]

_OPEN = 0.06  # lips further apart than this share of the distance between the eyes are not at rest

Progress = Callable[[Iterable, str, int], Iterable]
"""Wraps an iterable of frames, with a word for it and their number."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything about one face and one sound that needs no generator.

    Attributes:
        source: the frames.
        path: the face in each of the source's frames.
        faces: how many faces there were.
        sound: what is to be spoken.
        index: the source frame of each output frame.
        gate: (T,) weight of the generated mouth in each output frame.
        cut: the sound is longer than the output.
        notes: what a user should know.
    """

    source: Source
    path: FacePath
    faces: int
    sound: Sound
    index: list[int]
    gate: np.ndarray
    cut: bool
    notes: tuple[str, ...]


def make_plan(
    face: str | Path,
    audio: str | Path,
    options: SyncOptions,
    *,
    clock: Clock,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Look at a face and at a sound; see `Wav2Lip.sync` for the arguments and the errors."""
    show = progress or (lambda items, what, count: items)
    source = open_source(face, still_fps=options.fps, static=options.static)
    with clock("sound"):
        sound = open_sound(Path(audio), source.fps)
    if not source.info.image:  # as published, none of these apply to still pictures
        transform: Callable[[np.ndarray], np.ndarray] = partial(
            apply_frame_options, resize_factor=options.resize_factor, rotate=options.rotate, crop=options.crop
        )
        if options.sizes is not None:
            transform = _scaled(next(source.each()), options.sizes)
        source = dataclasses.replace(source, transform=transform)
    wanted = max(1, int(np.ceil(sound.count * source.fps / RATE - 1e-6)))
    source = dataclasses.replace(source, frames=min(source.frames, wanted))
    with clock("tracking"):
        path, faces = _track(source, options, cache, show)
    index = source_index(len(path.seen), wanted, options.loop)
    notes = (*sound.notes, *_notes(source, len(path.seen), faces, wanted, options))
    gate = _gate(sound.power, path, index, source.fps, options)
    return Plan(source, path, faces, sound, index, gate, len(index) < wanted, notes)


def _notes(source: Source, frames: int, faces: int, wanted: int, options: SyncOptions) -> list[str]:
    notes = []
    if faces > 1:
        notes.append(f"{faces} faces: synced number {options.face or 1}, most prominent first")
    if source.info.variable_fps:
        notes.append(f"the video's rate varies; the result has {source.fps:g} frames a second")
    if source.info.hdr:
        notes.append(f"the picture is HDR ({source.info.hdr}); the result is SDR, its brightest parts toned down")
    if source.info.truncated:
        notes.append("the video is cut short: used as far as it goes")
    if wanted - frames > source.fps / 5 and not source.still:
        notes.append(f"the video is shorter than the sound ({options.loop})")
    return notes


def _track(source: Source, options: SyncOptions, cache: str | Path | None, show: Progress) -> tuple[FacePath, int]:
    if options.box is not None:
        return _fixed_path(source, options.box), 1
    kept = TrackCache(cache, source, options) if cache is not None else None
    if kept is not None and (found := kept.read()) is not None:
        return found
    tracker = FaceTracker(points=keep_points)
    total = 0
    for frame in show(source.each(), "looking for the face", source.frames):
        tracker.update(frame)
        total += 1
    tracks = tracker.tracks
    try:
        track = choose_track(tracks, options.face)
    except FaceError as error:
        error.path = source.path
        raise
    found = face_path(track, total, window=options.smooth, max_gap=options.max_gap), len(tracks)
    if kept is not None:
        kept.write(*found)
    return found


def _gate(power_T: np.ndarray, path: FacePath, index: list[int], fps: float, options: SyncOptions) -> np.ndarray:
    """Weight of the generated mouth in each output frame."""
    if not options.silence_gate or options.box is not None:
        return np.ones(len(index))
    speech = rest_weights(power_T, fps)[: len(index)]
    open_lips = np.array([_openness(points) for points in path.points])[index] > _OPEN
    return np.where(open_lips, 1.0, speech)


def _scaled(first: np.ndarray, sizes: tuple[int, int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """What brings frames to the size that the published evaluation on real videos has them at."""
    face_res, min_frame_res, max_frame_res = sizes
    height, width = limit_resolution(*first.shape[:2], max_frame_res)
    faces = YuNet()(cv2.resize(first, (width, height)))
    if faces:
        x1, y1, x2, y2 = (int(value) for value in faces[0].box_xyxy)
        height, width = rescaled_size(height, width, (x1, y1, x2, y2), face_res, min_frame_res)
    return lambda frame: cv2.resize(frame, (width, height))


def _fixed_path(source: Source, box: tuple[int, int, int, int]) -> FacePath:
    y1, y2, x1, x2 = box
    count = sum(1 for _ in source.each())
    boxes = np.tile(np.array([x1, y1, x2, y2], np.float64), (count, 1))
    return FacePath(boxes, np.zeros((count, 68, 2), np.float32), np.ones(count, bool))


def rest_frame(path: FacePath) -> int:
    """The frame in which the mouth is most closed, of those where the face is seen."""
    return int(np.argmin([_openness(points) if seen else np.inf for points, seen in zip(path.points, path.seen)]))


def _openness(points: np.ndarray) -> float:
    """Gap between the inner lips over the distance between the eyes, of 68 points."""
    eyes = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    return float(np.linalg.norm(points[62] - points[66]) / eyes) if eyes > 0 else 0.0
