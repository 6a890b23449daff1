"""What a media file holds, without decoding it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from viseme.core.errors import MediaError
from viseme.core.media.container import ends_early, find_audio, find_video, is_image, open_media, translated
from viseme.core.media.tone import hdr_name

__all__ = ["MediaInfo", "probe"]


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds. Numbers are counted from its packets, not taken from its header.

    Attributes:
        width, height: of the upright picture, in pixels.
        fps: average frames per second; 0 for a still picture.
        frames: number of frames coded.
        duration_s: of the video, or of the sound where there is no video; 0 for a still picture.
        rate, channels: of the sound as coded.
        rotation: degrees counter-clockwise (0, 90, 180, 270) by which the coded picture is turned to stand upright.
        variable_fps: whether the intervals between frames differ by more than rounding.
        truncated: whether the file ends before its contents do.
        image: whether it is one still picture.
        tags: title, comment and the like.
        hdr: `PQ` or `HLG` where the picture is of high dynamic range; empty otherwise.
    """

    path: Path
    has_video: bool
    has_audio: bool
    width: int
    height: int
    fps: float
    frames: int
    duration_s: float
    rate: int
    channels: int
    rotation: int
    variable_fps: bool
    truncated: bool
    image: bool
    video_codec: str
    audio_codec: str
    tags: dict[str, str]
    hdr: str = ""


@dataclass
class _Packets:
    """Times at which a stream's packets are shown, the longest last, and whether the file broke off."""

    times_s: np.ndarray
    last_s: float

    @property
    def intervals_s(self) -> np.ndarray:
        return np.diff(self.times_s)

    @property
    def end_s(self) -> float:
        return float(self.times_s[-1] + self.last_s) if len(self.times_s) else 0.0

    @property
    def duration_s(self) -> float:
        return float(self.times_s[-1] - self.times_s[0] + self.last_s) if len(self.times_s) else 0.0


def probe(path: str | Path) -> MediaInfo:
    """Look into a media file: streams, sizes, exact number of frames, rates.

    Reads all packets, and decodes none but the first frame, for the rotation.

    Raises:
        MediaError: the file cannot be read, or has neither video nor sound.
    """
    path = Path(path)
    with open_media(path) as container, translated(path, "read"):
        video, audio = find_video(container), find_audio(container)
        if video is None and audio is None:
            raise MediaError("has neither video nor sound", path=path)
        streams = [stream for stream in (video, audio) if stream is not None]
        image = is_image(container)
        packets, broken = _packets(container, streams)
        rotation = width = height = frames = 0
        fps, variable, duration_s = 0.0, False, 0.0
        if video is not None:
            rotation = _rotation(path) % 360
            width, height = video.codec_context.width, video.codec_context.height
            if rotation % 180:
                width, height = height, width
            shown = packets[video.index]
            frames = len(shown.times_s)
            if not image:
                fps, variable = _rate(video, shown)
                duration_s = shown.duration_s if variable or not fps else frames / fps
        elif audio is not None:
            duration_s = packets[audio.index].duration_s
        return MediaInfo(
            path=path,
            has_video=video is not None,
            has_audio=audio is not None,
            width=width,
            height=height,
            fps=fps,
            frames=frames,
            duration_s=duration_s,
            rate=audio.codec_context.sample_rate if audio is not None else 0,
            channels=audio.codec_context.layout.nb_channels if audio is not None else 0,
            rotation=rotation,
            variable_fps=variable,
            truncated=broken or any(ends_early(container, path, s, packets[s.index].end_s) for s in streams),
            image=image,
            video_codec=video.codec_context.name if video is not None else "",
            audio_codec=audio.codec_context.name if audio is not None else "",
            tags=dict(container.metadata),
            hdr=hdr_name(video.codec_context.color_trc) if video is not None else "",
        )


def _rotation(path: Path) -> int:
    """Of the first frame; a file that gives none has no business here, but is left to the decoder to refuse."""
    with open_media(path) as container:
        video = find_video(container)
        assert video is not None
        try:
            return next((frame.rotation for frame in container.decode(video)), 0)
        except av.FFmpegError:
            return 0


def _rate(stream: VideoStream, shown: _Packets) -> tuple[float, bool]:
    """Average frames per second, and whether it varies."""
    stated = float(stream.average_rate or stream.guessed_rate or 0)
    intervals_s = shown.intervals_s
    if not len(intervals_s):
        return stated, False
    middle_s = float(np.median(intervals_s))
    if bool((np.abs(intervals_s - middle_s) > 0.25 * middle_s).any()):
        return len(shown.times_s) / shown.duration_s, True
    counted = len(intervals_s) / float(intervals_s.sum())
    return (stated if stated and abs(counted / stated - 1) < 0.01 else counted), False


def _packets(
    container: InputContainer, streams: Sequence[VideoStream | AudioStream]
) -> tuple[dict[int, _Packets], bool]:
    times: dict[int, list[float]] = {stream.index: [] for stream in streams}
    last_s, broken = {stream.index: 0.0 for stream in streams}, False
    try:
        for packet in container.demux(*streams):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.size == 0 or packet.is_discard:
                continue
            index, base = packet.stream_index, float(packet.time_base)
            broken |= packet.is_corrupt
            times[index].append(
                stamp * base if stamp is not None else len(times[index]) * (packet.duration or 0) * base
            )
            # an Ogg's last packet may end before it begins: a negative duration, read as unsigned
            length = packet.duration or 0
            last_s[index] = length * base if length < 2**31 else 0.0
    except av.FFmpegError:
        broken = True
    return {index: _Packets(np.sort(np.array(t)), last_s[index]) for index, t in times.items()}, broken
