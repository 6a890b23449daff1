"""Sound out of a file: mono, at the rate asked for, where its timestamps put it.

S samples, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soxr

from viseme.core.errors import MediaError
from viseme.core.media.container import (
    MAX_GAP_S,
    decoded,
    ends_early,
    need_audio,
    open_media,
    origin_s,
    seek,
    translated,
    warn,
)
from viseme.core.types import Audio

__all__ = ["read_audio", "stream_audio", "channel_blocks"]

# Timestamps are rounded (to 1 ms in Matroska), so samples follow one another until they are off by more than a frame
# of video; then silence is put in, or samples are left out.
_TOLERANCE_S = 0.04
_SETTLE_S = 0.2  # longer than the resampler's filter; a multiple of the period of every usual pair of rates
_PREROLL_S = 0.25  # a decoder started in the middle needs a few packets to settle


def stream_audio(
    path: str | Path, *, rate: int = 16000, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[np.ndarray]:
    """Sound of an audio or video file block by block, in constant memory.

    Channels are averaged; another rate is reached with soxr's high-quality resampler (`signal.resample` is the
    published one, for who must match published features to the last bit). Sample k lies at `start_s + k / rate`
    seconds from the first frame of the video (or from the first sample, where there is no video): sound before it is
    cut, and missing sound is silence.

    Args:
        rate: samples per second wanted.
        start_s, end_s: the part wanted; `end_s` None for all.

    Yields:
        (S,) float32 in [-1, 1], blocks of any length.

    Raises:
        MediaError: the file cannot be read, has no sound, or has none in this part.
    """
    path = Path(path)
    if rate <= 0:
        raise ValueError(f"rate must be positive, got {rate}")
    lead_s = min(start_s, _SETTLE_S)  # so that a part sounds as it does in the whole
    limit = math.inf if end_s is None else round((end_s - start_s) * rate)
    resampler, native_rate, samples_in, heard = None, rate, 0, False
    position = -round(lead_s * rate)  # of the next sample made, from the start of the part

    def part(made: np.ndarray) -> np.ndarray:
        nonlocal position
        position += len(made)
        begin, surplus = len(made) - position, int(max(position - limit, 0))
        return made[max(begin, 0) : max(len(made) - surplus, 0)]

    for block_CS, native_rate in channel_blocks(path, start_s - lead_s, None if end_s is None else end_s + _SETTLE_S):
        block = block_CS.mean(0, dtype=np.float32)
        samples_in += len(block)
        if native_rate != rate:
            resampler = resampler or soxr.ResampleStream(native_rate, rate, 1, dtype="float32", quality="HQ")
            block = resampler.resample_chunk(block)
        if len(block := part(block)):
            heard = True
            yield block
    if resampler is not None:
        total = math.ceil(samples_in * rate / native_rate) - round(lead_s * rate)
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)[: max(total - position, 0)]
        if len(rest := part(rest)):
            heard = True
            yield rest
    if not heard:
        raise MediaError("no sound in the part asked for", path=path, got=f"start {start_s} s, end {end_s} s")


def read_audio(path: str | Path, *, rate: int = 16000, start_s: float = 0.0, end_s: float | None = None) -> Audio:
    """All sound of an audio or video file; see `stream_audio` for the arguments, the timeline, and the errors."""
    held = bytearray()  # grows in place: the sound is held once, not twice
    for block in stream_audio(path, rate=rate, start_s=start_s, end_s=end_s):
        held += block.astype(np.float32, copy=False).data
    return Audio(np.frombuffer(held, np.float32), rate)


def channel_blocks(path: Path, start_s: float = 0.0, end_s: float | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """(C, S) float32 blocks that follow one another without gap from `start_s` on, and the file's own rate."""
    with open_media(path) as container, translated(path, "decode"):
        stream = need_audio(container, path)
        zero_s = origin_s(container)
        stated_end_s = (container.duration or 0) / av.time_base
        seek(container, stream, start_s - _PREROLL_S)
        rate, position, shift, count, damaged = 0, 0, 0, 0, 0  # position: of the next sample, from zero
        begin, end = 0, math.inf
        for frame in decoded(container, stream):
            if frame is None:
                damaged += 1
                continue
            assert isinstance(frame, av.AudioFrame)
            samples_CS = _channels(frame)
            if not count:
                rate = frame.sample_rate
                begin = round(start_s * rate)
                end = math.inf if end_s is None else round(end_s * rate)
            elif frame.sample_rate != rate:
                what = "the sampling rate changes under way"
                raise MediaError(what, path=path, expected=f"{rate} Hz", got=f"{frame.sample_rate} Hz")
            at = position
            if frame.pts is not None and frame.time_base is not None:
                at = round((float(frame.pts * frame.time_base) - zero_s) * rate) + shift
            if not count:
                position = min(at, begin)  # where it starts late, silence up to there
            if at < position - rate:  # recordings joined end to end: time starts again
                shift += position - at
                at = position
            if at > max(position, stated_end_s * rate) + MAX_GAP_S * rate:
                raise MediaError("damaged timestamps", path=path, got=f"a jump to {at / rate:.1f} s")
            tolerance = _TOLERANCE_S * rate if count else 0
            count += 1
            if at - position > tolerance:
                gap = max(int(min(at, end)) - position, 0)
                yield from _part(np.zeros((len(samples_CS), gap), np.float32), position, begin, end, rate)
                position += gap
            elif position - at > tolerance:
                samples_CS = samples_CS[:, position - at :]
            yield from _part(samples_CS, position, begin, end, rate)
            position += samples_CS.shape[1]
            if position >= end:
                return
        if not count:
            raise MediaError("no sound can be decoded", path=path, got=f"{damaged} damaged packets")
        if ends_early(container, path, stream, position / rate + zero_s):
            warn(path, f"is cut short; its sound ends at {position / rate:.2f} s")
        elif damaged:
            warn(path, f"{damaged} damaged packets of sound left out")


def _part(samples_CS: np.ndarray, position: int, begin: int, end: float, rate: int) -> Iterator[tuple[np.ndarray, int]]:
    """What of a block that starts at `position` lies between `begin` and `end`."""
    last = samples_CS.shape[1] if end == math.inf else int(end) - position
    if last > 0 and (part_CS := samples_CS[:, max(begin - position, 0) : last]).size:
        yield part_CS, rate


def _channels(frame: av.AudioFrame) -> np.ndarray:
    """(C, S) float32 in [-1, 1]."""
    x: np.ndarray = frame.to_ndarray()
    x_CS = x if frame.format.is_planar else x.reshape(-1, frame.layout.nb_channels).T
    if x_CS.dtype == np.uint8:
        return (x_CS.astype(np.float32) - 128) / 128
    if x_CS.dtype.kind == "i":
        return (x_CS / 2.0 ** (8 * x_CS.dtype.itemsize - 1)).astype(np.float32)
    return x_CS.astype(np.float32, copy=False)
