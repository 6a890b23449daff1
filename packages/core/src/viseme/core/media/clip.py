"""Frames and sound of one recording together, at lengths that agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from viseme.core.errors import MediaError
from viseme.core.media.container import find_audio, find_video, open_media
from viseme.core.media.decode_audio import read_audio
from viseme.core.media.decode_video import read_video
from viseme.core.types import Audio, Clip

__all__ = ["match_length", "read_clip"]


def match_length(audio: Audio, samples: int) -> Audio:
    """Sound cut, or padded with silence, at its end to exactly `samples` samples.

    The one place where sound is fitted to frames: decoders give AAC slightly different lengths.
    """
    have = len(audio.samples)
    if have == samples:
        return audio
    return Audio(np.pad(audio.samples[:samples], (0, max(samples - have, 0))), audio.rate)


def read_clip(path: str | Path, fps: float = 25.0, rate: int = 16000) -> Clip:
    """Everything in a media file: frames at `fps`, and mono sound at `rate` Hz of the same duration as the frames.

    What the file does not have is None. The clip is named after the file.

    Raises:
        MediaError: the file cannot be read, or has neither frames nor sound.
    """
    path = Path(path)
    with open_media(path) as container:
        has_video, has_audio = find_video(container) is not None, find_audio(container) is not None
    if not has_video and not has_audio:
        raise MediaError("has neither video nor sound", path=path)
    video = read_video(path, fps=fps) if has_video else None
    audio = read_audio(path, rate=rate) if has_audio else None
    if video is not None and audio is not None:
        audio = match_length(audio, round(len(video.frames) * rate / fps))
    return Clip(video, audio, path.stem)
