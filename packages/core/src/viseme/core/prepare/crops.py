"""The crops that the packages train on, all cut in one pass over a clip's frames.

mouth    `mouth/<id>.mp4`    for avsr and lip2speech: 96x96 on the mean face, by four points or 68 (`variant`)
mouth68  `mouth68/<id>.mp4`  for raven: by 68 points, moved inwards at the border instead of refused
lips     `lips/<id>.mp4`     for lip2speech: upright square around the lips, 112x112, 0.7 of the face (80 of the 160
                             pixels of LRS2's frames); and their centre in every frame, `lips/centres/<id>.txt`
face     `face/<id>/<n>.jpg` for wav2lip: the face's box in every frame n where it is seen, beside `audio.wav`

T frames, N points.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from viseme.core.errors import FaceError, MediaError
from viseme.core.faces import (
    CropVariant,
    MouthCropper,
    find_gaps,
    interpolate_landmarks,
    landmarks4,
    landmarks68,
    mesh_box,
    smooth_landmarks,
    smooth_path,
)
from viseme.core.media import Frame, VideoWriter, warp
from viseme.core.prepare.options import FPS

__all__ = ["FOR", "KEPT_CORNERS", "KEPT_POINTS", "CropMaker", "keep_points", "make_crops"]

FOR: dict[str, tuple[str, ...]] = {
    "avsr": ("mouth",),
    "raven": ("mouth68",),
    "lip2speech": ("mouth", "lips"),
    "wav2lip": ("face",),
}
"""Package -> crops it trains on."""

_CRF, _PRESET = 11, "superfast"
"""Of the crops: hardly to be told from the original, as crops are compressed a second time. As large and as good as
x264's next preset makes them at 10, in two thirds of the time."""

LIPS_PX, LIPS_SHARE = 112, 80 * 1.4 / 160
"""Side of a `lips` crop, and that side over the side of the face: LRS2's frames of 160 pixels are 1.4 faces wide, and
the published crop takes 80 of them (Kim, Hong and Ro, "Lip to Speech Synthesis with Visual Context Attentional GAN",
2021)."""
_FACE_MAX_PX, _JPEG_QUALITY, _SMOOTH_BOXES, _SHORT_GAP = 256, 95, 7, 12

_FOUR, _SIXTY_EIGHT, KEPT_CORNERS = slice(0, 4), slice(4, 72), slice(72, 74)
KEPT_POINTS = 74


def keep_points(mesh: np.ndarray) -> np.ndarray:
    """What the crops need of FaceMesh landmarks (468, 2): the four points, the 68, and the corners of the mesh's
    bounding box, (74, 2) float32: half a kilobyte a frame is what a long video costs in memory."""
    corners = np.stack([mesh[:, :2].min(0), mesh[:, :2].max(0)])
    return np.concatenate([landmarks4(mesh), landmarks68(mesh), corners]).astype(np.float32)


Points = Sequence[np.ndarray | None]


class CropMaker(Protocol):
    """Makes one kind of crop of one clip. Frames are given in order; files are written below `partial` and listed by
    `finish`, as (what was written, where it belongs in the store); the first one is what the manifest names."""

    def add(self, frame: Frame) -> None: ...

    def finish(self) -> list[tuple[Path, str]]: ...

    def abandon(self) -> None: ...


def make_crops(
    kind: str, points: Points, partial: Path, variant: CropVariant, place: Callable[[str, str], str]
) -> CropMaker:
    """The maker of a kind of crop.

    Args:
        kind: one of the above.
        points: (N, 2) per frame, None where there is no face: `keep_points`, or four or 68 landmarks made elsewhere.
        partial: folder to write to.
        variant: of the `mouth` crop.
        place: (folder, suffix) -> where the clip's file belongs in the store.

    Raises:
        FaceError: the landmarks do not suit this crop.
    """
    return _MAKERS[kind](points, partial, variant, place)


def _chosen(points: Points, rows: slice, expected: int, kind: str) -> list[np.ndarray | None]:
    """The rows of kept points that a crop needs, or the given landmarks if they are those."""
    shape = next((p.shape for p in points if p is not None), (0, 2))
    if shape[0] == KEPT_POINTS:
        return [None if p is None else p[rows] for p in points]
    if shape[0] != expected:
        hint = "Leave it out, or let the faces be found here."
        raise FaceError(
            f"these landmarks do not suit the {kind} crop", expected=f"({expected}, 2)", got=shape, hint=hint
        )
    return list(points)


class _Film:
    """Crops of one size as a video."""

    def __init__(self, kind: str, side: int, partial: Path, place: Callable[[str, str], str]) -> None:
        self._path, self._place = partial / f"{kind}.mp4", place(kind, ".mp4")
        self._writer = VideoWriter(self._path, FPS, (side, side), crf=_CRF, preset=_PRESET)
        self._writer.__enter__()
        self._count = 0

    def add(self, frame: Frame) -> None:
        self._writer.write(self._crop(self._count, frame))
        self._count += 1

    def _crop(self, index: int, frame: Frame) -> np.ndarray:
        raise NotImplementedError

    def finish(self) -> list[tuple[Path, str]]:
        self._writer.__exit__(None, None, None)
        return [(self._path, self._place)]

    def abandon(self) -> None:
        error = MediaError("given up")
        self._writer.__exit__(MediaError, error, None)


class _Mouth(_Film):
    def __init__(self, points: Points, partial: Path, variant: CropVariant, place: Callable[[str, str], str]) -> None:
        four = variant == "mediapipe"
        self._cropper = MouthCropper(variant)
        self._align(_chosen(points, _FOUR if four else _SIXTY_EIGHT, 4 if four else 68, "mouth"))
        super().__init__("mouth", self._cropper.size, partial, place)

    def _align(self, landmarks: Points) -> None:
        self._transforms, self._centres = self._cropper.align(landmarks)

    def _crop(self, index: int, frame: Frame) -> np.ndarray:
        return self._cropper.patch(frame, self._transforms[index], self._centres[index])


class _Mouth68(_Mouth):
    """RAVEn's: patches that would leave the aligned face are moved inwards."""

    def __init__(self, points: Points, partial: Path, variant: CropVariant, place: Callable[[str, str], str]) -> None:
        self._cropper = MouthCropper("retinaface", clamp=True)
        self._align(_chosen(points, _SIXTY_EIGHT, 68, "mouth68"))
        _Film.__init__(self, "mouth68", self._cropper.size, partial, place)


class _Lips(_Film):
    def __init__(self, points: Points, partial: Path, variant: CropVariant, place: Callable[[str, str], str]) -> None:
        needed = [
            None if p is None else np.concatenate([p[3:4], p[KEPT_CORNERS]])
            for p in _chosen(points, slice(0, KEPT_POINTS), KEPT_POINTS, "lips")
        ]
        filled = np.stack(interpolate_landmarks(needed))
        smooth = smooth_landmarks(list(filled))
        self._middle = smooth[:, 0]
        self._side = np.maximum(16.0, LIPS_SHARE * (smooth[:, 2] - smooth[:, 1]).mean(1))
        self._centres = np.round(filled[:, 0]).astype(int)
        self._text, self._text_place = partial / "centres.txt", place("lips/centres", ".txt")
        super().__init__("lips", LIPS_PX, partial, place)

    def _crop(self, index: int, frame: Frame) -> np.ndarray:
        side = round(float(self._side[index]))
        corner = np.round(self._middle[index] - side / 2)
        region = warp(frame, np.column_stack([np.eye(2), -corner]), (side, side))
        how = cv2.INTER_AREA if side > LIPS_PX else cv2.INTER_LINEAR
        return cv2.resize(region, (LIPS_PX, LIPS_PX), interpolation=how)

    def finish(self) -> list[tuple[Path, str]]:
        self._text.write_text("/".join(map(str, self._centres.ravel().tolist())), encoding="ascii")
        return [*super().finish(), (self._text, self._text_place)]


class _Faces:
    """Single pictures, as lip sync reads them: frames without the face leave gaps in the numbers."""

    def __init__(self, points: Points, partial: Path, variant: CropVariant, place: Callable[[str, str], str]) -> None:
        kept = _chosen(points, slice(0, KEPT_POINTS), KEPT_POINTS, "face")
        seen = np.array([p is not None for p in kept])
        for start, stop in find_gaps(kept):
            seen[start:stop] = start > 0 and stop < len(kept) and stop - start <= _SHORT_GAP
        boxes = np.stack([mesh_box(p[KEPT_CORNERS]) for p in interpolate_landmarks(kept)])
        edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]))).reshape(-1, 2)
        for start, stop in edges:
            boxes[start:stop] = smooth_path(boxes[start:stop], _SMOOTH_BOXES)
        self._boxes, self._seen = boxes, seen
        self._folder, self._place = partial / "face", place("face", "")
        self._folder.mkdir(parents=True)
        self._count = self._written = 0

    def add(self, frame: Frame) -> None:
        index, self._count = self._count, self._count + 1
        if not self._seen[index]:
            return
        height, width = frame.shape[:2]
        x1, y1, x2, y2 = np.round(self._boxes[index]).astype(int).clip(0, [width, height, width, height])
        if min(x2 - x1, y2 - y1) < 8:
            return
        crop = warp(frame, np.array([[1.0, 0, -x1], [0, 1, -y1]]), (int(x2 - x1), int(y2 - y1)))
        if max(crop.shape[:2]) > _FACE_MAX_PX:
            scale = _FACE_MAX_PX / max(crop.shape[:2])
            crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        if not done:
            raise MediaError("a face crop cannot be encoded", got=crop.shape)
        (self._folder / f"{index}.jpg").write_bytes(data.tobytes())
        self._written += 1

    def finish(self) -> list[tuple[Path, str]]:
        facts = {"crops": self._written, "frames": self._count}
        (self._folder / "crops.json").write_text(json.dumps(facts) + "\n", encoding="ascii")
        return [(self._folder, self._place)]

    def abandon(self) -> None:
        """The folder of half-written files is cleared with everything in it."""


_MAKERS: dict[str, Callable[[Points, Path, CropVariant, Callable[[str, str], str]], CropMaker]] = {
    "mouth": _Mouth,
    "mouth68": _Mouth68,
    "lips": _Lips,
    "face": _Faces,
}
