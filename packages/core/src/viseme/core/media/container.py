"""Opening a media file: its streams, its timeline, and the translation of FFmpeg's errors into ours."""

from __future__ import annotations

import errno
import re
import warnings
from collections import deque
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
    "ends_early",
]

MAX_GAP_S = 60.0  # a timestamp further than this past both its predecessor and the stated end is damage, not a pause

# Seeking in these lands where their index says; elsewhere it is a guess, and reading starts from the beginning.
_INDEXED = {"mov", "matroska", "wav", "flac"}
# Their headers state a duration that was counted, not guessed.
_COUNTED = {"matroska", "flv", "wav", "flac"}
_EARLY_S = 0.1
# Recordings and pictures. FFmpeg would also "play" text files as terminal art, and lists that open other files or the
# network.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,asf,rm,mxf,dv,nut,ivf,ogg,gif,apng,h264,hevc,"
    "obu,m4v,mjpeg,yuv4mpegpipe,wav,w64,flac,mp3,aac,ac3,eac3,aiff,au,caf,amr,nistsphere,image2,png_pipe,jpeg_pipe,"
    "webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,ppm_pipe,pgm_pipe,jpegxl_pipe,j2k_pipe"
)
# Only local files; and "%03d" in a name is a name, not a pattern.
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, "pattern_type": "none"}


class MediaWarning(UserWarning):
    """A media file that was read only in part: damaged, cut short, or not what its header says."""


def warn(path: Path, what: str) -> None:
    """A `MediaWarning` that names the file, shown where the reader was called."""
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
        reason = "" if error.errno == errno.EINVAL else f" ({error.strerror})"  # EINVAL: none of our formats
        raise MediaError(f"not a readable media file{reason}", path=path, hint=hint) from error
    with container:
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
    """The video stream; raises MediaError where there is none."""
    if stream := find_video(container):
        return stream
    raise MediaError("has no video", path=path, expected="a video stream", got=_streams(container))


def need_audio(container: InputContainer, path: Path) -> AudioStream:
    """The sound stream; raises MediaError where there is none."""
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
    # AVI times only the decoding; frames come out sorted by display, so the n-th takes the n-th packet's time.
    stamps: deque[int | None] | None = deque() if container.format.name == "avi" else None
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # the rest of the file is gone: bring out what the decoder still holds
            yield None
            packet = None
        if stamps is not None and packet is not None and packet.size:
            stamps.append(packet.dts)
        try:
            for frame in stream.codec_context.decode(packet):
                if stamps:
                    frame.pts = stamps.popleft()
                yield frame
        except av.EOFError:
            return
        except av.FFmpegError:
            if stamps:
                stamps.popleft()
            yield None
        if packet is None or packet.size == 0:
            return


def ends_early(container: InputContainer, path: Path, stream: VideoStream | AudioStream, end_s: float) -> bool:
    """Whether a stream that was found to end at `end_s` of the container's time should have gone on.

    An mp4's index names bytes that the file no longer has, or the header counted a longer stream.
    """
    if index := len(stream.index_entries) if "mov" in container.format.name else 0:
        last = stream.index_entries[index - 1]
        return last.pos + last.size > path.stat().st_size
    if not set(container.format.name.split(",")) & _COUNTED:
        return False
    stated_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    if tag := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        stated_s = float(tag[1]) * 3600 + float(tag[2]) * 60 + float(tag[3])
    return end_s < stated_s - _EARLY_S
