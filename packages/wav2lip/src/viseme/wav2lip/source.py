"""Frames of the picture to be synced, as many as the sound needs, in constant memory.

A video that is shorter than the sound is played again, to and fro, held, slowed down, or the sound is cut.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import cv2
import numpy as np

from viseme.core.errors import ConfigError, MediaError
from viseme.core.media import MediaInfo, probe, stream_frames
from viseme.wav2lip.real_video import spread_frames

__all__ = ["Loop", "Source", "open_source", "prefetched", "source_index"]

Loop = Literal["pingpong", "loop", "hold", "stop", "spread"]
T = TypeVar("T")

_REVERSED_S = 2.0  # a video is played backwards in pieces of this length
_MAX_STILL_PX = 3840


@dataclass(frozen=True)
class Source:
    """A video or a still picture to be synced.

    Attributes:
        path: of the file.
        info: what it holds.
        fps: frames a second of the output; a variable rate becomes constant.
        frames: distinct frames that will be used; 1 for a still picture.
        still: one picture throughout.
        transform: applied to each frame, if any.
    """

    path: Path
    info: MediaInfo
    fps: float
    frames: int
    still: bool
    transform: Callable[[np.ndarray], np.ndarray] | None = None

    def _made(self, frame: np.ndarray) -> np.ndarray:
        """The frame after `transform`.

        Raises:
            ConfigError: nothing is left of it.
        """
        if self.transform is None:
            return frame
        made = np.ascontiguousarray(self.transform(frame))
        if not made.size:
            raise ConfigError(
                "the crop leaves nothing of the frame", got=f"a frame of {frame.shape[1]}x{frame.shape[0]}"
            )
        return made

    def each(self) -> Iterator[np.ndarray]:
        """The distinct frames, RGB, once each in order."""
        if self.still:
            yield self._made(first_frame(self.path))
            return
        for index, frame in enumerate(stream_frames(self.path, fps=self.fps)):
            if index >= self.frames:
                return
            yield self._made(frame)

    def shown(self, index: list[int]) -> Iterator[np.ndarray]:
        """The frames of an order made by `source_index`: runs forwards and backwards, and repetitions."""
        start = 0
        while start < len(index):
            backwards = start + 1 < len(index) and index[start + 1] < index[start]
            stop = start + 1
            while stop < len(index) and (index[stop] - index[stop - 1]) in ((-1,) if backwards else (0, 1)):
                stop += 1
            run = index[start:stop]
            if backwards:
                yield from self._backwards(run[0], run[-1])
            else:
                parts, place, frame = self._part(run[0], run[-1] + 1), run[0] - 1, None
                for wanted in run:
                    if wanted > place:
                        place, frame = wanted, next(parts, frame)
                    if frame is None:
                        return
                    yield frame
            start = stop

    def _part(self, start: int, stop: int) -> Iterator[np.ndarray]:
        if self.still:
            yield self._made(first_frame(self.path))
            return
        frames = stream_frames(self.path, fps=self.fps, start_s=start / self.fps, end_s=None)
        for _, frame in zip(range(start, stop), frames):
            yield self._made(frame)

    def _backwards(self, first: int, last: int) -> Iterator[np.ndarray]:
        piece = max(1, round(_REVERSED_S * self.fps))
        high = first + 1
        while high > last:
            low = max(last, high - piece)
            yield from reversed(list(self._part(low, high)))
            high = low


def first_frame(path: Path) -> np.ndarray:
    """The first (or only) frame, RGB; a picture wider than any video is scaled down."""
    frame = next(iter(stream_frames(path, fps=None)))
    longest = max(frame.shape[:2])
    if longest > _MAX_STILL_PX:
        scale = _MAX_STILL_PX / longest
        frame = cv2.resize(frame, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return frame


def open_source(path: str | Path, *, still_fps: float = 25.0, static: bool = False, limit: int | None = None) -> Source:
    """Look at a video or picture.

    Args:
        still_fps: rate of the output for a still picture.
        static: use a video's first frame only.
        limit: frames that are needed at most.

    Raises:
        MediaError: unreadable, or without pictures.
    """
    info = probe(path)
    if not info.has_video:
        raise MediaError("has no pictures", path=path, expected="a video or a picture of a face")
    if info.image or info.frames <= 1:
        return Source(Path(path), info, still_fps, 1, True)
    # A rate that varies, or that no player shows, becomes the usual one.
    fps = info.fps if not info.variable_fps and 5 <= info.fps <= 120 else 25.0
    if static:
        return Source(Path(path), info, fps, 1, True)
    frames = max(1, round(info.duration_s * fps))
    return Source(Path(path), info, fps, min(frames, limit) if limit else frames, False)


def source_index(frames: int, wanted: int, loop: Loop = "pingpong") -> list[int]:
    """Source frame of each output frame.

    `pingpong` plays to and fro, `loop` starts again, `hold` keeps the last frame, `stop` ends with the video, `spread`
    slows it down until it is as long as the sound.
    """
    if loop not in get_args(Loop):
        raise ConfigError("no such way to go on", expected=" or ".join(get_args(Loop)), got=loop)
    if wanted <= frames or frames == 1:
        return list(range(wanted)) if frames > 1 else [0] * wanted
    if loop == "stop":
        return list(range(frames))
    if loop == "spread":
        return spread_frames(frames, wanted)
    if loop == "hold":
        return [min(k, frames - 1) for k in range(wanted)]
    if loop == "loop":
        return [k % frames for k in range(wanted)]
    period = 2 * frames - 2
    return [min(k % period, period - k % period) for k in range(wanted)]


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetched(items: Iterator[T], size: int = 8) -> Iterator[T]:
    """The same items, made ahead by another thread, at most `size` of them; what it raises is raised here."""
    waiting: queue.Queue[object] = queue.Queue(size)
    end, stopped = object(), threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(end)
        except BaseException as error:  # handed over, and raised there
            put(_Failure(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not end:
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
