"""Small media files with every difficulty that real ones bring, for tests.

Every frame shows its own number, and the sound is a sweep, so that a test can tell *which* frame came out and *where*
the sound lies, after any codec. T frames, H, W of a picture, S samples.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

__all__ = [
    "numbered_frames",
    "frame_number",
    "frame_numbers",
    "sweep",
    "lag_samples",
    "write_clip",
    "write_sound",
    "truncate",
    "state_wrong_duration",
]

_BITS = 10  # of a frame's number, as black and white bands; one more band is its parity
TICKS_PER_SECOND = 90_000  # time base of clips of variable rate


def numbered_frames(count: int, size: tuple[int, int] = (96, 64), first: int = 0) -> np.ndarray:
    """`count` frames (T, H, W, 3) uint8, each with its number as vertical bands; the lower half is a colour ramp.

    Args:
        size: (width, height); at least 4 pixels a band survive compression.
    """
    width, height = size
    band_W = np.arange(width) * (_BITS + 1) // width
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[...] = np.stack(
        [np.linspace(40, 215, width), np.full(width, 90), np.linspace(215, 40, width)], axis=-1
    ).astype(np.uint8)
    for index in range(count):
        number = first + index
        bits = [number >> bit & 1 for bit in range(_BITS)]
        bits.append(sum(bits) & 1)
        frames[index, : height // 2] = np.where(np.array(bits)[band_W], 235, 20)[None, :, None]
    return frames


def frame_number(picture: np.ndarray) -> int:
    """The number that a picture (H, W[, 3]) of `numbered_frames` shows; -1 where it shows none."""
    gray = picture.astype(np.float32).mean(-1) if picture.ndim == 3 else picture.astype(np.float32)
    height, width = gray.shape
    levels_W = gray[height // 8 : height * 3 // 8].mean(0)
    band_W = np.arange(width) * (_BITS + 1) // width
    levels = np.array([np.median(levels_W[band_W == band]) for band in range(_BITS + 1)])
    bits = [int(level > 128) for level in levels]
    if (np.abs(levels - 128) < 40).any() or bits[-1] != sum(bits[:-1]) & 1:
        return -1
    return sum(bit << place for place, bit in enumerate(bits[:-1]))


def frame_numbers(pictures: np.ndarray) -> list[int]:
    """`frame_number` of each."""
    return [frame_number(picture) for picture in pictures]


def sweep(rate: int, duration_s: float) -> np.ndarray:
    """A sound (S,) float32 that is nowhere like itself: a tone rising from 200 Hz by 500 Hz a second, up to 3 kHz."""
    time_s = np.arange(round(rate * duration_s)) / rate
    turn_s = 2800 / 500
    hz_s = 200 * time_s + 250 * np.minimum(time_s, turn_s) ** 2 + 2800 * np.maximum(time_s - turn_s, 0)
    return (0.4 * np.sin(2 * np.pi * hz_s)).astype(np.float32)


def lag_samples(got: np.ndarray, want: np.ndarray) -> int:
    """By how many samples `got` comes later than `want` where the two agree best."""
    size = len(got) + len(want)
    product = np.fft.irfft(np.fft.rfft(got, size) * np.conj(np.fft.rfft(want, size)), size)
    best = int(np.argmax(product))
    return best if best < len(got) else best - size


def write_clip(
    path: str | Path,
    *,
    frames: int | np.ndarray | None = 25,
    fps: float | Fraction = 25,
    times_s: Sequence[float] | None = None,
    size: tuple[int, int] = (96, 64),
    rotation: int = 0,
    rate: int | None = 16000,
    channels: int = 1,
    sound: np.ndarray | None = None,
    sound_start_s: float = 0.0,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    pixel_format: str = "yuv420p",
    faststart: bool = True,
    keyframe_every: int = 12,
) -> Path:
    """Write a clip of numbered frames with a sweep as its sound; returns its path.

    Args:
        path: its ending chooses the container.
        frames: how many, or pictures (T, H, W, 3), or None for no video stream.
        fps: of a clip of constant rate.
        times_s: for a variable rate: when each frame is shown; it replaces `fps`.
        size: (width, height) of numbered frames.
        rotation: degrees counter-clockwise by which a player has to turn the picture.
        rate: of the sound, Hz; None for no audio stream.
        channels: each carries the same sound.
        sound: (S,) instead of the sweep as long as the video.
        sound_start_s: when the sound starts, from the first frame.
        audio_codec: "aac", "pcm_u8", "pcm_s16le", "libopus", ...
        faststart: index in front of the data of an mp4, so that what remains of a cut file can be read.
    """
    path = Path(path)
    pictures = numbered_frames(frames, size) if isinstance(frames, int) else frames
    duration_s = 1.0
    if pictures is not None:
        rate_ = Fraction(fps).limit_denominator(1001)
        base = 1 / rate_ if times_s is None else Fraction(1, TICKS_PER_SECOND)
        if times_s is None:
            times_s = [float(index / rate_) for index in range(len(pictures))]
        duration_s = times_s[-1] + (times_s[-1] - times_s[-2] if len(times_s) > 1 else float(1 / rate_))
    options = {"movflags": "+faststart"} if faststart and path.suffix in (".mp4", ".mov", ".m4v") else {}
    with av.open(str(path), "w", options=options) as container:
        if pictures is not None:
            video = container.add_stream(video_codec, rate=rate_)
            assert isinstance(video, av.VideoStream)
            video.height, video.width, video.pix_fmt = *pictures.shape[1:3], pixel_format
            video.codec_context.time_base = video.time_base = base
            video.codec_context.gop_size, video.codec_context.thread_count = keyframe_every, 1
            if video_codec == "libx264":
                video.codec_context.options = {"crf": "10", "preset": "ultrafast", "bf": "2"}
            if rotation:
                video.set_display_rotation(rotation)
        if rate is not None:
            audio = container.add_stream(audio_codec, rate=rate, layout={1: "mono", 2: "stereo", 6: "5.1"}[channels])
            assert isinstance(audio, av.AudioStream)
        if pictures is not None:
            assert isinstance(video, av.VideoStream)
            for picture, time_s in zip(pictures, times_s or [], strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
                frame.pts, frame.time_base = round(time_s / base), base
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if rate is not None:
            assert isinstance(audio, av.AudioStream)
            samples = sweep(rate, duration_s - sound_start_s) if sound is None else sound
            _mux_sound(container, audio, np.tile(samples, (channels, 1)), rate, round(sound_start_s * rate))
    return path


def _mux_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, samples_CS: np.ndarray, rate: int, start: int
) -> None:
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples_CS, np.float32), format="fltp", layout=stream.codec_context.layout.name
    )
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_sound(
    path: str | Path,
    *,
    rate: int = 16000,
    channels: int = 1,
    duration_s: float = 1.0,
    subtype: str = "PCM_16",
    sound: np.ndarray | None = None,
) -> Path:
    """Write a sound file: a sweep, or `sound` (S,), the same in every channel; returns its path.

    Args:
        path: .wav, .flac or .ogg.
        subtype: libsndfile's: "PCM_U8", "PCM_16", "PCM_24", "FLOAT", ...
    """
    samples = sweep(rate, duration_s) if sound is None else sound
    soundfile.write(str(path), np.tile(samples[:, None], (1, channels)), rate, subtype=subtype)
    return Path(path)


def truncate(source: str | Path, out: str | Path, share: float) -> Path:
    """Write the first `share` of a file's bytes."""
    content = Path(source).read_bytes()
    Path(out).write_bytes(content[: int(len(content) * share)])
    return Path(out)


def state_wrong_duration(source: str | Path, out: str | Path, factor: float) -> Path:
    """Copy an mp4 whose headers then state `factor` times its real duration; its frames and their times stay."""
    content = bytearray(Path(source).read_bytes())
    found = 0
    for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
        place = content.find(box)
        while place >= 0:
            at = place + 4 + offset
            (duration,) = struct.unpack_from(">I", content, at)
            struct.pack_into(">I", content, at, round(duration * factor))
            found += 1
            place = content.find(box, place + 4)
    if found < 3:
        raise ValueError(f"{source} is no mp4 with its headers in front")
    Path(out).write_bytes(content)
    return Path(out)
