"""Helpers of the published evaluation on real videos (ReSyncED): sizes and lengths."""

from __future__ import annotations

__all__ = ["limit_resolution", "rescaled_size", "spread_frames"]


def limit_resolution(height: int, width: int, max_frame_res: int = 720) -> tuple[int, int]:
    """Height and width of a frame scaled down until its short side is `max_frame_res`."""
    short = min(height, width)
    if short <= max_frame_res:
        return height, width
    scale = short / float(max_frame_res)
    return int(height / scale), int(width / scale)


def rescaled_size(
    height: int, width: int, face: tuple[int, int, int, int], face_res: int = 180, min_frame_res: int = 480
) -> tuple[int, int]:
    """Height and width after the integer division that brings the face near `face_res` pixels.

    As published: the factor grows while the short side stays at least `min_frame_res` and the face comes nearer to
    `face_res` than it was at first (not: than with the factor before).
    """
    x1, y1, x2, y2 = face
    side, short, factor = max(x2 - x1, y2 - y1), min(height, width), 1
    while short // (factor + 1) >= min_frame_res and abs(side // (factor + 1) - face_res) < abs(side - face_res):
        factor += 1
    return height // factor, width // factor


def spread_frames(frames: int, wanted: int, *, published: bool = False) -> list[int]:
    """Source frame of each of `wanted` output frames where there are fewer: spread evenly.

    Args:
        published: repeat the first frame only, which is what the published helper of that purpose does.
    """
    if wanted <= frames:
        return list(range(wanted))
    if published:
        return [0] * (wanted - frames) + list(range(frames))
    return [index * frames // wanted for index in range(wanted)]
