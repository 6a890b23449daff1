"""Choices among the 468 FaceMesh landmarks: the four-point and the 68-point sets of the published mouth crops.

N points. Both index tables are fixed. "Right" and "left" are the person's.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "MESH_RIGHT_EYE",
    "MESH_LEFT_EYE",
    "MESH_NOSE",
    "MESH_MOUTH",
    "MESH_68",
    "landmarks4",
    "landmarks68",
    "mouth_openness",
]

MESH_RIGHT_EYE = (33, 133)
MESH_LEFT_EYE = (362, 263)
MESH_NOSE = 4
MESH_MOUTH = (13, 14, 61, 291)

# fmt: off
MESH_68 = (
    # jaw, from the person's right ear over the chin (0-16)
    127, 234, 93, 132, 58, 172, 136, 150, 152, 379, 365, 397, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107,                                # right brow (17-21)
    336, 296, 334, 293, 300,                             # left brow (22-26)
    168, 197, 5, 4,                                      # nose bridge down to the tip (27-30)
    98, 97, 2, 326, 327,                                 # under the nose (31-35)
    33, 160, 158, 133, 153, 144,                         # right eye (36-41)
    362, 385, 387, 263, 373, 380,                        # left eye (42-47)
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips (48-59)
    78, 82, 13, 312, 308, 317, 14, 87,                   # inner lips (60-67)
)
# fmt: on
"""FaceMesh index of each of the 68 iBUG points."""

_TABLE_68 = np.array(MESH_68)


def landmarks4(mesh: np.ndarray) -> np.ndarray:
    """Right eye, left eye, nose tip and mouth centre, (4, 2) float64, of mesh landmarks (468, 2+)."""
    eyes = [mesh[list(eye), :2].mean(0) for eye in (MESH_RIGHT_EYE, MESH_LEFT_EYE)]
    return np.stack([*eyes, mesh[MESH_NOSE, :2], mesh[list(MESH_MOUTH), :2].mean(0)]).astype(np.float64)


def landmarks68(mesh: np.ndarray) -> np.ndarray:
    """The 68 points of the iBUG annotation, (68, 2) float64, of mesh landmarks (468, 2+)."""
    return mesh[_TABLE_68, :2].astype(np.float64)


def mouth_openness(mesh: np.ndarray) -> float:
    """Distance between the inner lips over the inter-ocular distance."""
    right, left = (mesh[list(eye), :2].mean(0) for eye in (MESH_RIGHT_EYE, MESH_LEFT_EYE))
    return float(np.linalg.norm(mesh[13, :2] - mesh[14, :2]) / np.linalg.norm(right - left))
