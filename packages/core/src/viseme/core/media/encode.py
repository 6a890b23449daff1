"""Frames and sound into a file: streaming, atomic.

H height, W width, S samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from viseme.core.errors import MediaError
from viseme.core.files import atomic_path
from viseme.core.media.container import translated
from viseme.core.types import Audio, Video

__all__ = ["VideoWriter", "write_video", "write_audio", "write_audio_blocks", "output", "add_aac", "encode_aac"]

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_SOUND = {".wav": "WAV", ".flac": "FLAC"}
_THREADED_PIXELS = 1280 * 720  # one thread below: workers run side by side, and the bytes do not depend on the machine


@contextmanager
def output(path: Path, tags: Mapping[str, str] | None = None) -> Iterator[OutputContainer]:
    """An open container at `path`'s format, written under a temporary name.

    Raises:
        MediaError: an unknown file ending, or the file cannot be written.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise MediaError("unknown video format", path=path, expected=" or ".join(_FORMATS), got=path.suffix or "none")
    # faststart: the index lies in front, so that a browser can play while loading
    options = {"movflags": "+faststart+use_metadata_tags"} if kind in ("mp4", "mov") else {}
    with (
        translated(path, "write"),
        atomic_path(path) as temporary,
        av.open(f"file:{temporary}", "w", format=kind, options=options) as container,
    ):
        container.metadata.update(tags or {})
        yield container


class VideoWriter:
    """Writes a video frame by frame: H.264, yuv420p, with AAC sound if wanted.

    A context manager; the file appears under its name only when the block ends well, and nothing is left behind when
    it does not. Frames of odd width or height get their last column or row twice, because 4:2:0 colour needs even
    ones. Colours are marked as BT.601, limited range, so that every player agrees about them.

    Args:
        path: .mp4, .m4v, .mov or .mkv.
        fps: frames per second.
        size: (width, height) in pixels.
        audio_rate: Hz; None for a silent film.
        crf: x264's quality, 0 (lossless) to 51; 18 is visually lossless.
        preset: x264's, how long to search for a smaller file.
        tags: title, comment and the like.

    Raises:
        MediaError: the file cannot be written.
        ValueError: frames or samples of a wrong shape or type.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float,
        size: tuple[int, int],
        *,
        audio_rate: int | None = None,
        crf: int = 18,
        preset: str = "veryfast",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self.fps, self.size, self.audio_rate = Path(path), fps, size, audio_rate
        self._crf, self._preset, self._tags = crf, preset, tags
        self.frames = self.samples = 0
        self._scaler = VideoReformatter()  # one for all frames: setting it up costs more than a small frame

    def __enter__(self) -> VideoWriter:
        self._output = output(self.path, self._tags)
        self._container = self._output.__enter__()
        try:
            self._video = self._add_h264()
            self._audio = add_aac(self._container, self.audio_rate, "mono", self.path) if self.audio_rate else None
        except BaseException as error:
            self._output.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._finish()
            except BaseException as late:
                self._output.__exit__(type(late), late, late.__traceback__)
                raise
        self._output.__exit__(kind, error, trace)

    def write(self, frame: np.ndarray) -> None:
        """Add a frame: uint8 (H, W, 3) RGB or (H, W) grey."""
        width, height = self.size
        if frame.dtype != np.uint8 or frame.shape not in ((height, width, 3), (height, width)):
            raise ValueError(f"frame must be uint8 ({height}, {width}[, 3]), got {frame.dtype} {frame.shape}")
        if width % 2 or height % 2:
            frame = np.pad(frame, [(0, height % 2), (0, width % 2)] + [(0, 0)] * (frame.ndim - 2), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24" if frame.ndim == 3 else "gray")
        picture = self._scaler.reformat(
            picture,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation="AREA",
            threads=1,
        )
        picture.pts = self.frames
        picture.time_base = 1 / self._rate
        self.frames += 1
        self._container.mux(self._video.encode(picture))

    def write_audio(self, samples: np.ndarray) -> None:
        """Add sound: (S,) float in [-1, 1], mono at `audio_rate`."""
        if self._audio is None:
            raise ValueError("the writer was made without audio_rate")
        if samples.ndim != 1:
            raise ValueError(f"samples must be (S,), got {samples.shape}")
        encode_aac(self._container, self._audio, samples[None], self.samples)
        self.samples += len(samples)

    @property
    def _rate(self) -> Fraction:
        return Fraction(self.fps).limit_denominator(1001)

    def _add_h264(self) -> VideoStream:
        width, height = self.size
        if width < 1 or height < 1 or not self.fps > 0:
            raise ValueError(f"size and fps must be positive, got {self.size} and {self.fps}")
        stream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.time_base = 1 / self._rate
        context = stream.codec_context
        # x264's macroblock tree with B-frames does not give the same bytes twice, even in one thread.
        context.options = {"crf": str(self._crf), "preset": self._preset, "x264-params": "mbtree=0"}
        context.thread_count = 1 if width * height < _THREADED_PIXELS else 0
        context.colorspace, context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.SMPTE170M, ColorTrc.SMPTE170M
        return stream

    def _finish(self) -> None:
        if not self.frames:
            raise MediaError("no frame to write", path=self.path)
        with translated(self.path, "write"):
            self._container.mux(self._video.encode(None))
            if self._audio is not None:
                self._container.mux(self._audio.encode(None))


def add_aac(container: OutputContainer, rate: int, layout: str, path: Path) -> AudioStream:
    """An AAC stream; 96 kbit/s a channel at 16 kHz and 128 above cannot be told from the original."""
    if rate not in _AAC_RATES:
        raise MediaError("AAC has no such sampling rate", path=path, expected=f"one of {_AAC_RATES}", got=rate)
    stream = container.add_stream("aac", rate=rate, layout=layout)
    stream.bit_rate = min(128_000, 6 * rate) * stream.codec_context.layout.nb_channels
    return stream


def encode_aac(container: OutputContainer, stream: AudioStream, samples_CS: np.ndarray, position: int) -> None:
    """Encode (C, S) samples that begin at sample `position`."""
    if not samples_CS.shape[1]:
        return  # the encoder takes an empty frame for a failed allocation
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples_CS, dtype=np.float32), format="fltp", layout=stream.codec_context.layout.name
    )
    frame.sample_rate = stream.codec_context.sample_rate
    frame.pts, frame.time_base = position, Fraction(1, frame.sample_rate)
    container.mux(stream.encode(frame))


def write_video(
    path: str | Path, video: Video, audio: Audio | None = None, *, crf: int = 18, tags: Mapping[str, str] | None = None
) -> None:
    """Write frames, and sound if given, at once. Lengths may differ; see `VideoWriter` for format and errors."""
    height, width = video.frames.shape[1:3]
    rate = audio.rate if audio is not None else None
    with VideoWriter(path, video.fps, (width, height), audio_rate=rate, crf=crf, tags=tags) as writer:
        for index, frame in enumerate(video.frames):
            writer.write(frame)
            if audio is not None and index % 25 == 24:  # in step, so that the muxer need not keep one for the other
                writer.write_audio(audio.samples[writer.samples : round((index + 1) / video.fps * audio.rate)])
        if audio is not None:
            writer.write_audio(audio.samples[writer.samples :])


def write_audio(path: str | Path, audio: Audio) -> None:
    """Write sound as 16-bit .wav or .flac, clipped to [-1, 1]; atomic.

    Raises:
        MediaError: an unknown file ending, or the file cannot be written.
    """
    write_audio_blocks(path, [audio.samples], audio.rate)


def write_audio_blocks(path: str | Path, blocks: Iterable[np.ndarray], rate: int, samples: int | None = None) -> None:
    """The same from blocks (S,), one at a time, in constant memory; cut or padded with silence to `samples` samples in
    all, if that is given (what `match_length` does to a whole)."""
    path = Path(path)
    kind = _SOUND.get(path.suffix.lower())
    if kind is None:
        raise MediaError("unknown sound format", path=path, expected=" or ".join(_SOUND), got=path.suffix or "none")
    with translated(path, "write"), atomic_path(path) as temporary:
        try:
            with soundfile.SoundFile(str(temporary), "w", rate, 1, subtype="PCM_16", format=kind) as file:
                for block in _fitted(blocks, samples):
                    # by 32768, the inverse of decoding: what was 16 bits comes back the same
                    file.write(np.clip(np.round(block * 32768.0), -32768, 32767).astype(np.int16))
        except soundfile.LibsndfileError as error:
            raise MediaError(f"cannot write: {error}", path=path) from error


def _fitted(blocks: Iterable[np.ndarray], samples: int | None) -> Iterator[np.ndarray]:
    count = 0
    for block in blocks:
        part = block if samples is None else block[: samples - count]
        count += len(part)
        yield part
    if samples is not None and count < samples:
        yield np.zeros(samples - count, np.float32)
