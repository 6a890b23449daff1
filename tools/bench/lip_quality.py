"""What each of lip sync's clean-ups is worth, on the recording: a figure with it, and a figure without.

The generated face is a stand-in that needs no weights: the frame's own face at 96 pixels, 12 levels too bright; in
silence, the face of half a second later, which still talks. Times are of no interest here.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from tools.bench.preparation import recording
from tools.bench.registry import Work, case

from viseme.core.faces import FaceTracker, choose_track
from viseme.core.media import read_video
from viseme.wav2lip.blend import BlendOptions, blend_face, clip_box, face_mask, seam_gradient
from viseme.wav2lip.boxes import FacePath, box_jitter, face_path, keep_points
from viseme.wav2lip.geometry import smooth_boxes
from viseme.wav2lip.silence import speech_weights

FRAMES, SIZE, CAST = 75, 96, 12.0


@lru_cache(maxsize=1)
def followed() -> tuple[np.ndarray, FacePath, FacePath]:
    """Frames, and the face's path with boxes as they are seen and smoothed."""
    frames = read_video(recording()).frames[:FRAMES]
    tracker = FaceTracker(points=keep_points)
    for frame in frames:
        tracker.update(frame)
    track = choose_track(tracker.tracks, None)
    return frames, face_path(track, len(frames), window=0), face_path(track, len(frames))


Pasted = tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]


def pasted(options: BlendOptions, weight: float = 1.0, later: int = 0) -> list[Pasted]:
    """(result, frame, box) of every fifth frame, with the face of `later` frames on."""
    frames, _, path = followed()
    made = []
    for index in range(0, len(frames) - later, 5):
        box = clip_box(path.boxes[index], frames[index].shape[:2])
        if box is not None and path.seen[index]:
            x1, y1, x2, y2 = box
            face = cv2.resize(frames[index + later][y1:y2, x1:x2], (SIZE, SIZE)).astype(np.float32) + CAST
            whole = blend_face(frames[index], face, box, path.points[index], options, weight)
            made.append((whole, frames[index], box))
    return made


def seam(options: BlendOptions) -> Work:
    def work() -> str:
        return f"step across the box's border {np.mean([seam_gradient(*one) for one in pasted(options)]):.2f} levels"

    return work


@case("wav2lip seam", "mask with a soft edge", runs=1)
def seam_ours() -> Work:
    return seam(BlendOptions())


@case("wav2lip seam", "whole box", "as published", runs=1)
def seam_published() -> Work:
    return seam(BlendOptions(mask=False))


def cast(options: BlendOptions) -> Work:
    """Mean difference of colour where mask and frame meet."""

    def work() -> str:
        _, _, path = followed()
        seen = []
        for number, (made, frame, (x1, y1, x2, y2)) in enumerate(pasted(options)):
            mask = cv2.resize(face_mask(path.points[5 * number], (x1, y1, x2, y2), options), (x2 - x1, y2 - y1))
            change = made[y1:y2, x1:x2].astype(np.float64) - frame[y1:y2, x1:x2]
            seen.append(abs(change[mask > 0.5].mean()))
        return f"colour is {np.mean(seen):.2f} levels off inside the mask"

    return work


@case("wav2lip colour", "matched at the mask's edge", runs=1)
def colour_ours() -> Work:
    return cast(BlendOptions())


@case("wav2lip colour", "as generated", "as published", runs=1)
def colour_published() -> Work:
    return cast(BlendOptions(match_colour=False))


def steadiness(smoothed: np.ndarray, raw: np.ndarray) -> str:
    """Jitter, and by how many frames the smoothed boxes run ahead of those that were seen."""
    middle = raw[8:-8]
    shifts = np.arange(-4, 5)
    errors = [np.abs(smoothed[8 - shift : len(raw) - 8 - shift] - middle).mean() for shift in shifts]
    lag = int(shifts[int(np.argmin(errors))])
    return f"jitter {box_jitter(smoothed):.2f} px a frame squared, {lag:+d} frames ahead"


@case("wav2lip boxes", "centred smoothing of 7", runs=1)
def boxes_ours() -> Work:
    _, raw, smooth = followed()
    return lambda: steadiness(smooth.boxes, raw.boxes)


@case("wav2lip boxes", "mean of this and the next four", "as published", runs=1)
def boxes_published() -> Work:
    _, raw, _ = followed()
    return lambda: steadiness(smooth_boxes(raw.boxes.astype(int)).astype(float), raw.boxes)


@case("wav2lip boxes", "as they are seen", "none", runs=1)
def boxes_raw() -> Work:
    _, raw, _ = followed()
    return lambda: steadiness(raw.boxes, raw.boxes)


def silence(gate: bool) -> Work:
    """How much of the mouth is changed where nobody speaks."""

    def work() -> str:
        weight = float(speech_weights(np.zeros(16000, np.float32), 25, 25.0)[12]) if gate else 1.0
        changes = [
            np.abs(made[y1:y2, x1:x2].astype(np.float64) - frame[y1:y2, x1:x2]).mean()
            for made, frame, (x1, y1, x2, y2) in pasted(BlendOptions(), weight, later=12)
        ]
        return f"the face changes by {np.mean(changes):.2f} levels in silence"

    return work


@case("wav2lip silence", "the source's mouth", runs=1)
def silence_ours() -> Work:
    return silence(gate=True)


@case("wav2lip silence", "a generated mouth", "as published", runs=1)
def silence_published() -> Work:
    return silence(gate=False)
