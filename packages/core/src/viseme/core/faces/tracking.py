"""Following faces through a video: detection on a stride, landmarks from frame to frame in between.

The square that FaceMesh looks at comes from the face's last landmarks; the detector looks for new faces and confirms
known ones every `stride` frames, at once when a face is lost, and at every cut. L landmarks per face (468).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from viseme.core.errors import ConfigError, FaceError
from viseme.core.faces.mesh import FaceMesh
from viseme.core.faces.shots import same_shot, still_there, thumbnail
from viseme.core.faces.types import FaceDetector, iou
from viseme.core.faces.yunet import YuNet

__all__ = ["FaceTrack", "FaceTracker", "track_faces", "choose_track"]

_PRESENCE = 0.5
"""Probability of a face below which a track counts as lost."""
_SAME_FACE = 0.3
"""Overlap (IoU) from which a detection belongs to a track."""
_UNCONFIRMED_LIMIT = 4
"""Detection rounds that a track may go without any detection on it; then it has drifted onto something else."""


@dataclass(eq=False)
class FaceTrack:
    """One face over time.

    Attributes:
        frames: indices of the frames where it was seen, ascending.
        boxes: (4,) float32 xyxy per seen frame: bounding box of the landmarks.
        landmarks: per seen frame, (468, 2) float32 in pixels, or whatever `points` made of them.
        scores: probability per seen frame that this is a face; frames between two looks have the lower one.
    """

    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def prominence(self) -> float:
        """Height of the face summed over the frames where it is seen: large and long-lived faces come first."""
        return float(sum(box[3] - box[1] for box in self.boxes))

    def per_frame(self, total: int) -> list[np.ndarray | None]:
        """Landmarks for each of `total` frames, None where the face is not seen."""
        out: list[np.ndarray | None] = [None] * total
        for frame, points in zip(self.frames, self.landmarks):
            out[frame] = points
        return out


@dataclass(eq=False)
class _Live:
    """A track being followed: what it needs to go on."""

    track: FaceTrack
    mesh: np.ndarray
    thumb: np.ndarray
    unconfirmed: int = 0

    @property
    def box(self) -> np.ndarray:
        return self.track.boxes[-1]


class FaceTracker:
    """Give it every frame in order with `update`; `tracks` holds what was found, most prominent first.

    Args:
        stride: frames between detections; 1 detects on every frame.
        mesh_stride: frames between landmarks; frames in between are interpolated linearly.
        max_faces: most faces followed at once; the largest are kept.
        points: what to keep of a frame's (468, 2) landmarks; all of them by default. Long videos need less memory with
            the few points that a crop needs.
    """

    def __init__(
        self,
        detector: FaceDetector | None = None,
        mesh: FaceMesh | None = None,
        *,
        stride: int = 5,
        mesh_stride: int = 1,
        max_faces: int = 4,
        points: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        if stride < 1 or mesh_stride < 1 or max_faces < 1:
            raise ConfigError("strides and the number of faces start at 1", got=(stride, mesh_stride, max_faces))
        self._detect = detector if detector is not None else YuNet()
        self._mesh = mesh if mesh is not None else FaceMesh()
        self.stride, self.mesh_stride, self.max_faces = stride, mesh_stride, max_faces
        self._points = points if points is not None else lambda mesh: mesh
        self._live: list[_Live] = []
        self._lost: list[_Live] = []
        self._all: list[FaceTrack] = []
        self._last_thumb: np.ndarray | None = None
        self._last_detection = 0
        self._count = 0

    @property
    def tracks(self) -> list[FaceTrack]:
        """Tracks so far, most prominent first."""
        return sorted(self._all, key=lambda track: -track.prominence)

    def update(self, frame: np.ndarray) -> None:
        """The next frame (H, W, 3) uint8 RGB."""
        index, self._count = self._count, self._count + 1
        thumb = thumbnail(frame)
        last, self._last_thumb = self._last_thumb, thumb
        cut = last is not None and not same_shot(last, thumb)
        if last is not None and cut:
            self._lose([live for live in self._live if not still_there(last, thumb, live.box, frame)])
        if not cut and self._live and index - self._live[0].track.frames[-1] < self.mesh_stride:
            return  # detection, if due, waits for the next frame with landmarks, which it would cost here as well
        detect = cut or not self._live or index - self._last_detection >= self.stride
        if not self._follow(frame, index, thumb) or detect:
            self._last_detection = index
            self._look(frame, index, thumb)

    def _follow(self, frame: np.ndarray, index: int, thumb: np.ndarray) -> bool:
        """Landmarks of the live tracks in this frame; False if one was lost."""
        lost = []
        for live in self._live:
            landmarks, presence = self._mesh(frame, live.mesh)
            if presence < _PRESENCE or self._doubled(live, landmarks):
                lost.append(live)
            else:
                self._extend(live, index, landmarks, presence, thumb)
        self._lose(lost)
        return not lost

    def _doubled(self, live: _Live, landmarks: np.ndarray) -> bool:
        """Whether a track has slid onto a face that an older track follows."""
        box = _box(landmarks)
        older = self._live[: self._live.index(live)]
        return any(iou(box, other.box) > 0.7 for other in older)

    def _look(self, frame: np.ndarray, index: int, thumb: np.ndarray) -> None:
        """Detection: confirm live tracks, take up lost ones, begin new ones."""
        faces = self._detect(frame)
        for live in list(self._live):
            match = max(faces, key=lambda face: iou(face.box_xyxy, live.box), default=None)
            if match is not None and iou(match.box_xyxy, live.box) >= _SAME_FACE:
                faces.remove(match)
                live.unconfirmed = 0
            else:
                live.unconfirmed += 1
        self._lose([live for live in self._live if live.unconfirmed >= _UNCONFIRMED_LIMIT])
        for face in faces[: max(0, self.max_faces - len(self._live))]:
            landmarks, presence = self._mesh(frame, face)
            if presence >= _PRESENCE and not any(iou(_box(landmarks), live.box) > _SAME_FACE for live in self._live):
                self._extend(self._take_up(_box(landmarks), thumb), index, landmarks, presence, thumb)

    def _take_up(self, box: np.ndarray, thumb: np.ndarray) -> _Live:
        """A lost track that comes back where it was, in the same shot; else a new one. After a cut nothing is taken up,
        unless the picture cuts back to where the track was (or was only blank for a moment)."""
        near = [live for live in self._lost if same_shot(live.thumb, thumb) and _near(live.box, box)]
        if near:
            live = max(near, key=lambda live: live.track.frames[-1])
            self._lost.remove(live)
            live.unconfirmed = 0
        else:
            live = _Live(FaceTrack(), np.empty(0), thumb)
            self._all.append(live.track)
        self._live.append(live)
        return live

    def _extend(self, live: _Live, index: int, landmarks: np.ndarray, presence: float, thumb: np.ndarray) -> None:
        track, points, box = live.track, self._points(landmarks), _box(landmarks)
        if track.frames and (skipped := index - track.frames[-1] - 1) and skipped < self.mesh_stride:
            before, start, score = (track.landmarks[-1], track.boxes[-1]), track.frames[-1], track.scores[-1]
            for step in range(1, skipped + 1):
                share = np.float32(step / (skipped + 1))
                track.frames.append(start + step)
                track.landmarks.append(before[0] + share * (points - before[0]))
                track.boxes.append(before[1] + share * (box - before[1]))
                track.scores.append(min(score, presence))
        track.frames.append(index)
        track.landmarks.append(points)
        track.boxes.append(box)
        track.scores.append(presence)
        live.mesh, live.thumb = landmarks, thumb

    def _lose(self, lives: list[_Live]) -> None:
        gone = list(lives)
        self._live = [live for live in self._live if live not in gone]
        self._lost.extend(gone)


def track_faces(
    frames: Iterable[np.ndarray],
    *,
    stride: int = 5,
    mesh_stride: int = 1,
    detector: FaceDetector | None = None,
    mesh: FaceMesh | None = None,
    max_faces: int = 4,
) -> list[FaceTrack]:
    """All faces of a clip's frames (H, W, 3) uint8 RGB, most prominent first; see `FaceTracker`."""
    tracker = FaceTracker(detector, mesh, stride=stride, mesh_stride=mesh_stride, max_faces=max_faces)
    for frame in frames:
        tracker.update(frame)
    return tracker.tracks


def choose_track(tracks: list[FaceTrack], face: int | None = None) -> FaceTrack:
    """The most prominent face (largest and longest seen), or the `face`-th in that order, counted from 1.

    Raises:
        FaceError: no face at all, or fewer than `face`.
    """
    ranked = sorted(tracks, key=lambda track: -track.prominence)
    if not ranked:
        raise FaceError("no face in any frame")
    if face is not None and not 1 <= face <= len(ranked):
        raise FaceError("no such face", expected=f"a face from 1 to {len(ranked)}, most prominent first", got=face)
    return ranked[(face or 1) - 1]


def _box(landmarks: np.ndarray) -> np.ndarray:
    return np.concatenate([landmarks.min(0), landmarks.max(0)])


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a face could have moved from box `a` to box `b` unseen: alike in size, less than its own width away."""
    size_a, size_b = a[2:] - a[:2], b[2:] - b[:2]
    distance = np.abs((a[:2] + a[2:]) - (b[:2] + b[2:])).max() / 2
    return bool(distance < max(size_a.max(), size_b.max()) and 0.5 < size_a[1] / max(1e-6, size_b[1]) < 2.0)
