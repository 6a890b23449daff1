"""Following faces through a video: detection on a stride, landmarks from frame to frame in between.

The square that FaceMesh looks at comes from the face's last landmarks; the detector looks for new faces and confirms
known ones every `stride` frames, at once when a face is lost, and at every cut. L landmarks per face (468).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from viseme.core.errors import ConfigError, FaceError
from viseme.core.faces.flow import FaceFlow
from viseme.core.faces.mesh import FaceMesh
from viseme.core.faces.shots import same_shot, still_there, thumbnail
from viseme.core.faces.types import CoarseDetector, Face, FaceDetector, iou
from viseme.core.faces.yunet import YuNet
from viseme.core.media import Frame

__all__ = ["FaceTrack", "FaceTracker", "track_faces", "choose_track"]

_PRESENCE = 0.5
"""Probability of a face below which a track counts as lost."""
_SAME_FACE = 0.3
"""Overlap (IoU) from which a detection belongs to a track."""
_UNCONFIRMED_LIMIT = 4
"""Detection rounds that a track may go without any detection on it; then it has drifted onto something else."""
_FULL_LOOK = 4
"""Every so manieth round of detection looks for faces smaller than the known ones as well."""


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
    flow: FaceFlow | None = None
    shifts: list[np.ndarray] = field(default_factory=list)
    """Displacement since the last landmarks, (2,) in pixels, for every frame since then."""

    @property
    def box(self) -> np.ndarray:
        return self.track.boxes[-1]

    @property
    def expected(self) -> np.ndarray:
        """Where the landmarks should be by now."""
        return self.mesh + np.float32(self.shifts[-1]) if self.shifts else self.mesh


class FaceTracker:
    """Give it every frame in order with `update`; `tracks` holds what was found, most prominent first.

    Args:
        stride: frames between detections; 1 detects on every frame.
        mesh_stride: frames between landmarks; in between the face is followed by optical flow, and its shape is
            interpolated. Detection, where due, waits for the next frame with landmarks.
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
        self._last_detection = self._last_mesh = 0
        self._coarse_looks = 0
        self._count = 0

    @property
    def tracks(self) -> list[FaceTrack]:
        """Tracks so far, most prominent first."""
        for live in self._live:
            self._carry_on(live)
        return sorted(self._all, key=lambda track: -track.prominence)

    def update(self, frame: Frame) -> None:
        """The next frame (H, W, 3) uint8 RGB, or a `Picture` where detector and mesh take it (the default ones do)."""
        index, self._count = self._count, self._count + 1
        thumb = thumbnail(frame)
        last, self._last_thumb = self._last_thumb, thumb
        cut = last is not None and not same_shot(last, thumb)
        changed = [
            live for live in self._live if last is not None and not still_there(last, thumb, live.box, frame, cut=cut)
        ]
        if cut:
            self._lose(changed)
        for live in self._live:
            if live.flow is not None:
                live.shifts.append(live.flow.moved(frame) if not cut else np.zeros(2))
        if not cut and not changed and self._live and index - self._last_mesh < self.mesh_stride:
            return
        self._last_mesh = index
        detect = cut or not self._live or index - self._last_detection >= self.stride
        kept = self._follow(frame, index, thumb)
        if not kept or detect:
            self._last_detection = index
            self._look(frame, index, thumb, coarsely=kept and not cut and bool(self._live))

    def _follow(self, frame: Frame, index: int, thumb: np.ndarray) -> bool:
        """Landmarks of the live tracks in this frame; False if one was lost."""
        lost = []
        for live in self._live:
            landmarks, presence = self._mesh(frame, live.expected)
            if presence < _PRESENCE or self._doubled(live, landmarks):
                live.shifts = live.shifts[:-1]
                lost.append(live)
            else:
                self._extend(live, frame, index, landmarks, presence, thumb)
        self._lose(lost)
        return not lost

    def _doubled(self, live: _Live, landmarks: np.ndarray) -> bool:
        """Whether a track has slid onto a face that an older track follows."""
        box = _box(landmarks)
        older = self._live[: self._live.index(live)]
        return any(iou(box, other.box) > 0.7 for other in older)

    def _look(self, frame: Frame, index: int, thumb: np.ndarray, *, coarsely: bool) -> None:
        """Detection: confirm live tracks, take up lost ones, begin new ones."""
        faces = self._faces(frame, coarsely)
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
                self._extend(self._take_up(_box(landmarks), thumb), frame, index, landmarks, presence, thumb)

    def _faces(self, frame: Frame, coarsely: bool) -> list[Face]:
        """What the detector sees. To confirm known faces it need not look for smaller ones every time."""
        self._coarse_looks = self._coarse_looks + 1 if coarsely else 0
        if isinstance(self._detect, CoarseDetector) and self._coarse_looks % _FULL_LOOK:
            return self._detect.coarsely(frame, min(float(live.box[3] - live.box[1]) for live in self._live))
        return self._detect(frame)  # type: ignore[arg-type]  # see `update`

    def _take_up(self, box: np.ndarray, thumb: np.ndarray) -> _Live:
        """A lost track that comes back where it was, in the same shot; else a new one. After a cut nothing is taken up,
        unless the picture cuts back to where the track was (or was only blank for a moment)."""
        near = [live for live in self._lost if same_shot(live.thumb, thumb) and _near(live.box, box)]
        if near:
            live = max(near, key=lambda live: live.track.frames[-1])
            self._lost.remove(live)
            live.unconfirmed, live.shifts = 0, []
        else:
            live = _Live(FaceTrack(), np.empty(0), thumb)
            self._all.append(live.track)
        self._live.append(live)
        return live

    def _extend(
        self, live: _Live, frame: Frame, index: int, landmarks: np.ndarray, presence: float, thumb: np.ndarray
    ) -> None:
        track, points, box = live.track, self._points(landmarks), _box(landmarks)
        if track.frames and (skipped := index - track.frames[-1] - 1) and skipped < self.mesh_stride:
            before, start, score = (track.landmarks[-1], track.boxes[-1]), track.frames[-1], track.scores[-1]
            whole = live.shifts[-1] if live.shifts else np.zeros(2)
            for step in range(1, skipped + 1):
                share = np.float32(step / (skipped + 1))
                # what flow saw beyond a steady motion, such that both ends fit
                shift = (live.shifts[step - 1] - share * whole if live.shifts else whole).astype(np.float32)
                track.frames.append(start + step)
                track.landmarks.append(before[0] + share * (points - before[0]) + shift)
                track.boxes.append(before[1] + share * (box - before[1]) + np.tile(shift, 2))
                track.scores.append(min(score, presence))
        track.frames.append(index)
        track.landmarks.append(points)
        track.boxes.append(box)
        track.scores.append(presence)
        live.mesh, live.thumb, live.shifts = landmarks, thumb, []
        live.flow = FaceFlow(frame, landmarks) if self.mesh_stride > 1 else None

    def _carry_on(self, live: _Live) -> None:
        """Frames after the last landmarks, as far as flow has followed the face."""
        track = live.track
        points, box, start = track.landmarks[-1], track.boxes[-1], track.frames[-1]
        for step, shift in enumerate(live.shifts, start=1):
            track.frames.append(start + step)
            track.landmarks.append(points + shift.astype(np.float32))
            track.boxes.append(box + np.tile(shift.astype(np.float32), 2))
            track.scores.append(track.scores[-1])
        live.mesh, live.shifts, live.flow = live.expected, [], None

    def _lose(self, lives: list[_Live]) -> None:
        gone = list(lives)
        for live in gone:
            self._carry_on(live)
        self._live = [live for live in self._live if live not in gone]
        self._lost.extend(gone)


def track_faces(
    frames: Iterable[Frame],
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
