"""What is measured of a face while a clip is prepared, for the report: size, pose, and how far the lips are apart.

T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from viseme.core.prepare.crops import KEPT_CORNERS, KEPT_POINTS

__all__ = ["LEVELS", "face_columns", "opening_of", "read_opening"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
LEVELS = 50
"""Digits of an opening are this many to one inter-ocular distance."""
_EYES, _INNER_LIPS, _NOSE = (0, 1), (4 + 62, 4 + 66), 2


def face_columns(points: Sequence[np.ndarray | None]) -> dict[str, str]:
    """Columns `face_px`, height of the face in the source, and `turn`, how far the nose lies beside the middle of the
    eyes in inter-ocular distances (0: frontal), medians over the frames; empty for landmarks made elsewhere."""
    seen = [p for p in points if p is not None and len(p) == KEPT_POINTS]
    if not seen:
        return {}
    kept = np.stack(seen)
    height = np.diff(kept[:, KEPT_CORNERS, 1], axis=1)
    eyes = kept[:, list(_EYES)]
    across = eyes[:, 1] - eyes[:, 0]
    length = np.maximum(np.linalg.norm(across, axis=1), 1e-6)
    beside = ((kept[:, _NOSE] - eyes.mean(1)) * across).sum(1) / length**2
    return {"face_px": f"{np.median(height):.0f}", "turn": f"{np.median(beside):.2f}"}


def opening_of(points: Sequence[np.ndarray | None]) -> str:
    """How far the inner lips are apart in every frame, a digit to base 36 each (in fiftieths of the inter-ocular
    distance); `-` where there is no face. Empty for landmarks made elsewhere."""
    if not any(p is not None and len(p) == KEPT_POINTS for p in points):
        return ""
    digits = []
    for p in points:
        if p is None:
            digits.append("-")
            continue
        apart = np.linalg.norm(p[_INNER_LIPS[0]] - p[_INNER_LIPS[1]])
        eyes = max(1e-6, float(np.linalg.norm(p[_EYES[0]] - p[_EYES[1]])))
        digits.append(_DIGITS[min(len(_DIGITS) - 1, round(LEVELS * float(apart) / eyes))])
    return "".join(digits)


def read_opening(text: str) -> np.ndarray:
    """(T,) float64 in inter-ocular distances, NaN where there is no face."""
    return np.array([np.nan if digit == "-" else _DIGITS.index(digit) / LEVELS for digit in text])
