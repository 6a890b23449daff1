"""High dynamic range (PQ, HLG) as eight bits: what was filmed for bright displays, shown on an ordinary one.

Display light in units of reference white (203 cd/m2; ITU-R BT.2408) and BT.709 primaries; up to a knee nothing changes,
above it a smooth shoulder brings the brightest (1000 cd/m2) to white, with one gain for a pixel's three colours, so
that hues stay; then gamma 2.4 (BT.1886). So faces, which lie below reference white, look as in the film's SDR version.

H height, W width.
"""

from __future__ import annotations

import av
import cv2
import numpy as np

from viseme.core.media.picture import yuv_weights

__all__ = ["hdr_name", "tone_mapped"]

_PQ, _HLG = 16, 18  # FFmpeg's AVCOL_TRC_SMPTE2084 and AVCOL_TRC_ARIB_STD_B67
_WHITE, _PEAK = 203.0, 1000.0  # cd/m2
_KNEE = 0.7
_GAMMA = 2.4
_STEPS = 4096  # of the table of light; codes have 10 or 12 bits
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)  # ITU-R BT.2087
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


def hdr_name(transfer: int) -> str:
    """`PQ` or `HLG` for FFmpeg's number of a transfer characteristic; empty for all others."""
    return {_PQ: "PQ", _HLG: "HLG"}.get(int(transfer), "")


def tone_mapped(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """A PQ or HLG frame at (width, height) as (H, W, 3) uint8 RGB, not turned."""
    kind = hdr_name(frame.color_trc)
    code = _code_values(frame, size)
    light = _TABLES[kind][(code * (_STEPS - 1) + 0.5).astype(np.uint16)]
    if kind == "HLG":  # the system's gamma, on luminance (BT.2100, 1000 cd/m2)
        luminance = np.maximum(light @ _LUMA_2020, 1e-6)
        light *= (_PEAK / _WHITE) * luminance[..., None] ** 0.2
    if int(frame.color_primaries) in (2, 9):  # BT.2020, or not said
        light = np.maximum(cv2.transform(light, _TO_709), 0)
    brightest = light.max(-1)
    gain = shoulder(brightest) / np.maximum(brightest, 1e-6)
    shown: np.ndarray = cv2.pow(light * gain[..., None], 1 / _GAMMA)
    return np.rint(shown.clip(0, 1) * 255).astype(np.uint8)


def shoulder(light: np.ndarray) -> np.ndarray:
    """Light in units of reference white -> [0, 1]: the same up to the knee, then slowly less, 1 at the peak."""
    above = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    peak = (_PEAK / _WHITE - _KNEE) / (1 - _KNEE)
    # Reinhard et al. (2002), eq. 4, on what is above the knee
    bent = _KNEE + (1 - _KNEE) * above * (1 + above / peak**2) / (1 + above)
    return np.where(light <= _KNEE, light, np.minimum(bent, 1.0))


def _code_values(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1], still with the film's transfer function."""
    if frame.format.name.startswith(("yuv", "p0", "p2", "nv")):
        planes = frame.reformat(*size, "yuv444p16le", threads=1).to_ndarray()
        planes = planes if planes.shape[-1] == 3 else np.moveaxis(planes, 0, -1)
        full = int(frame.color_range) == 2
        colorspace = int(frame.colorspace)
        weights, offset = yuv_weights(9 if colorspace == 2 else colorspace, full)
        made: np.ndarray = cv2.transform(planes.astype(np.float32) / 256, np.column_stack([weights, offset]) / 255)
    else:
        made = frame.reformat(*size, "rgb48le", threads=1).to_ndarray().astype(np.float32) / 65535
    return made.clip(0, 1)


def _pq_table() -> np.ndarray:
    """Light of PQ codes (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = np.linspace(0, 1, _STEPS) ** (1 / m2)
    return (10000 / _WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)).astype(np.float32)


def _hlg_table() -> np.ndarray:
    """Scene light in [0, 1] of HLG codes (ARIB STD-B67)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    code = np.linspace(0, 1, _STEPS)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


_TABLES = {"PQ": _pq_table(), "HLG": _hlg_table()}
