"""How a face is synced, and what came of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from viseme.core.errors import ConfigError
from viseme.wav2lip.blend import BlendOptions
from viseme.wav2lip.enhance import Enhancer
from viseme.wav2lip.source import Loop

__all__ = ["Reference", "SyncOptions", "SyncedVideo"]

Reference = Literal["same", "rest"]


@dataclass(frozen=True)
class SyncOptions:
    """How a face is synced.

    Attributes:
        face: which face of several, from 1, most prominent first.
        loop: what a video does that is shorter than the sound: `pingpong`, `loop`, `hold`, or `stop` (which cuts
            the sound).
        fps: of the output, for a still picture.
        static: a video's first frame only.
        pads: pixels added to the face's box at its top, bottom, left and right.
        box: top, bottom, left, right of the face in every frame, instead of looking for it; the whole box is replaced.
        sizes: scale a video by its first frame as the published evaluation does: pixels that a face should have, the
            least and the largest short side of the frame (180, 480, 720).
        resize_factor, rotate, crop: what is done to a video's frames first (see `geometry.apply_frame_options`).
        reference: what tells the generator whose face it is: `same`, the very frame, as published, whose mouth it sees
            and partly repeats; or `rest`, the frame with the most closed mouth, so that the sound alone decides. None:
            as the model was trained.
        smooth: frames of the centred smoothing of boxes; 0 for none.
        blend: how faces are put back.
        enhancer: what is done to each generated face before it is put back (see `enhance.py`).
        silence_gate: where nobody speaks, show the source's mouth, if that is at rest.
        audio_offset_ms: positive: lips later than the sound.
        batch_size: frames that the generator makes at once; on a processor several such batches at a time.
        max_gap: frames for which a lost face is interpolated.
        label: write `AI-generated` visibly into a corner.
        crf: x264's quality; 18 cannot be told from the source.
    """

    face: int | None = None
    loop: Loop = "pingpong"
    fps: float = 25.0
    static: bool = False
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    box: tuple[int, int, int, int] | None = None
    resize_factor: int = 1
    rotate: bool = False
    crop: tuple[int, int, int, int] = (0, -1, 0, -1)
    sizes: tuple[int, int, int] | None = None
    reference: Reference | None = None
    smooth: int = 7
    blend: BlendOptions = field(default_factory=BlendOptions)
    enhancer: Enhancer | None = None
    silence_gate: bool = True
    audio_offset_ms: float = 0.0
    batch_size: int = 8
    max_gap: int = 12
    label: bool = False
    crf: int = 18

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not self.fps > 0 or self.max_gap < 0 or self.smooth < 0 or self.resize_factor < 1:
            raise ConfigError("sizes and rates are positive, smoothing and gaps not negative", got=self)
        if self.reference not in (None, *get_args(Reference)):
            raise ConfigError("no such reference", expected=" or ".join(get_args(Reference)), got=self.reference)
        if self.box is not None and not (0 <= self.box[0] < self.box[1] and 0 <= self.box[2] < self.box[3]):
            raise ConfigError("a box is top bottom left right in pixels", got=self.box)


@dataclass(frozen=True)
class SyncedVideo:
    """What `Wav2Lip.sync` made.

    Attributes:
        path: of the video.
        frames, fps, duration_s: its length.
        synced: frames with a generated mouth.
        passed: (first, last) output frames that were passed through, because no face was seen there.
        faces: how many there were.
        seconds: spent in `loading`, `tracking`, `generating`, `blending`, `decoding`, `encoding`, `sound`, over all
            threads, and from start to end (`total`), which is less than their sum.
        notes: what a user should know.
    """

    path: Path
    frames: int
    fps: float
    duration_s: float
    synced: int
    passed: tuple[tuple[int, int], ...]
    faces: int
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        made = dataclasses.asdict(self)
        return {**made, "path": str(self.path), "passed": [list(span) for span in self.passed]}
