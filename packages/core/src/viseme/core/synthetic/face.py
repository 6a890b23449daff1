"""A still face that can be moved: displacement fields for mouth, eyelids and head turn over one generated photograph.

Each field says where every point of the face goes per unit of its parameter. Two sets are kept, one without the lower
lip and one without the upper: a mouth is a cut, and a single smooth field could only tear it blurred.

K fields, G grid nodes per side (every second pixel), C canvas side in pixels, L = 20 points around the inner lips.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

__all__ = ["FIELDS", "IDENTITIES", "MARGIN", "Face", "load_face"]

IDENTITIES = 24
FIELDS = ("rest", "open", "spread", "round", "raise", "press", "tuck", "blink", "yaw", "pitch")
"""`rest` (always 1) brings the photograph's mouth to a relaxed, closed one; yaw and pitch take an angle's sine."""

MARGIN = 0.08  # of the frame on each side, so that a moving head uncovers picture rather than border
GRID_STEP = 2
_FRAME_PER_OVAL = 1.55
_JAW_DROP = 0.30  # of the distance between the eyes, at open = 1
_REST_HALF_WIDTH = 0.38  # of the distance between the eyes: a mouth that does not smile

# FaceMesh indices. Lips run from the right corner along the lower lip to the left corner and back along the upper, so
# that entry k of the lower lip and entry 20 - k of the upper face each other.
_OUTER = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
_INNER = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
_OVAL_LEFT = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
_OVAL_RIGHT = [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
_OVAL = [*_OVAL_LEFT, *_OVAL_RIGHT]
_UPPER_LIDS = [161, 160, 159, 158, 157, 388, 387, 386, 385, 384]
_LOWER_LIDS = [163, 144, 145, 153, 154, 390, 373, 374, 380, 381]
_EYE_CORNERS = [33, 133, 362, 263]
_BROWS = [70, 105, 107, 300, 334, 336]
_NOSE = [168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 94]
_PHILTRUM = [164, 393, 167]
_CHEEKS = [205, 425, 50, 280, 207, 427, 187, 411, 117, 346]
_AROUND_MOUTH = [57, 287, 43, 273, 212, 432, 202, 422, 214, 434, 210, 430, 18, 83, 313, 200, 199, 175, 204, 424]
_CHIN = [152, 148, 377, 176, 400, 149, 378]


@dataclass(frozen=True, eq=False)
class Face:
    """An identity in canvas coordinates (pixels, x right, y down).

    Attributes:
        canvas: (C, C, 3) uint8 RGB.
        upper, lower: (K, G, G, 2) float32 displacements in pixels, valid above and below the line between the lips.
        lips: (L, 2) inner lips in the photograph, lower lip first; `lips_fields` (K, L, 2) their displacements.
        across, down: unit vectors of the face.
        mouth: (2,) its centre; `mouth_half_width` and `eye_distance` in pixels.
        brightness: of the skin, 0..1, which teeth and tongue share.
    """

    canvas: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    lips: np.ndarray
    lips_fields: np.ndarray
    across: np.ndarray
    down: np.ndarray
    mouth: np.ndarray
    mouth_half_width: float
    eye_distance: float
    brightness: float


def _smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _displacements(points: np.ndarray, depth: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """What each field does to each of the 468 landmarks: (K, 468, 2) pixels. `depth` (468,) is toward the camera."""
    eyes = float(np.linalg.norm(points[[33, 133]].mean(0) - points[[362, 263]].mean(0)))
    centre = points[_INNER].mean(0)
    half = float(abs((points[308] - points[78]) @ across)) / 2
    u = (points - centre) @ across / half  # -1 and 1 at the corners of the mouth
    v = (points - centre) @ down / eyes

    def mask(indices: list[int]) -> np.ndarray:
        chosen = np.zeros(len(points))
        chosen[indices] = 1
        return chosen

    inner_low, inner_up = mask(_INNER[1:10]), mask(_INNER[11:])
    outer_low, outer_up = mask(_OUTER[1:10]), mask(_OUTER[11:])
    low, up, corners = inner_low + outer_low, inner_up + outer_up, mask([61, 291, 78, 308])
    lips = low + up + corners
    skin = 1 - np.clip(lips, 0, 1)
    lens = np.clip(1 - np.abs(u / 1.02) ** 2.4, 0, 1)
    lens_outer = np.clip(1 - np.abs(u / 1.45) ** 2, 0, 1)
    beside = np.exp(-(((np.abs(u) - 1.2) / 0.9) ** 2)) * np.exp(-((v / 0.35) ** 2)) * skin

    x = dict.fromkeys(FIELDS, np.zeros(len(points)))
    y = dict.fromkeys(FIELDS, np.zeros(len(points)))

    chin = _smoothstep(v, 0.06, 0.42) * np.exp(-((u / 2.6) ** 2)) * skin
    jaw = inner_low * lens + outer_low * (0.12 + 0.88 * lens_outer) + corners * 0.16 + chin * 0.97 - up * 0.05 * lens
    y["open"] = jaw * _JAW_DROP * eyes
    x["open"] = -np.sign(u) * (corners + 0.6 * beside) * 0.05 * eyes

    wide = np.clip(u, -1.3, 1.3) * lips + np.sign(u) * beside * 0.6
    x["spread"] = wide * 0.26 * half
    y["spread"] = (-corners * 0.03 - beside * 0.02 + outer_low * -0.015 + inner_low * 0.02 * lens) * eyes

    x["round"] = -wide * 0.42 * half
    y["round"] = (
        inner_low * 0.03 * lens + outer_low * 0.06 * lens_outer - inner_up * 0.02 * lens - outer_up * 0.045 * lens_outer
        - mask(_PHILTRUM) * 0.02
    ) * eyes  # fmt: skip

    y["raise"] = -(up * (0.085 * lens + 0.015) + mask(_PHILTRUM) * 0.05) * eyes
    y["press"] = (outer_up * 0.05 * lens_outer - outer_low * 0.055 * lens_outer - chin * 0.02) * eyes
    y["tuck"] = -(outer_low * 0.11 * lens_outer + inner_low * 0.01 + chin * 0.04) * eyes

    displacement = np.stack([np.stack([x[f], y[f]], -1) @ np.stack([across, down]) for f in FIELDS])

    rest = displacement[FIELDS.index("rest")]
    for ring, share in ((_INNER, 1.0), (_OUTER, 0.85)):
        for k in range(1, 10):
            gap = points[_INNER[20 - k]] - points[_INNER[k]]  # from lower to upper
            rest[ring[k]] += gap / 2 * share
            rest[ring[20 - k]] -= gap / 2 * share
    smile = max(0.0, half - _REST_HALF_WIDTH * eyes)
    rest -= np.outer(wide * smile * 0.7, across)

    displacement[FIELDS.index("blink"), _UPPER_LIDS] = (points[_LOWER_LIDS] - points[_UPPER_LIDS]) * 0.92
    displacement[FIELDS.index("yaw")] = np.outer(depth, across)
    displacement[FIELDS.index("pitch")] = np.outer(depth, down)
    return displacement


def _fields(controls: np.ndarray, displacement: np.ndarray, canvas: int) -> np.ndarray:
    """Displacements (K, N, 2) of control points (N, 2) spread over the canvas: (K, G, G, 2)."""
    axis = np.arange(0, canvas, GRID_STEP, dtype=np.float64)
    nodes = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    fields, count = displacement.shape[:2]
    flat = displacement.transpose(1, 0, 2).reshape(count, -1)
    spread = RBFInterpolator(controls, flat, kernel="linear", smoothing=1e-3)(nodes)
    return np.ascontiguousarray(spread.reshape(len(axis), len(axis), fields, 2).transpose(2, 0, 1, 3), np.float32)


@lru_cache(maxsize=IDENTITIES)
def load_face(identity: int, size_px: int) -> Face:
    """Identity 0..23 made ready for frames of `size_px` square. The people do not exist; see identities/README.md."""
    folder = files(__package__) / "identities"
    raw = np.frombuffer((folder / f"{identity:02d}.jpg").read_bytes(), np.uint8)
    photo = cv2.imdecode(raw, cv2.IMREAD_COLOR_RGB)
    assert photo is not None  # package data
    with (folder / "landmarks.npz").open("rb") as stream:
        mesh = np.load(stream, allow_pickle=False)["landmarks"][identity]

    oval = mesh[_OVAL, :2]
    side = float(np.ptp(oval, axis=0).max()) * _FRAME_PER_OVAL * (1 + 2 * MARGIN)
    canvas_px = GRID_STEP * round(size_px * (1 + 2 * MARGIN) / GRID_STEP)
    scale = canvas_px / side
    offset = canvas_px / 2 - (oval.min(0) + oval.max(0)) / 2 * scale
    affine = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    canvas = cv2.warpAffine(
        photo, affine, (canvas_px, canvas_px), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    points = mesh[:, :2] * scale + offset
    depth = -mesh[:, 2] * scale
    depth = depth - depth[_OVAL].mean()

    right_eye, left_eye = points[[33, 133]].mean(0), points[[362, 263]].mean(0)
    eyes = float(np.linalg.norm(left_eye - right_eye))
    across = (left_eye - right_eye) / eyes
    down = np.array([-across[1], across[0]])
    displacement = _displacements(points, depth, across, down)

    cheek = canvas[tuple(points[[205, 425]].round().astype(int).T[::-1])]
    canvas = _hide_teeth(canvas, points)

    border = np.linspace(0, canvas_px - 1, 6)
    still = [(x, y) for x in border for y in border if min(x, y) == 0 or max(x, y) == canvas_px - 1]
    still += [tuple(points[k] + 0.55 * eyes * down) for k in _CHIN]  # the neck stays while the chin slides over it
    ease = [index for ring in (_INNER, _OUTER) for index in (ring[0], ring[10])]
    common = (
        ease + _OVAL + _UPPER_LIDS + _LOWER_LIDS + _EYE_CORNERS + _BROWS + _NOSE + _PHILTRUM + _CHEEKS + _AROUND_MOUTH
    )
    sets = {}
    for name, side_of in (("upper", slice(11, None)), ("lower", slice(1, 10))):
        chosen = list(dict.fromkeys(common + _INNER[side_of] + _OUTER[side_of]))
        controls = np.vstack([points[chosen], still])
        moved = np.concatenate([displacement[:, chosen], np.zeros((len(FIELDS), len(still), 2))], 1)
        sets[name] = _fields(controls, moved, canvas_px)
    return Face(
        canvas=canvas,
        upper=sets["upper"],
        lower=sets["lower"],
        lips=points[_INNER],
        lips_fields=displacement[:, _INNER],
        across=across,
        down=down,
        mouth=points[_INNER].mean(0),
        mouth_half_width=float(abs((points[308] - points[78]) @ across)) / 2,
        eye_distance=eyes,
        brightness=float(np.clip(cheek.mean() / 255, 0.2, 1)),
    )


def _hide_teeth(canvas: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The canvas with what shows between the lips painted dark: closed lips then meet in a line, not in teeth."""
    outer = canvas[tuple(points[_OUTER].round().astype(int).T[::-1])]
    seam = np.median(outer, axis=0) * 0.45
    mask = np.zeros(canvas.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(points[_INNER] * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    alpha = cv2.GaussianBlur(mask, (3, 3), 0)[..., None] / 255
    return np.round(canvas * (1 - alpha) + seam * alpha).astype(np.uint8)
