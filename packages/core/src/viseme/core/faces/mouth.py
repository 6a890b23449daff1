"""Mouth crops: each frame's face is laid onto the mean face by a similarity, then a patch around the mouth is cut.

Both published variants (Auto-AVSR): `mediapipe` aligns four points (eyes, nose, mouth centre) against averages of the
mean face; `retinaface` aligns eight of 68 iBUG points that hardly move in speech. T frames, N points, S side of the
patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from viseme.core.errors import FaceError
from viseme.core.faces.mean_face import MEAN_FACE, MEAN_FACE_4, MEAN_FACE_SIZE
from viseme.core.faces.points import landmarks4, landmarks68
from viseme.core.faces.smoothing import SMOOTHING_WINDOW, interpolate_landmarks, smooth_landmarks
from viseme.core.media import Frame, warp

__all__ = ["MouthCropper", "CropVariant", "crop_mouth"]

CropVariant = Literal["mediapipe", "retinaface"]


@dataclass(frozen=True)
class _Scheme:
    points: int
    stable: tuple[int, ...]
    reference: np.ndarray
    mouth: slice


_SLACK = 5.0
"""Pixels that a mouth may lie farther from the middle than half a patch before the clip is refused (published)."""

_STABLE_68 = (28, 33, 36, 39, 42, 45, 48, 54)
_SCHEMES: dict[str, _Scheme] = {
    "mediapipe": _Scheme(4, (0, 1, 2, 3), MEAN_FACE_4, slice(3, 4)),
    "retinaface": _Scheme(68, _STABLE_68, MEAN_FACE[list(_STABLE_68)], slice(48, 68)),
}


class MouthCropper:
    """Cuts the mouth out of every frame.

    Args:
        variant: `mediapipe` (landmarks (4, 2)) or `retinaface` (landmarks (68, 2)).
        size: side of the patch in pixels of the 256-pixel mean face; 96 is published.
        window: frames of the smoothing window.
        clamp: move a patch that would leave the aligned face inwards instead of refusing the clip; RAVEn's rule, where
            Auto-AVSR refuses.
    """

    def __init__(
        self,
        variant: CropVariant = "mediapipe",
        *,
        size: int = 96,
        window: int = SMOOTHING_WINDOW,
        clamp: bool = False,
    ) -> None:
        self._scheme = _SCHEMES[variant]
        self.variant, self.size, self.window, self.clamp = variant, size, window, clamp

    def select(self, mesh: np.ndarray) -> np.ndarray:
        """The points that this variant needs, (N, 2) float64, of FaceMesh landmarks (468, 2)."""
        return landmarks4(mesh) if self.variant == "mediapipe" else landmarks68(mesh)

    def align(self, landmarks: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
        """Where every frame's patch is.

        Args:
            landmarks: (N, 2) per frame, None where no face was found.

        Returns:
            `transforms` (T, 2, 3): similarity from the frame to the 256-pixel mean face; `centres` (T, 2): the mouth's
            centre (x, y) there.

        Raises:
            FaceError: no landmarks at all, a wrong number of points, points that allow no similarity, or a mouth too
                far from the mean face's (unless `clamp`).
        """
        filled = interpolate_landmarks(landmarks)
        if filled[0].shape != (self._scheme.points, 2):
            expected = (self._scheme.points, 2)
            raise FaceError(f"landmarks do not suit the {self.variant} crop", expected=expected, got=filled[0].shape)
        smooth = smooth_landmarks(filled, self.window)
        transforms = np.stack([self._similarity(points, frame) for frame, points in enumerate(smooth)])
        mouth = smooth[:, self._scheme.mouth] @ transforms[:, :, :2].transpose(0, 2, 1) + transforms[:, None, :, 2]
        return transforms, self._centres(mouth.mean(1))

    def _similarity(self, points: np.ndarray, frame: int) -> np.ndarray:
        stable = points[list(self._scheme.stable)]
        transform = cv2.estimateAffinePartial2D(stable, self._scheme.reference, method=cv2.LMEDS)[0]
        if transform is None or not np.isfinite(transform).all():
            raise FaceError(f"the landmarks of frame {frame} cannot be laid onto the mean face (all in one place?)")
        return transform

    def _centres(self, centres: np.ndarray) -> np.ndarray:
        half = self.size / 2
        if self.clamp:
            return centres.clip(half, MEAN_FACE_SIZE - half)
        off = np.abs(centres - MEAN_FACE_SIZE / 2).max(1)
        worst = int(off.argmax())
        if off[worst] > half + _SLACK:
            raise FaceError(
                f"the mouth of frame {worst} is too far from the mean face's",
                expected=f"within {half + _SLACK:g} pixels of the middle of the aligned face",
                got=f"{off[worst]:.0f}",
                hint="The landmarks are wrong there, or the face is turned far away.",
            )
        return centres

    def corners(self, centres: np.ndarray) -> np.ndarray:
        """Top left corners (x, y) of the patches, (T, 2) int, from their centres; halves round to even, as
        published."""
        return np.round(centres - self.size / 2).astype(np.int64)

    def crops(
        self, frames: Iterable[Frame], landmarks: Sequence[np.ndarray | None], *, gray: bool = False
    ) -> Iterator[np.ndarray]:
        """Yields one patch (S, S[, 3]) uint8 per frame, holding one frame at a time.

        Args:
            frames: (H, W, 3) RGB or (H, W) grey uint8, or `Picture`s, as many as there are landmarks.
            landmarks: as for `align`.
            gray: convert to grey before warping, as the published model zoo does.

        Raises:
            FaceError: as `align`, or the numbers of frames and landmarks differ.
        """
        transforms, centres = self.align(landmarks)
        count = 0
        for frame in frames:
            if count < len(transforms):
                yield self.patch(_grey(frame) if gray else frame, transforms[count], centres[count])
            count += 1
        if count != len(transforms):
            raise FaceError("frames and landmarks differ in number", expected=f"{count} (frames)", got=len(transforms))

    def patch(self, frame: Frame, transform: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """The patch (S, S[, 3]) of one frame, with what `align` found for it."""
        # Only the patch is warped, not the whole mean-face picture around it: the same pixels at a seventh of the cost.
        shifted = transform.copy()
        shifted[:, 2] -= self.corners(centre)
        size = (self.size, self.size)
        return warp(frame, shifted, size)


def _grey(frame: Frame) -> np.ndarray:
    colour = frame if isinstance(frame, np.ndarray) else frame.rgb()
    return cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY) if colour.ndim == 3 else colour


def crop_mouth(
    frames: np.ndarray,
    landmarks: Sequence[np.ndarray | None],
    *,
    variant: CropVariant = "mediapipe",
    gray: bool = False,
    size: int = 96,
) -> np.ndarray:
    """Mouth crops of a whole clip: (T, S, S[, 3]) uint8 from frames (T, H, W[, 3]); see `MouthCropper`."""
    return np.stack(list(MouthCropper(variant, size=size).crops(frames, landmarks, gray=gray)))
