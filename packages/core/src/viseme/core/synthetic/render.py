"""Frames of a talking face: mouth parameters and a performance (head, eyes, light, camera) in, pictures out.

T frames, S frame side, C canvas side, G grid nodes per side, P mouth parameters, K fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from viseme.core.synthetic.face import FIELDS, GRID_STEP, Face
from viseme.core.synthetic.mouth import Placement, paint_mouth
from viseme.core.synthetic.visemes import PARAMETERS

__all__ = ["Performance", "perform", "render"]

_BLINK = (0.45, 1.0, 0.85, 0.35)
_GRAINS = 4  # distinct noise pictures, taken in turn


@dataclass(frozen=True, eq=False)
class Performance:
    """Everything about a take that is not speech.

    Attributes:
        articulation: (P,) factor on each mouth parameter.
        shift: (T, 2) pixels; roll, yaw, pitch: (T,) radians; zoom: (T,) factor; blink: (T,) 0..1.
        light: (T,) gain; light_slope: (2,) change of gain across the picture; gamma; tint: (3,).
        grain: (4, S, S, 1) float32 grey levels; mirrored: left and right swapped.
    """

    articulation: np.ndarray
    shift: np.ndarray
    roll: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    zoom: np.ndarray
    blink: np.ndarray
    light: np.ndarray
    light_slope: np.ndarray
    gamma: float
    tint: np.ndarray
    grain: np.ndarray
    mirrored: bool


def _wander(frames: int, fps: float, hz: float, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """A slow random path (T,): three sinusoids around `hz`."""
    time = np.arange(frames) / fps
    phase, rate, weight = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.5, 1.5, 3) * hz, rng.dirichlet(np.ones(3))
    return amplitude * (weight[:, None] * np.sin(2 * np.pi * rate[:, None] * time + phase[:, None])).sum(0)


def perform(frames: int, fps: float, size_px: int, rng: np.random.Generator) -> Performance:
    """Draw a performance of `frames` frames."""
    blink = np.zeros(frames)
    start = int(rng.integers(5, 45))
    while start < frames:
        blink[start : start + len(_BLINK)] = _BLINK[: frames - start]
        start += int(rng.integers(45, 110))
    shift = np.stack([_wander(frames, fps, 0.35, 0.03, rng), _wander(frames, fps, 0.4, 0.025, rng)], -1) * size_px
    return Performance(
        articulation=np.clip(rng.normal(1, 0.1, len(PARAMETERS)), 0.75, 1.3),
        shift=shift,
        roll=_wander(frames, fps, 0.3, 0.07, rng),
        yaw=rng.normal(0, 0.06) + _wander(frames, fps, 0.35, 0.14, rng),
        pitch=rng.normal(0, 0.03) + _wander(frames, fps, 0.45, 0.09, rng),
        zoom=1 + rng.normal(0, 0.03) + _wander(frames, fps, 0.2, 0.04, rng),
        blink=blink,
        light=1 + rng.normal(0, 0.1) + _wander(frames, fps, 0.25, 0.06, rng),
        light_slope=rng.normal(0, 0.12, 2),
        gamma=float(np.exp(rng.normal(0, 0.12))),
        tint=1 + rng.normal(0, 0.03, 3),
        grain=rng.normal(0, rng.uniform(1, 3.5), (_GRAINS, size_px, size_px, 1)).astype(np.float32),
        mirrored=bool(rng.random() < 0.5),
    )


def _inverse_warp(fields: np.ndarray, weight: np.ndarray, node_y: np.ndarray, node_x: np.ndarray) -> np.ndarray:
    """Where each grid node's picture comes from, minus the node: (G, G, 2), by three steps of the fixed point
    `source = node - displacement(source)`."""
    nodes = fields.shape[1]
    forward = (weight @ fields.reshape(len(fields), -1)).reshape(nodes, nodes, 2)
    step = forward
    for _ in range(2):
        x, y = node_x - step[..., 0] / GRID_STEP, node_y - step[..., 1] / GRID_STEP
        step = cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return step


@dataclass(frozen=True, eq=False)
class _Pose:
    """Where the canvas lies in the frame: turned, scaled and shifted about their centres."""

    rotation: np.ndarray  # (2, 2), with the zoom
    canvas_centre: float
    frame_centre: np.ndarray

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        return (points - self.canvas_centre) @ self.rotation.T + self.frame_centre

    def from_frame(self) -> np.ndarray:
        """(2, 3) affine map from the frame to the canvas."""
        back = np.linalg.inv(self.rotation)
        return np.hstack([back, (self.canvas_centre - back @ self.frame_centre)[:, None]])


def _pose(performance: Performance, t: int, size: int, canvas_px: int) -> _Pose:
    cos, sin = np.cos(performance.roll[t]), np.sin(performance.roll[t])
    rotation = np.array([[cos, -sin], [sin, cos]]) * performance.zoom[t]
    return _Pose(rotation, canvas_px / 2, size / 2 + performance.shift[t])


def _weights(mouth: dict[str, float], performance: Performance, t: int) -> np.ndarray:
    """(K,) weight of each field."""
    eyes_and_turn = {
        "rest": 1.0,
        "blink": performance.blink[t],
        "yaw": np.sin(performance.yaw[t]),
        "pitch": np.sin(performance.pitch[t]),
    }
    return np.array([eyes_and_turn[f] if f in eyes_and_turn else mouth[f] for f in FIELDS], np.float32)


def render(face: Face, track: np.ndarray, performance: Performance) -> Iterator[np.ndarray]:
    """Yield the frames (S, S, 3) uint8 RGB.

    Args:
        face: who speaks, made for this frame size.
        track: (T, P) mouth parameters, columns as in `visemes.PARAMETERS`.
        performance: of the same T frames.
    """
    size = performance.grain.shape[1]
    canvas_px, nodes = face.canvas.shape[0], face.upper.shape[1]
    node_y, node_x = np.mgrid[0:nodes, 0:nodes].astype(np.float32)
    y_S, x_S = np.mgrid[0:size, 0:size].astype(np.float32)
    slope_x, slope_y = performance.light_slope
    gain = 1 + slope_x * (x_S / size - 0.5) + slope_y * (y_S / size - 0.5)
    gain = (gain[..., None] * performance.tint).astype(np.float32)
    curve = (255 * (np.arange(256) / 255) ** performance.gamma).round().astype(np.uint8)

    for t, shape in enumerate(np.clip(track * performance.articulation, 0, 1.15)):
        mouth = dict(zip(PARAMETERS, shape.tolist(), strict=True))
        weight = _weights(mouth, performance, t)
        pose = _pose(performance, t, size, canvas_px)
        from_frame = pose.from_frame()
        lips = face.lips + np.tensordot(weight, face.lips_fields, 1)
        lips_in_frame = pose.to_frame(lips)

        above, below = (
            cv2.warpAffine(
                _inverse_warp(fields, weight, node_y, node_x),
                from_frame / GRID_STEP,
                (size, size),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for fields in (face.upper, face.lower)
        )
        offset = above + (below - above) * _below_the_lips(lips_in_frame, x_S[0], y_S)[..., None]
        (a, b, c), (d, e, f) = from_frame.astype(np.float32)
        source_x, source_y = a * x_S + b * y_S + c - offset[..., 0], d * x_S + e * y_S + f - offset[..., 1]
        frame = cv2.remap(face.canvas, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

        paint_mouth(
            frame, face, lips_in_frame, _place_in_mouth(face, weight, pose), **_inside(face, lips, weight, mouth)
        )
        seen = frame * (gain * np.float32(performance.light[t])) + performance.grain[t % _GRAINS]
        frame = cv2.LUT(np.clip(seen, 0, 255).astype(np.uint8), curve)
        yield np.ascontiguousarray(frame[:, ::-1]) if performance.mirrored else frame


def _place_in_mouth(face: Face, weight: np.ndarray, pose: _Pose) -> Placement:
    """From the face's axes about the mouth, as far as the skull carries it along, to the frame."""
    turn = [FIELDS.index("yaw"), FIELDS.index("pitch")]
    origin = face.mouth + np.tensordot(weight[turn], face.lips_fields[turn], 1).mean(0)
    axes = np.stack([face.across, face.down])
    return lambda points: pose.to_frame(points @ axes + origin)


def _inside(face: Face, lips: np.ndarray, weight: np.ndarray, mouth: dict[str, float]) -> dict[str, float]:
    opening = FIELDS.index("open")
    drop = float(weight[opening] * (face.lips_fields[opening, 5] @ face.down))
    width = float(np.hypot(*(lips[10] - lips[0]))) / 2 / face.mouth_half_width
    return {"jaw_drop": drop, "narrow": min(1.0, width), "tongue": mouth["tongue"], "dental": mouth["dental"]}


def _below_the_lips(lips: np.ndarray, x_S: np.ndarray, y_S: np.ndarray) -> np.ndarray:
    """1 below the line between the lips, 0 above: (S, S), sharp within the mouth and ever softer beside it."""
    line = (lips[1:10] + lips[:10:-1]) / 2
    line = np.vstack([lips[0], line, lips[10]])
    line = line[np.argsort(line[:, 0])]
    middle = np.interp(x_S, line[:, 0], line[:, 1]).astype(np.float32)
    beside = np.maximum(0, np.maximum(line[0, 0] - x_S, x_S - line[-1, 0]))
    soft = (0.8 + 1.2 * beside).astype(np.float32)
    return np.clip((y_S - middle) / soft + 0.5, 0, 1)
