"""Media files: probe, decode, encode, mux. Nothing else in the house touches a codec.

Decoding goes by timestamps: frames come at a constant rate, turned upright, and sound lies where its timestamps put it.
The zero of both is the first frame of the video (the first sample, where a file has no video). FFmpeg's libraries come
inside PyAV; no ffmpeg binary is needed. Whatever cannot be read or written is a `MediaError`; a file that can be read
only in part gives what there is and a `MediaWarning`.
"""

from __future__ import annotations

from viseme.core.media.clip import match_length, read_clip
from viseme.core.media.container import MediaWarning
from viseme.core.media.decode_audio import read_audio, stream_audio
from viseme.core.media.decode_video import read_video, stream_frames, stream_pictures
from viseme.core.media.encode import VideoWriter, write_audio, write_audio_blocks, write_video
from viseme.core.media.mux import mux
from viseme.core.media.picture import Frame, Picture, shrink, warp
from viseme.core.media.probe import MediaInfo, probe

__all__ = [
    "MediaInfo",
    "MediaWarning",
    "probe",
    "read_video",
    "stream_frames",
    "stream_pictures",
    "Frame",
    "Picture",
    "shrink",
    "warp",
    "read_audio",
    "stream_audio",
    "read_clip",
    "match_length",
    "write_video",
    "VideoWriter",
    "write_audio",
    "write_audio_blocks",
    "mux",
]
