"""Frames out of a file, at a constant rate.

H height, W width, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from viseme.core.errors import MediaError
from viseme.core.media.container import (
    MAX_GAP_S,
    decoded,
    ends_early,
    is_image,
    need_video,
    open_media,
    origin_s,
    seek,
    translated,
    warn,
)
from viseme.core.media.picture import Frame, planes_of
from viseme.core.media.pixels import is_mirrored, to_array
from viseme.core.media.tone import hdr_name
from viseme.core.types import Video

__all__ = ["read_video", "stream_frames", "stream_pictures"]

P = TypeVar("P")

_THREADED_PIXELS = 1280 * 720  # below this, frame threads cost more than they give
_SLACK_S = 1e-6  # timestamps are rationals, seconds are floats
_PREALLOCATED_BYTES = 1 << 29  # a header's duration is believed up to this; beyond, the buffer grows as frames come


class _Timed(NamedTuple):
    """A decoded frame and the time it is shown, in seconds from the start of the video."""

    time_s: float
    duration_s: float
    frame: av.VideoFrame
    still: bool = False


def stream_frames(
    path: str | Path, *, fps: float | None = 25.0, gray: bool = False, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[np.ndarray]:
    """Frames of a video one by one, in constant memory.

    Frame k is the picture whose timestamp is nearest to `start_s + k / fps`; a picture is shown at most half a tick
    early, so one that stands for long stands until the next. Thus any source (30, 60, variable fps) comes out in time
    with its sound, and a source that already has this rate comes out frame by frame.

    Args:
        fps: rate wanted; None gives every frame once, whatever its timestamp.
        gray: (H, W) instead of (H, W, 3) RGB.
        start_s, end_s: the part wanted, in seconds from the first frame; `end_s` None for all.

    Yields:
        uint8 arrays, turned upright. A picture file gives one. HDR (PQ, HLG) is toned down to eight bits (`tone.py`),
        with a `MediaWarning`.

    Raises:
        MediaError: the file cannot be read, has no video, or has no frame in this part.
    """

    def convert(frame: av.VideoFrame, size: tuple[int, int], mirrored: bool) -> np.ndarray:
        return to_array(frame, gray=gray, size=size, mirrored=mirrored)

    yield from _converted(path, fps, start_s, end_s, convert)


def stream_pictures(
    path: str | Path, *, fps: float | None = 25.0, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[Frame]:
    """The same frames as `stream_frames` gives, left as planes of luma and chroma where the file has them so (4:2:0,
    as nearly all do), for who looks at a part of each only: converting all of a frame to colour costs a good part of
    decoding it. Frames may be kept; each takes half the memory of an RGB array.
    """

    def convert(frame: av.VideoFrame, size: tuple[int, int], mirrored: bool) -> Frame:
        as_planes = not mirrored and (frame.width, frame.height) == size and not hdr_name(frame.color_trc)
        picture = planes_of(frame) if as_planes else None
        return picture if picture is not None else to_array(frame, gray=False, size=size, mirrored=mirrored)

    yield from _converted(path, fps, start_s, end_s, convert)


def _converted(
    path: str | Path,
    fps: float | None,
    start_s: float,
    end_s: float | None,
    convert: Callable[[av.VideoFrame, tuple[int, int], bool], P],
) -> Iterator[P]:
    path = Path(path)
    if fps is not None and not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    count, last, mirrored = 0, None, None
    for timed in _wanted(path, fps, start_s, end_s):
        if last is None or timed.frame is not last[0]:  # a repeated frame is converted once
            size = last[2] if last else (timed.frame.width, timed.frame.height)
            if mirrored is None:
                mirrored = timed.still and is_mirrored(path)
            last = (timed.frame, convert(timed.frame, size, mirrored), size)
        count += 1
        yield last[1]
    if not count:
        raise MediaError("no frame in the part asked for", path=path, got=f"start {start_s} s, end {end_s} s")


def read_video(
    path: str | Path, *, fps: float | None = 25.0, gray: bool = False, start_s: float = 0.0, end_s: float | None = None
) -> Video:
    """All frames of a video in memory; see `stream_frames` for the arguments, the rule of time, and the errors.

    Returns:
        Video of (T, H, W, 3) or (T, H, W) frames. With `fps` None its rate is the average of the source.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = need_video(container, path)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        stated_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        single = is_image(container)
    length_s = max((end_s if end_s is not None else stated_s) - start_s, 0.0)
    expected = 1 if single else math.ceil(length_s * (fps or rate)) + 1

    buffer, count = np.empty(0, np.uint8), 0
    for picture in stream_frames(path, fps=fps, gray=gray, start_s=start_s, end_s=end_s):
        if not count:
            capacity = max(1, min(expected, _PREALLOCATED_BYTES // picture.nbytes))
            buffer = np.empty((capacity, *picture.shape), np.uint8)
        elif count == len(buffer):
            buffer = np.concatenate([buffer, np.empty((count // 2 + 1, *picture.shape), np.uint8)])
        buffer[count] = picture
        count += 1
    return Video(buffer[:count], fps or rate)


def _wanted(path: Path, fps: float | None, start_s: float, end_s: float | None) -> Iterator[_Timed]:
    with open_media(path) as container, translated(path, "decode"):
        stream = need_video(container, path)
        many_pixels = stream.codec_context.width * stream.codec_context.height >= _THREADED_PIXELS
        stream.thread_type = "AUTO" if many_pixels else "NONE"
        seek(container, stream, start_s)
        frames = _decode(container, stream, path)
        if fps is not None and not is_image(container):
            yield from _at_constant_rate(frames, fps, start_s, end_s)
            return
        for timed in frames:
            if is_image(container):
                yield timed._replace(still=True)
                return
            if end_s is not None and timed.time_s >= end_s - _SLACK_S:
                return
            if timed.time_s >= start_s - _SLACK_S:
                yield timed


def _decode(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[_Timed]:
    """Every frame with a strictly increasing time. Undecodable packets are skipped, and warned of at the end."""
    zero_s = origin_s(container)
    stated_end_s = (container.duration or 0) / av.time_base
    step_s = 1 / float(stream.average_rate or stream.guessed_rate or 25)
    time_s, duration_s, shift_s, count, damaged = -math.inf, step_s, 0.0, 0, 0

    for frame in decoded(container, stream):
        assert frame is None or isinstance(frame, av.VideoFrame)
        if frame is None or frame.is_corrupt:
            damaged += 1
            continue
        base = float(frame.time_base or 0)
        duration_s = frame.duration * base or step_s
        stamp_s = max(time_s + step_s, 0.0) if frame.pts is None else frame.pts * base - zero_s + shift_s
        if stamp_s < time_s - 1.0:  # recordings joined end to end: time starts again
            shift_s += time_s + step_s - stamp_s
            stamp_s = time_s + step_s
        if count and stamp_s > max(time_s, stated_end_s) + MAX_GAP_S:
            raise MediaError("damaged timestamps", path=path, got=f"a jump from {time_s:.1f} s to {stamp_s:.1f} s")
        time_s = max(stamp_s, time_s + _SLACK_S / 10)
        if not count and (hdr := hdr_name(frame.color_trc)):
            warn(path, f"is HDR ({hdr}); shown in 8 bits, brightest parts toned down")
        count += 1
        yield _Timed(time_s, duration_s, frame)

    if not count:
        raise MediaError("no frame can be decoded", path=path, got=f"{damaged} damaged packets")
    if ends_early(container, path, stream, time_s + duration_s + zero_s):
        warn(path, f"is cut short; its frames end at {time_s + duration_s:.2f} s")
    elif damaged:
        warn(path, f"{damaged} damaged frames left out")


def _at_constant_rate(frames: Iterable[_Timed], fps: float, start_s: float, end_s: float | None) -> Iterator[_Timed]:
    limit = math.inf if end_s is None else round((end_s - start_s) * fps)
    tick, held = 0, None
    for timed in frames:
        if held is not None:
            change_s = max((held.time_s + timed.time_s) / 2, timed.time_s - 0.5 / fps)
            while tick < limit and start_s + tick / fps <= change_s + _SLACK_S:
                yield held
                tick += 1
            if tick >= limit:
                return
        held = timed
    if held is None:
        return
    end_of_last_s = held.time_s + held.duration_s - 0.5 / fps
    while tick < limit and (start_s + tick / fps <= end_of_last_s + _SLACK_S or (tick == 0 and start_s == 0)):
        yield held
        tick += 1
