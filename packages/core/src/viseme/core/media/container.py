"""Opening a media file: its streams, its timeline, and the translation of FFmpeg's errors into ours."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from viseme.core.errors import MediaError

__all__ = [
    "MediaWarning",
    "MAX_GAP_S",
    "open_media",
    "translated",
    "warn",
    "find_video",
    "find_audio",
    "need_video",
    "need_audio",
    "is_image",
    "origin_s",
    "seek",
    "decoded",
    "cut_short",
]

MAX_GAP_S = 60.0  # a timestamp further than this past both its predecessor and the stated end is damage, not a pause

# Seeking in these lands where their index says; elsewhere it is a guess, and reading starts from the beginning.
_INDEXED = {"mov", "matroska", "avi", "wav", "flac"}
# What FFmpeg "plays" that is no recording: text files as terminal art, and lists that open other files.
_NOT_MEDIA = {"tty", "hls", "dash", "concat", "concatf", "ffmetadata", "lavfi"}
# Only local files (a playlist must not reach the network), and "%03d" in a name is a name, not a pattern.
_OPTIONS = {"protocol_whitelist": "file", "pattern_type": "none"}


class MediaWarning(UserWarning):
    """A media file that was read only in part: damaged, cut short, or not what its header says."""


def warn(path: Path, what: str) -> None:
    warnings.warn(f"{path}: {what}", MediaWarning, stacklevel=3)


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Turn FFmpeg's and the system's errors inside the block into `MediaError`s that name the file."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
        hint = None
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            hint = "Free some space, or write elsewhere."
        elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "Check the permissions."
        raise MediaError(f"cannot {doing}: {reason}", path=path, hint=hint) from error


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """The container of a local file.

    Raises:
        MediaError: no such file, a directory, empty, or nothing that FFmpeg knows as a recording.
    """
    path = Path(path)
    if path.is_dir():
        raise MediaError("is a directory", path=path, expected="a media file")
    if not path.exists():
        raise MediaError("no such file", path=path)
    with translated(path, "read"):
        if path.stat().st_size == 0:
            raise MediaError("is empty (0 bytes)", path=path, expected="a media file")
        path.open("rb").close()  # permission, before FFmpeg words it
    try:
        container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace")
    except av.FFmpegError as error:
        hint = "It is not a recording, or it was cut off before its header was written."
        raise MediaError(f"not a readable media file ({error.strerror})", path=path, hint=hint) from error
    with container:
        if set(container.format.name.split(",")) & _NOT_MEDIA:
            raise MediaError("not a media file", path=path, got=f"what looks like {container.format.long_name}")
        yield container


def is_image(container: InputContainer) -> bool:
    """Whether the file is one still picture."""
    return container.format.name.endswith("_pipe") or container.format.name == "image2"


def find_video(container: InputContainer) -> VideoStream | None:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if not Disposition.attached_pic & stream.disposition and stream.codec_context is not None:
            return stream
    return None


def find_audio(container: InputContainer) -> AudioStream | None:
    """The first audio stream that has a decoder."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def need_video(container: InputContainer, path: Path) -> VideoStream:
    if stream := find_video(container):
        return stream
    raise MediaError("has no video", path=path, expected="a video stream", got=_streams(container))


def need_audio(container: InputContainer, path: Path) -> AudioStream:
    if stream := find_audio(container):
        return stream
    raise MediaError("has no sound", path=path, expected="an audio stream", got=_streams(container))


def _streams(container: InputContainer) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"


def origin_s(container: InputContainer) -> float:
    """The container's time of the file's zero: where its video starts, or its sound if it has no video."""
    stream = find_video(container) or find_audio(container)
    if stream is None or stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)


def seek(container: InputContainer, stream: VideoStream | AudioStream, time_s: float) -> None:
    """Go to a place from which decoding reaches `time_s`, where the format has an index that can be trusted."""
    if time_s > 0 and set(container.format.name.split(",")) & _INDEXED:
        time_base = stream.time_base or Fraction(1, av.time_base)
        container.seek(int((time_s + origin_s(container)) / time_base), stream=stream, backward=True)


def decoded(
    container: InputContainer, stream: VideoStream | AudioStream
) -> Iterator[av.VideoFrame | av.AudioFrame | None]:
    """Decoded frames in order of display; None for each packet that cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # the rest of the file is gone: bring out what the decoder still holds
            yield None
            packet = None
        try:
            yield from stream.codec_context.decode(packet)
        except av.EOFError:
            return
        except av.FFmpegError:
            yield None
        if packet is None or packet.size == 0:
            return


def cut_short(container: InputContainer, path: Path) -> bool:
    """Whether an mp4's index names bytes that the file no longer has."""
    size = path.stat().st_size
    for stream in (find_video(container), find_audio(container)):
        if stream is not None and len(stream.index_entries):
            last = stream.index_entries[-1]
            if last.pos + last.size > size:
                return True
    return False
