"""New sound under a video, whose frames are not encoded again.

C channels, S samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from viseme.core.errors import MediaError
from viseme.core.media.container import find_audio, need_video, open_media, origin_s, translated
from viseme.core.media.decode_audio import channel_blocks
from viseme.core.media.encode import add_aac, encode_aac, output
from viseme.core.types import Audio

__all__ = ["mux"]


def mux(video: str | Path, audio: Audio | str | Path, out: str | Path, *, end_s: float | None = None) -> None:
    """Put a video's frames, copied packet by packet, and another sound into one file; atomic.

    Both start together, at the first frame. Neither is cut to the other's length, unless `end_s` says so. Sound is
    encoded as AAC; of a file's sound the rate and the channels stay. The video's own sound is left out; its tags and
    its rotation are kept.

    Args:
        video: file whose frames to take.
        audio: samples, or a file whose sound to take.
        out: .mp4, .m4v, .mov or .mkv; may be one of the inputs.
        end_s: where the sound ends; None: where it does.

    Raises:
        MediaError: an input cannot be read or lacks its stream, or `out` cannot be written or cannot hold the codec.
    """
    video, out = Path(video), Path(out)
    rate, layout = _sound(audio)
    with open_media(video) as source, output(out, dict(source.metadata)) as target:
        stream = need_video(source, video)
        with translated(out, f"put {stream.codec_context.name} video into {out.suffix}"):
            copied = target.add_stream_from_template(stream)
        encoded = add_aac(target, rate, layout, out)
        blocks, position = _blocks(audio, end_s), 0
        zero_s = origin_s(source)
        for packet, dts in _packets(source, stream):
            while position / rate <= float(dts * packet.time_base) - zero_s:
                if (block := next(blocks, None)) is None:
                    break
                encode_aac(target, encoded, block, position)
                position += block.shape[1]
            shift = round(zero_s / packet.time_base)
            packet.dts = dts - shift
            if packet.pts is not None:
                packet.pts -= shift
            packet.stream = copied
            target.mux(packet)
        for block in blocks:
            encode_aac(target, encoded, block, position)
            position += block.shape[1]
        target.mux(encoded.encode(None))


def _packets(source: InputContainer, stream: VideoStream) -> Iterator[tuple[av.Packet, int]]:
    """Packets and their decoding times; where the first have none (Matroska), they are counted back from the rest."""
    waiting: list[av.Packet] = []
    for packet in source.demux(stream):
        if not packet.size:
            continue
        waiting.append(packet)
        if packet.dts is not None:
            step = max(packet.duration or 0, 1)
            for index, each in enumerate(waiting):
                yield each, packet.dts - (len(waiting) - 1 - index) * step
            waiting = []
    yield from ((each, index) for index, each in enumerate(waiting))


def _sound(audio: Audio | str | Path) -> tuple[int, str]:
    """Sampling rate and channel layout."""
    if isinstance(audio, Audio):
        return audio.rate, "mono"
    with open_media(audio) as container:
        stream = find_audio(container)
        if stream is None:
            raise MediaError("has no sound", path=audio, expected="an audio stream")
        layout = stream.codec_context.layout  # a WAV's may be nameless
        return stream.codec_context.sample_rate, {1: "mono", 2: "stereo"}.get(layout.nb_channels, layout.name)


def _blocks(audio: Audio | str | Path, end_s: float | None) -> Iterator[np.ndarray]:
    """(C, S) blocks of about half a second or less."""
    if isinstance(audio, Audio):
        samples = audio.samples if end_s is None else audio.samples[: round(end_s * audio.rate)]
        for start in range(0, len(samples), audio.rate // 2):
            yield samples[None, start : start + audio.rate // 2]
    else:
        for block, _ in channel_blocks(Path(audio), end_s=end_s):
            yield block
