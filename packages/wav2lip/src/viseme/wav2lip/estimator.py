"""Sync judged by a trained expert, on clips and files as they come: what preparation and `wav2lip score` ask.

    viseme prepare SRC STORE --sync viseme.wav2lip.estimator:expert=MODEL

T frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from viseme.core.errors import DataError, FaceError, MediaError
from viseme.core.faces import FaceTracker, choose_track
from viseme.core.metrics.sync import SyncScore
from viseme.core.types import Clip
from viseme.wav2lip.boxes import face_path, keep_points
from viseme.wav2lip.geometry import cut_box, resize_crop
from viseme.wav2lip.models import SyncExpert
from viseme.wav2lip.scoring import embed_windows, score_clip
from viseme.wav2lip.synthesis import spectrogram
from viseme.wav2lip.weights import load_network

__all__ = ["ExpertScore", "expert"]

SURE = 0.05
"""Lead of the best shift, in distances of unit vectors. A trained expert leads by 0.07 to 0.36 on clips of two seconds
and is right to a frame; an untrained one by 0.001."""
RESOLUTION = 1


@dataclass(frozen=True, eq=False)
class ExpertScore(SyncScore):
    """Scores by an expert: distances of unit vectors, in [0, sqrt 2]."""

    @property
    def sure(self) -> bool:
        """Picture and sound do lie `offset` frames apart: beyond what the expert tells apart, and no accident."""
        return self.lse_c >= SURE and abs(self.offset) > RESOLUTION


def expert(path: str | Path) -> Callable[[Clip], ExpertScore]:
    """The expert of a model directory or published checkpoint, as a judge of clips: the face is found and cropped as
    for its training. Scores are not comparable with those of SyncNet v2.

    Raises:
        CheckpointError: not an expert. Of the judge: MediaError where pictures or sound are missing, FaceError where
        no face is in every frame of half a second, DataError where that is too short.
    """
    model = load_network(path, "expert").model
    assert isinstance(model, SyncExpert)

    def judge(clip: Clip) -> ExpertScore:
        if clip.video is None or clip.audio is None:
            raise MediaError("sync needs pictures and sound", path=clip.name or None)
        faces, first = _faces(clip.video.frames, model.config.image_size)
        samples = clip.audio.samples[round(first / clip.video.fps * clip.audio.rate) :]
        lips, sound = embed_windows(model, faces, spectrogram(torch.from_numpy(samples)), clip.video.fps)
        score = score_clip(lips, sound)
        if score is None:
            raise DataError("too short to judge sync", path=clip.name or None, got=f"{len(faces)} frames")
        return ExpertScore(**vars(score))

    return judge


def _faces(frames: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """The longest stretch of frames with the face, cropped (T, S, S, 3) BGR, and where it begins."""
    tracker = FaceTracker(points=keep_points)
    for frame in frames:
        tracker.update(frame)
    path = face_path(choose_track(tracker.tracks, None), len(frames))
    edges = np.flatnonzero(np.diff(np.concatenate(([False], path.seen, [False])))).reshape(-1, 2)
    if not len(edges):
        raise FaceError("no face to judge sync by")
    start, stop = max(edges, key=lambda edge: edge[1] - edge[0])
    found = [cut_box(frames[index], path.boxes[index], max(frames.shape[1:3])) for index in range(start, stop)]
    crops = [resize_crop(crop[..., ::-1], size) for crop in itertools.takewhile(lambda crop: crop is not None, found)]
    if not crops:
        raise FaceError("the face lies outside the picture")
    return np.stack(crops), int(start)
