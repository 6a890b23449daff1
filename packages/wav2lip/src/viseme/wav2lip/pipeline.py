"""A face and any sound in, a video whose lips follow the sound out: the only inference path.

    face --decode--> tracking (first pass) --> boxes, landmarks
    face --decode--> crops --> generator, in batches --> blend --> encode (second pass)      sound --> mel windows

Two passes hold a few frames and the track of the face, whatever the length. Frames without a face pass through.

T frames, S pixels of the network.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from viseme.core import __version__
from viseme.core.device import resolve_device
from viseme.core.errors import MediaError
from viseme.core.media import VideoWriter, mux
from viseme.wav2lip.blend import blend_face, clip_box
from viseme.wav2lip.enhance import enhanced
from viseme.wav2lip.fast import fused
from viseme.wav2lip.geometry import face_inputs
from viseme.wav2lip.models import Wav2LipGenerator
from viseme.wav2lip.options import Reference, SyncedVideo, SyncOptions
from viseme.wav2lip.plan import Plan, Progress, make_plan, rest_frame
from viseme.wav2lip.sound import Clock, check_output
from viseme.wav2lip.source import prefetched
from viseme.wav2lip.synthesis import SoundWindows, generate_faces
from viseme.wav2lip.weights import load_network
from viseme.wav2lip.windows import frame_starts

__all__ = ["PROVENANCE", "Wav2Lip"]

PROVENANCE = "AI-generated: lips synthesised by viseme-wav2lip"
_PRESET = "veryfast"  # of x264: at the same quality files are a quarter larger, in half the time
_BATCHES_AT_ONCE = 4


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
        reference: what it is shown of the face where options do not say (see `SyncOptions.reference`).
        synthetic: the generator was trained on rendered faces; results say so.
        sha256: of the weights' file, for provenance.
    """

    def __init__(
        self,
        generator: Wav2LipGenerator,
        *,
        audio_offset_frames: float = 0.0,
        reference: Reference = "same",
        device: str | torch.device = "auto",
        bf16: bool = False,
        synthetic: bool = False,
        sha256: str = "",
    ) -> None:
        self.device = resolve_device(device)
        self.generator = fused(generator, torch.bfloat16 if bf16 else torch.float32).to(self.device)
        self.size, self.reference = generator.config.image_size, reference
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
            reference=loaded.settings.get("reference", "same"),
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
        progress: Progress | None = None,
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
        clock = Clock()
        options = options or SyncOptions()
        check_output(Path(out))
        plan = make_plan(face, audio, options, clock=clock, cache=cache, progress=progress)
        return self.render(plan, out, options, clock=clock, progress=progress)

    def render(
        self,
        plan: Plan,
        out: str | Path,
        options: SyncOptions,
        *,
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> SyncedVideo:
        """The second half of `sync`: what `plan.make_plan` found out becomes a video."""
        out, clock = Path(out), clock or Clock()
        show = progress or (lambda items, what, count: items)
        synced, passed = self._render(plan, out, options, clock, show)
        notes = list(plan.notes)
        if passed:
            notes.append(
                f"{sum(b - a + 1 for a, b in passed)} of {len(plan.index)} frames have no face and are as they were"
            )
        if self.synthetic:
            notes.append("the model was trained on SYNTHETIC faces")
        fps, frames = plan.source.fps, len(plan.index)
        return SyncedVideo(out, frames, fps, frames / fps, synced, passed, plan.faces, clock.seconds(), tuple(notes))

    # --------------------------------------------------------------------------------------------------- parts

    def _reference(self, plan: Plan, options: SyncOptions) -> np.ndarray | None:
        """The crop that the generator is shown of the face, BGR; None: each frame's own."""
        if (options.reference or self.reference) == "same":
            return None
        k = rest_frame(plan.path)
        frame = next(plan.source.shown([k]))
        box = clip_box(_padded(plan.path.boxes[k], options.pads), frame.shape[:2])
        return None if box is None else _crop_bgr(_Job(frame, 0, k, box))

    def _windows(self, plan: Plan, options: SyncOptions) -> SoundWindows:
        offset = self.audio_offset_frames - options.audio_offset_ms / 1000 * plan.source.fps
        starts = frame_starts(len(plan.index), plan.source.fps, offset)
        return SoundWindows(plan.sound.blocks(), plan.sound.count, starts)

    def _render(
        self, plan: Plan, out: Path, options: SyncOptions, clock: Clock, show: Progress
    ) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Returns how many frames were synced and which spans were not."""
        writer: VideoWriter | None = None
        unsynced: list[int] = []
        fps = plan.source.fps
        with tempfile.TemporaryDirectory(prefix=".wav2lip.", dir=out.parent) as folder:
            silent = Path(folder) / "frames.mp4"
            frames = show(self._frames(plan, options, clock), "syncing", len(plan.index))
            try:
                for job in self._finished(frames, plan, options, clock):
                    if job.box is None:
                        unsynced.append(job.number)
                    with clock("encoding"):
                        if writer is None:
                            height, width = job.frame.shape[:2]
                            tags = self._tags()
                            writer = VideoWriter(
                                silent, fps, (width, height), crf=options.crf, preset=_PRESET, tags=tags
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
                mux(silent, plan.sound.heard(), out, end_s=len(plan.index) / fps if plan.cut else None)
        return len(plan.index) - len(unsynced), _spans(unsynced)

    def _frames(self, plan: Plan, options: SyncOptions, clock: Clock) -> Iterator[_Job]:
        """Decoded frames with their boxes, made ahead by another thread."""
        last, path = None, plan.path
        shown = prefetched(plan.source.shown(plan.index))
        for number, k in enumerate(plan.index):
            with clock("decoding"):
                frame = next(shown, last)
            if frame is None:
                raise MediaError("the video gave no frame", path=plan.source.path)
            last = frame
            box = clip_box(_padded(path.boxes[k], options.pads), frame.shape[:2]) if path.seen[k] else None
            yield _Job(frame, number, k, box)

    def _finished(self, jobs: Iterable[_Job], plan: Plan, options: SyncOptions, clock: Clock) -> Iterator[_Job]:
        """The frames in order, with generated mouths where there are faces. On a processor several batches are made at
        once, each by few threads, which waits less than one batch by all; a batch more than these is held."""
        windows, reference = self._windows(plan, options), self._reference(plan, options)
        pending: deque[Future[list[_Job]]] = deque()
        with _workers(self.device) as (pool, count):
            for batch in _batches(jobs, options.batch_size):
                chosen = [job for job in batch if job.box is not None and plan.gate[job.number] > 0]
                with clock("sound"):
                    mel = windows[[job.number for job in chosen]]
                pending.append(pool.submit(self._batch, batch, chosen, mel, reference, plan, options, clock))
                if len(pending) > count:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()

    def _batch(
        self,
        jobs: list[_Job],
        chosen: list[_Job],
        mel: np.ndarray,
        reference: np.ndarray | None,
        plan: Plan,
        options: SyncOptions,
        clock: Clock,
    ) -> list[_Job]:
        if not chosen:
            return jobs
        with clock("generating"):
            shown = None if reference is None else [reference] * len(chosen)
            faces = face_inputs([_crop_bgr(job) for job in chosen], self.size, shown)
            made = generate_faces(self.generator, faces, mel, self.device)
        with clock("blending"):
            for job, face_BGR in zip(chosen, made):
                assert job.box is not None
                points = plan.path.points[job.source] if options.box is None else None
                weight, face = float(plan.gate[job.number]), face_BGR[..., ::-1]
                if options.enhancer is not None:
                    face = enhanced(_at_size(face, job.box), options.enhancer)
                job.frame = blend_face(job.frame, face, job.box, points, options.blend, weight)
        return jobs

    def _tags(self) -> dict[str, str]:
        model = f"sha256 {self.sha256[:16]}" if self.sha256 else "not from a file"
        note = " SYNTHETIC training data." if self.synthetic else ""
        return {"comment": f"{PROVENANCE} {__version__}; model {model}.{note}", "description": PROVENANCE}


@contextmanager
def _workers(device: torch.device) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads that make batches, and how many; they share torch's threads among them."""
    threads = torch.get_num_threads()
    count = min(threads, _BATCHES_AT_ONCE) if device.type == "cpu" else 1
    share = max(1, threads // count)
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(share,)) as pool:
            yield pool, count
    finally:
        torch.set_num_threads(threads)


def _batches(jobs: Iterable[_Job], size: int) -> Iterator[list[_Job]]:
    waiting: list[_Job] = []
    for job in jobs:
        waiting.append(job)
        if len(waiting) >= size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _at_size(face: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    return cv2.resize(np.ascontiguousarray(face), (x2 - x1, y2 - y1), interpolation=cv2.INTER_CUBIC)


def _padded(box: np.ndarray, pads: tuple[int, int, int, int]) -> np.ndarray:
    top, bottom, left, right = pads
    return box + np.array([-left, -top, right, bottom])


def _crop_bgr(job: _Job) -> np.ndarray:
    assert job.box is not None
    x1, y1, x2, y2 = job.box
    return job.frame[y1:y2, x1:x2, ::-1]


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
