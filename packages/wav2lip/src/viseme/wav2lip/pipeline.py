"""A face and any sound in, a video whose lips follow the sound out: the only inference path.

    face --decode--> tracking (first pass) --> boxes, landmarks
    face --decode--> crops --> generator, in batches --> blend --> encode (second pass)      sound --> mel windows

Two passes hold a few frames and the track of the face, whatever the length. Frames without a face pass through.

T frames, S pixels of the network.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from viseme.core import __version__
from viseme.core.device import resolve_device
from viseme.core.errors import FaceError, MediaError
from viseme.core.faces import FaceTracker, YuNet, choose_track
from viseme.core.media import VideoWriter, mux
from viseme.core.signal import WAV2LIP_MEL
from viseme.core.types import Audio
from viseme.wav2lip.blend import blend_face, clip_box
from viseme.wav2lip.boxes import FacePath, face_path, keep_points
from viseme.wav2lip.enhance import enhanced
from viseme.wav2lip.fast import fused
from viseme.wav2lip.geometry import apply_frame_options, face_inputs
from viseme.wav2lip.models import Wav2LipGenerator
from viseme.wav2lip.options import SyncedVideo, SyncOptions
from viseme.wav2lip.real_video import limit_resolution, rescaled_size
from viseme.wav2lip.silence import speech_weights
from viseme.wav2lip.sound import RATE, Clock, check_output, read_sound
from viseme.wav2lip.source import Source, open_source, prefetched, source_index
from viseme.wav2lip.synthesis import generate_faces, spectrogram
from viseme.wav2lip.track_cache import TrackCache
from viseme.wav2lip.weights import load_network
from viseme.wav2lip.windows import MelWindows, frame_starts

__all__ = ["PROVENANCE", "Wav2Lip"]

PROVENANCE = "AI-generated: lips synthesised by viseme-wav2lip"
_PRESET = "veryfast"  # of x264: at the same quality files are a quarter larger, in half the time
_OPEN = 0.06  # lips further apart than this share of the distance between the eyes are not at rest


@dataclass(eq=False)
class _Job:
    """A frame on its way: with a box, its mouth is generated."""

    frame: np.ndarray
    number: int
    source: int
    box: tuple[int, int, int, int] | None = None


class Wav2Lip:
    """A lip-syncer, ready to use.

    Args:
        generator: the network; a fused copy of it runs.
        audio_offset_frames: of the generator's training (see `windows.frame_starts`).
        device: `auto`, `cpu`, `cuda`, ...
        bf16: half the precision, where the processor or GPU has units for it.
        synthetic: the generator was trained on rendered faces; results say so.
        sha256: of the weights' file, for provenance.
    """

    def __init__(
        self,
        generator: Wav2LipGenerator,
        *,
        audio_offset_frames: float = 0.0,
        device: str | torch.device = "auto",
        bf16: bool = False,
        synthetic: bool = False,
        sha256: str = "",
    ) -> None:
        self.device = resolve_device(device)
        self.generator = fused(generator, torch.bfloat16 if bf16 else torch.float32).to(self.device)
        self.size = generator.config.image_size
        self.audio_offset_frames, self.synthetic, self.sha256 = audio_offset_frames, synthetic, sha256

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str | torch.device = "auto", bf16: bool = False) -> Wav2Lip:
        """Load a model directory (made by `wav2lip train` or `wav2lip convert`), or a published checkpoint as it is.

        Raises:
            CheckpointError: neither, damaged, or not a generator.
        """
        loaded = load_network(path, "generator")
        assert isinstance(loaded.model, Wav2LipGenerator)
        return cls(
            loaded.model,
            audio_offset_frames=float(loaded.settings.get("audio_offset_frames", 0)),
            device=device,
            bf16=bf16,
            synthetic=bool(loaded.settings.get("synthetic")),
            sha256=loaded.sha256,
        )

    # --------------------------------------------------------------------------------------------------- files

    def sync(
        self,
        face: str | Path,
        audio: str | Path,
        out: str | Path,
        options: SyncOptions | None = None,
        *,
        cache: str | Path | None = None,
        progress: Callable[[Iterable, str, int], Iterable] | None = None,
    ) -> SyncedVideo:
        """Make the lips of a face follow a sound.

        Args:
            face: video or picture.
            audio: any file with sound.
            out: .mp4, .m4v, .mov or .mkv to write; whole or not at all.
            cache: folder in which face tracks are kept, for many sounds on one face.
            progress: wraps an iterable of frames, with a word for it and their number.

        Raises:
            MediaError: a file that cannot be read or written, or lacks pictures or sound.
            FaceError: no face in any frame, or not the one asked for.
        """
        options = options or SyncOptions()
        out, clock = Path(out), Clock()
        check_output(out)
        show = progress or (lambda items, what, count: items)
        with clock("sound"):
            samples, sound, notes = read_sound(Path(audio))
        source = open_source(face, still_fps=options.fps, static=options.static)
        if not source.info.image:  # as published, none of these apply to still pictures
            transform: Callable[[np.ndarray], np.ndarray] = partial(
                apply_frame_options, resize_factor=options.resize_factor, rotate=options.rotate, crop=options.crop
            )
            if options.sizes is not None:
                transform = _scaled(next(source.each()), options.sizes)
            source = dataclasses.replace(source, transform=transform)
        wanted = max(1, int(np.ceil(len(samples) * source.fps / RATE - 1e-6)))
        source = dataclasses.replace(source, frames=min(source.frames, wanted))
        with clock("tracking"):
            path, faces = self._track(source, options, cache, show)
        if faces > 1:
            notes.append(f"{faces} faces: synced number {options.face or 1}, most prominent first")
        if source.info.variable_fps:
            notes.append(f"the video's rate varies; the result has {source.fps:g} frames a second")
        if source.info.truncated:
            notes.append("the video is cut short: used as far as it goes")
        index = source_index(len(path.seen), wanted, options.loop)
        if wanted - len(path.seen) > source.fps / 5 and not source.still:
            notes.append(f"the video is shorter than the sound ({options.loop})")
        with clock("sound"):
            windows = self._windows(samples, len(index), source.fps, options)
            gate = self._gate(samples, path, index, source.fps, options)
        synced, passed = self._render(source, path, index, windows, gate, sound, samples, out, options, clock, show)
        if passed:
            notes.append(
                f"{sum(b - a + 1 for a, b in passed)} of {len(index)} frames have no face and are as they were"
            )
        if self.synthetic:
            notes.append("the model was trained on SYNTHETIC faces")
        return SyncedVideo(
            out, len(index), source.fps, len(index) / source.fps, synced, passed, faces, clock.seconds(), tuple(notes)
        )

    # --------------------------------------------------------------------------------------------------- parts

    def _track(
        self, source: Source, options: SyncOptions, cache: str | Path | None, show: Callable
    ) -> tuple[FacePath, int]:
        if options.box is not None:
            return _fixed_path(source, options.box), 1
        kept = TrackCache(cache, source, options) if cache is not None else None
        if kept is not None and (found := kept.read()) is not None:
            return found
        tracker = FaceTracker(points=keep_points)
        total = 0
        for frame in show(source.each(), "looking for the face", source.frames):
            tracker.update(frame)
            total += 1
        tracks = tracker.tracks
        try:
            track = choose_track(tracks, options.face)
        except FaceError as error:
            error.path = source.path
            raise
        found = face_path(track, total, window=options.smooth, max_gap=options.max_gap), len(tracks)
        if kept is not None:
            kept.write(*found)
        return found

    def _windows(self, samples: np.ndarray, frames: int, fps: float, options: SyncOptions) -> MelWindows:
        short = max(0, WAV2LIP_MEL.n_fft // 2 + 1 - len(samples))
        mel = spectrogram(torch.from_numpy(np.pad(samples, (0, short)) if short else samples))
        offset = self.audio_offset_frames - options.audio_offset_ms / 1000 * fps
        return MelWindows(mel, frame_starts(frames, fps, offset))

    def _gate(
        self, samples: np.ndarray, path: FacePath, index: list[int], fps: float, options: SyncOptions
    ) -> np.ndarray:
        """Weight of the generated mouth in each output frame."""
        if not options.silence_gate or options.box is not None:
            return np.ones(len(index))
        speech = speech_weights(samples, len(index), fps)
        open_lips = np.array([_openness(path.points[k]) for k in range(len(path.seen))])[index] > _OPEN
        return np.where(open_lips, 1.0, speech)

    def _render(
        self,
        source: Source,
        path: FacePath,
        index: list[int],
        windows: MelWindows,
        gate: np.ndarray,
        sound: Audio | Path,
        samples: np.ndarray,
        out: Path,
        options: SyncOptions,
        clock: Clock,
        show: Callable,
    ) -> tuple[int, tuple[tuple[int, int], ...]]:
        """The second pass; returns how many frames were synced and which spans were not."""
        writer: VideoWriter | None = None
        unsynced: list[int] = []
        cut = len(index) < int(np.ceil(len(samples) * source.fps / RATE - 1e-6))
        with tempfile.TemporaryDirectory(prefix=".wav2lip.", dir=out.parent) as folder:
            silent = Path(folder) / "frames.mp4"
            frames = show(self._frames(source, path, index, options, clock), "syncing", len(index))
            jobs = self._finished(frames, path, windows, gate, options, clock)
            try:
                for job in jobs:
                    if job.box is None:
                        unsynced.append(job.number)
                    with clock("encoding"):
                        if writer is None:
                            height, width = job.frame.shape[:2]
                            tags = self._tags()
                            writer = VideoWriter(
                                silent, source.fps, (width, height), crf=options.crf, preset=_PRESET, tags=tags
                            )
                            writer.__enter__()
                        writer.write(_label(job.frame) if options.label else job.frame)
            except BaseException as error:
                if writer is not None:
                    writer.__exit__(type(error), error, error.__traceback__)
                raise
            with clock("encoding"):
                assert writer is not None
                writer.__exit__(None, None, None)
                whole = Audio(samples[: round(len(index) * RATE / source.fps)], RATE) if cut else sound
                mux(silent, whole, out)
        return len(index) - len(unsynced), _spans(unsynced)

    def _frames(
        self, source: Source, path: FacePath, index: list[int], options: SyncOptions, clock: Clock
    ) -> Iterator[_Job]:
        """Decoded frames with their boxes, made ahead by another thread."""
        last = None
        shown = prefetched(source.shown(index))
        for number, k in enumerate(index):
            with clock("decoding"):
                frame = next(shown, last)
            if frame is None:
                raise MediaError("the video gave no frame", path=source.path)
            last = frame
            box = clip_box(_padded(path.boxes[k], options.pads), frame.shape[:2]) if path.seen[k] else None
            yield _Job(frame, number, k, box)

    def _finished(
        self,
        jobs: Iterable[_Job],
        path: FacePath,
        windows: MelWindows,
        gate: np.ndarray,
        options: SyncOptions,
        clock: Clock,
    ) -> Iterator[_Job]:
        """The frames in order, with generated mouths where there are faces; a batch and what lies between is held."""
        waiting: list[_Job] = []
        for job in jobs:
            waiting.append(job)
            if len(waiting) >= options.batch_size:
                yield from self._batch(waiting, path, windows, gate, options, clock)
                waiting = []
        yield from self._batch(waiting, path, windows, gate, options, clock)

    def _batch(
        self,
        jobs: list[_Job],
        path: FacePath,
        windows: MelWindows,
        gate: np.ndarray,
        options: SyncOptions,
        clock: Clock,
    ) -> list[_Job]:
        chosen = [job for job in jobs if job.box is not None and gate[job.number] > 0]
        if chosen:
            with clock("generating"):
                faces = face_inputs([_crop_bgr(job) for job in chosen], self.size)
                numbers = [job.number for job in chosen]
                made = generate_faces(self.generator, faces, windows[numbers], self.device)
            with clock("blending"):
                for job, face_BGR in zip(chosen, made):
                    assert job.box is not None
                    points = path.points[job.source] if options.box is None else None
                    weight, face = float(gate[job.number]), face_BGR[..., ::-1]
                    if options.enhancer is not None:
                        face = enhanced(_at_size(face, job.box), options.enhancer)
                    job.frame = blend_face(job.frame, face, job.box, points, options.blend, weight)
        return jobs

    def _tags(self) -> dict[str, str]:
        model = f"sha256 {self.sha256[:16]}" if self.sha256 else "not from a file"
        note = " SYNTHETIC training data." if self.synthetic else ""
        return {"comment": f"{PROVENANCE} {__version__}; model {model}.{note}", "description": PROVENANCE}


def _scaled(first: np.ndarray, sizes: tuple[int, int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """What brings frames to the size that the published evaluation on real videos has them at."""
    face_res, min_frame_res, max_frame_res = sizes
    height, width = limit_resolution(*first.shape[:2], max_frame_res)
    faces = YuNet()(cv2.resize(first, (width, height)))
    if faces:
        x1, y1, x2, y2 = (int(value) for value in faces[0].box_xyxy)
        height, width = rescaled_size(height, width, (x1, y1, x2, y2), face_res, min_frame_res)
    return lambda frame: cv2.resize(frame, (width, height))


def _at_size(face: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    return cv2.resize(np.ascontiguousarray(face), (x2 - x1, y2 - y1), interpolation=cv2.INTER_CUBIC)


def _padded(box: np.ndarray, pads: tuple[int, int, int, int]) -> np.ndarray:
    top, bottom, left, right = pads
    return box + np.array([-left, -top, right, bottom])


def _fixed_path(source: Source, box: tuple[int, int, int, int]) -> FacePath:
    y1, y2, x1, x2 = box
    count = sum(1 for _ in source.each())
    boxes = np.tile(np.array([x1, y1, x2, y2], np.float64), (count, 1))
    return FacePath(boxes, np.zeros((count, 68, 2), np.float32), np.ones(count, bool))


def _crop_bgr(job: _Job) -> np.ndarray:
    assert job.box is not None
    x1, y1, x2, y2 = job.box
    return job.frame[y1:y2, x1:x2, ::-1]


def _openness(points: np.ndarray) -> float:
    """Gap between the inner lips over the distance between the eyes, of 68 points."""
    eyes = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    return float(np.linalg.norm(points[62] - points[66]) / eyes) if eyes > 0 else 0.0


def _spans(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    """Runs of consecutive numbers as (first, last)."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return tuple(spans)


def _label(frame: np.ndarray) -> np.ndarray:
    """`AI-generated` in the lower left corner."""
    out = frame.copy()
    scale = max(0.35, frame.shape[0] / 900)
    place = (round(12 * scale), frame.shape[0] - round(14 * scale))
    for colour, width in (((0, 0, 0), max(2, round(4 * scale))), ((255, 255, 255), max(1, round(1.5 * scale)))):
        cv2.putText(out, "AI-generated", place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return out
