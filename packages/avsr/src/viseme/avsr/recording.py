"""Files in, what a network can read out: streams chosen, faces followed, mouths cropped, long recordings cut.

A file is decoded twice (once to find the faces, once to cut the mouths), and no more than one part of a long one is
held at a time. T frames, S samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from viseme.avsr.data import InputConfig
from viseme.avsr.model import AVSRConfig, Modality
from viseme.core.data.transforms import match_audio
from viseme.core.errors import ConfigError, FaceError, MediaError
from viseme.core.faces import FaceTrack, FaceTracker, MouthCropper, choose_track
from viseme.core.faces.shots import same_shot, thumbnail
from viseme.core.faces.types import iou
from viseme.core.media import MediaInfo, probe, read_audio, stream_frames

__all__ = ["FPS", "RATE", "Asked", "Recording", "RecordingReader"]

FPS = 25.0
RATE = 16000
SAMPLES_PER_FRAME = 640
MESH_STRIDE = 2
"""Frames between landmarks, as in preparation."""

WHOLE_S = 24.0
"""Recordings up to this are read whole: the longest clips that published models were trained on."""
PART_S = 16.0
"""Longest part of a longer recording (the published length of segments since 2025)."""
SAME_FACE = 0.3
"""Overlap (IoU) from which a face goes on being the same one from part to part."""

Asked = Literal["auto", "video", "audio", "audiovisual"]


@dataclass(frozen=True, eq=False)
class Recording:
    """What a recogniser reads: mouth crops, sound, or both, of one clip.

    Attributes:
        crops: (T, H, W) grey or (T, H, W, 3) RGB uint8 at 25 fps, or None.
        samples: (S,) float32 at 16 kHz, or None.
        name: of the file or clip.
        notes: what happened on the way here.
        start_s: where in the file this part begins.
        speaker: number of the face, where faces are told apart.
    """

    crops: np.ndarray | None
    samples: np.ndarray | None
    name: str = ""
    notes: tuple[str, ...] = ()
    start_s: float = 0.0
    speaker: int | None = None

    @property
    def modality(self) -> Modality:
        if self.crops is None:
            return "audio"
        return "video" if self.samples is None else "audiovisual"

    @property
    def frames(self) -> int:
        """Video frames, or as many as the sound is long."""
        if self.crops is not None:
            return len(self.crops)
        assert self.samples is not None
        return len(self.samples) // SAMPLES_PER_FRAME


@dataclass(frozen=True)
class _Plan:
    """What is read of a file."""

    path: Path
    info: MediaInfo
    video: bool
    audio: bool
    asked: Asked
    notes: tuple[str, ...]


@dataclass
class _Part:
    """One part of a file: its place in frames, its faces, and whether the next part goes on in the same shot."""

    start: int
    end: int | None
    total: int = 0
    tracks: list[FaceTrack] = dataclasses.field(default_factory=list)
    cut_after: bool = False

    @property
    def start_s(self) -> float:
        return self.start / FPS

    @property
    def end_s(self) -> float | None:
        return None if self.end is None else self.end / FPS


class RecordingReader:
    """Reads files as one model wants them.

    Args:
        config: of the model: which modalities it reads.
        inputs: how mouths are cropped.
    """

    def __init__(self, config: AVSRConfig, inputs: InputConfig) -> None:
        self.config, self.inputs = config, inputs

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the model can read from."""
        every: tuple[Modality, ...] = ("video", "audio", "audiovisual")
        return tuple(modality for modality in every if self.reads(modality))

    def reads(self, modality: Modality) -> bool:
        return modality == self.config.modality or self.config.optional_modalities

    def whole(self, path: str | Path, modality: Asked = "auto", *, face: int | None = None) -> Recording:
        """A file as one recording, however long; raises as `parts`."""
        plan = self._plan(Path(path), modality)
        part = _Part(0, None)
        if plan.video:
            self._follow(plan, part)
        return self._recording(plan, part, self._choose_face(plan, part, face))

    def parts(
        self, path: str | Path, modality: Asked = "auto", *, face: int | None = None, everyone: bool = False
    ) -> Iterator[Recording]:
        """A file part by part, in order; one recording per part, or per part and face.

        Recordings longer than 24 s are cut into parts of at most 16 s: at a cut of the picture where there is one in
        the second half of a part, else where the sound is quietest.

        Args:
            path: any file that has the streams needed.
            modality: `auto` takes what both the file and the model have; the others insist.
            face: which face to read, from 1, most prominent first.
            everyone: read every face, each as a recording of its own. A number stands for one face as long as the
                picture shows it without a cut; who it is, is not known.

        Raises:
            MediaError: an unreadable file, or one without a stream that is needed.
            FaceError: no usable face where one is needed (in all parts of a long recording).
            ConfigError: a modality that the model cannot read.
        """
        plan = self._plan(Path(path), modality)
        if everyone and not plan.video:
            raise ConfigError("faces can be told apart only where there is video to read", got=str(path))
        short = plan.info.duration_s <= WHOLE_S
        faces = _Faces()
        refused: FaceError | None = None
        found = False
        for part in self._cut(plan, short):
            numbers = faces.numbers(part)
            try:
                for recording in self._of_part(plan, part, numbers, face, everyone, short):
                    found = True
                    yield recording
            except FaceError as error:
                if short:
                    raise
                refused = error  # a part without a face is data: the others are read
        if not found:
            if refused is not None:
                raise refused
            raise MediaError("too short to read", path=plan.path, expected=f"at least {1 / FPS:.2f} s")

    # --------------------------------------------------------------------------------------------------- streams

    def _plan(self, path: Path, asked: Asked) -> _Plan:
        """What to read of a file."""
        if asked not in get_args(Asked):
            raise ConfigError("no such modality", expected=" | ".join(get_args(Asked)), got=asked)
        info = probe(path)
        has = {"video": info.has_video, "audio": info.has_audio, "audiovisual": info.has_video and info.has_audio}
        choices: tuple[Modality, ...] = ("audiovisual", "video", "audio") if asked == "auto" else (asked,)
        able = [choice for choice in choices if self.reads(choice)]
        if not able:
            raise ConfigError(f"this model does not read {asked}", expected=self.config.modality)
        usable = [choice for choice in able if has[choice]]
        if not usable:
            lacks = " and ".join(name for name in ("video", "audio") if not has[name]) or "video and audio"
            raise MediaError(
                f"no {lacks} in the file",
                path=info.path,
                expected=" or ".join(able),
                hint="An audio-visual model with optional modalities reads from what there is."
                if asked == "auto"
                else "--modality auto takes what there is.",
            )
        chosen = usable[0]
        notes = []
        if chosen != able[0]:
            notes.append(f"read from {chosen} alone: the file has no {'audio' if chosen == 'video' else 'video'}")
        if info.truncated:
            notes.append("the file is cut short: read as far as it goes")
        if chosen != "audio" and info.has_video and abs(info.fps - FPS) > 0.01:
            notes.append(f"video converted from {info.fps:g} to {FPS:g} frames a second")
        return _Plan(path, info, chosen != "audio", chosen != "video", asked, tuple(notes))

    # --------------------------------------------------------------------------------------------------- parts

    def _cut(self, plan: _Plan, short: bool) -> Iterator[_Part]:
        """The parts of a file, with their faces."""
        if short:
            part = _Part(0, None)
            if plan.video:
                self._follow(plan, part)
            yield part
            return
        start, last, longest = 0, int(plan.info.duration_s * FPS), int(PART_S * FPS)
        while start < last:
            whole = last - start <= longest
            part = _Part(start, None if whole else start + longest)
            shots = self._follow(plan, part) if plan.video else []
            if not whole:
                later = [shot for shot in shots if shot >= longest // 2]
                cut = later[-1] if later else self._quietest(plan, part)
                part.end, part.total, part.cut_after = start + cut, cut, bool(later)
                part.tracks = [short for track in part.tracks if (short := _first(track, cut)).frames]
            yield part
            start = last if part.end is None else part.end

    def _follow(self, plan: _Plan, part: _Part) -> list[int]:
        """Find the faces of a part; returns the frames that begin a new shot."""
        cropper = MouthCropper(self.inputs.crop)
        tracker = FaceTracker(mesh_stride=MESH_STRIDE, points=cropper.select)
        shots, before = [], None
        for frame in stream_frames(plan.path, fps=FPS, start_s=part.start_s, end_s=part.end_s):
            tracker.update(frame)
            now = thumbnail(frame)
            if before is not None and not same_shot(before, now):
                shots.append(part.total)
            before = now
            part.total += 1
        part.tracks = tracker.tracks
        return shots

    def _quietest(self, plan: _Plan, part: _Part) -> int:
        """The frame in the second half of a part where the sound is weakest over 0.2 s; its end where there is none."""
        assert part.end is not None
        frames = part.end - part.start
        if not plan.info.has_audio:
            return frames
        try:
            sound = read_audio(plan.path, rate=RATE, start_s=part.start_s, end_s=part.end_s).samples
        except MediaError:
            return frames  # the sound is shorter than the picture
        energy = np.square(sound[: len(sound) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME], dtype=np.float64)
        energy = np.convolve(energy.reshape(-1, SAMPLES_PER_FRAME).sum(1), np.ones(5), mode="same")
        half = frames // 2
        if len(energy) <= half:
            return frames
        return half + int(energy[half:].argmin())

    # --------------------------------------------------------------------------------------------------- faces

    def _choose_face(self, plan: _Plan, part: _Part, face: int | None) -> FaceTrack | FaceError | None:
        """The face to read, None where no video is read, or why there is none."""
        if not plan.video:
            return None
        try:
            return choose_track(part.tracks, face)
        except FaceError as error:
            return error

    def _of_part(
        self, plan: _Plan, part: _Part, numbers: list[int], face: int | None, everyone: bool, short: bool
    ) -> Iterator[Recording]:
        if everyone:
            if not part.tracks:
                raise FaceError("no face in any frame", path=plan.path)
            for track, number in sorted(zip(part.tracks, numbers, strict=True), key=lambda pair: pair[1]):
                try:
                    yield dataclasses.replace(self._recording(plan, part, track, of=1), speaker=number)
                except FaceError:
                    if len(part.tracks) == 1:
                        raise  # a face that cannot be cropped does not spoil the others
            return
        if short or face is None:
            yield self._recording(plan, part, self._choose_face(plan, part, face), face=face)
        elif face in numbers:
            yield self._recording(plan, part, part.tracks[numbers.index(face)], of=1)

    def _recording(
        self, plan: _Plan, part: _Part, track: FaceTrack | FaceError | None, *, face: int | None = None, of: int = 0
    ) -> Recording:
        """Crops and sound of one part."""
        crops = samples = None
        notes, audio = list(plan.notes), plan.audio
        if track is not None:
            try:
                if isinstance(track, FaceError):
                    raise track
                crops = self._crops(plan, part, track)
                if not of and len(part.tracks) > 1:
                    notes.append(f"{len(part.tracks)} faces: read number {face or 1}, most prominent first")
                if missing := part.total - len(track):
                    notes.append(
                        f"the face was not seen in {missing} of {part.total} frames; its place was interpolated"
                    )
            except FaceError as error:
                if plan.asked != "auto" or of or not (plan.info.has_audio and self.reads("audio")):
                    error.path = plan.path
                    raise
                notes.append(f"read from sound alone: {error.what}")
                audio = True
        if audio:
            samples = self._sound(plan, part, crops)
        recording = Recording(crops, samples, plan.path.name, tuple(notes), part.start_s)
        if not recording.frames:
            raise MediaError("too short to read", path=plan.path, expected=f"at least {1 / FPS:.2f} s")
        return recording

    def _sound(self, plan: _Plan, part: _Part, crops: np.ndarray | None) -> np.ndarray:
        """Samples (S,) of one part, as many as belong to its crops."""
        try:
            samples = read_audio(plan.path, rate=RATE, start_s=part.start_s, end_s=part.end_s).samples
        except MediaError:
            if crops is None or not part.start:
                raise
            samples = np.zeros(0, np.float32)  # the sound ended before the picture, in an earlier part
        return samples if crops is None else match_audio(samples, len(crops)).numpy()

    def _crops(self, plan: _Plan, part: _Part, track: FaceTrack) -> np.ndarray:
        """Mouth crops (T, 96, 96) grey of one face."""
        cropper = MouthCropper(self.inputs.crop)
        frames = stream_frames(plan.path, fps=FPS, start_s=part.start_s, end_s=part.end_s)
        return np.stack(list(cropper.crops(frames, track.per_frame(part.total), gray=True)))


def _first(track: FaceTrack, frames: int) -> FaceTrack:
    """A track as far as it lies in the first frames."""
    count = sum(frame < frames for frame in track.frames)
    return FaceTrack(track.frames[:count], track.boxes[:count], track.landmarks[:count], track.scores[:count])


class _Faces:
    """Numbers of faces that hold from part to part."""

    def __init__(self) -> None:
        self._next = 1
        self._known: dict[int, np.ndarray] = {}  # number -> its last box, of the part before

    def numbers(self, part: _Part) -> list[int]:
        """A number for each track of the next part."""
        known, numbers = dict(self._known), []
        for track in part.tracks:
            match = max(known, key=lambda number: iou(known[number], track.boxes[0]), default=None)
            if match is None or iou(known[match], track.boxes[0]) < SAME_FACE:
                match, self._next = self._next, self._next + 1
            known.pop(match, None)
            numbers.append(match)
        at_end = {} if part.cut_after else dict(zip(numbers, (track.boxes[-1] for track in part.tracks), strict=True))
        self._known = at_end
        return numbers
