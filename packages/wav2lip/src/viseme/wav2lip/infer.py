"""The published inference command: its flags on our pipeline, or its very frames with `--published`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from viseme.core.device import resolve_device
from viseme.core.errors import ConfigError, FaceError, MediaError
from viseme.core.media import VideoWriter, mux, probe, read_audio, stream_frames
from viseme.wav2lip.detection import S3FDDetector
from viseme.wav2lip.geometry import apply_frame_options, batched, coords_of, face_inputs, paste
from viseme.wav2lip.models import S3FD, Wav2LipGenerator
from viseme.wav2lip.pipeline import PROVENANCE
from viseme.wav2lip.sound import RATE
from viseme.wav2lip.synthesis import generate_faces, spectrogram
from viseme.wav2lip.weights import load_network
from viseme.wav2lip.windows import MelWindows, frame_index, inference_starts

__all__ = ["PublishedOptions", "parse_flag", "run_published"]


@dataclass(frozen=True)
class PublishedOptions:
    """The published command's flags, with its defaults."""

    checkpoint_path: str
    face: str
    audio: str
    outfile: str
    static: bool = False
    fps: float = 25.0
    pads: tuple[int, int, int, int] = (0, 10, 0, 0)
    face_det_batch_size: int = 16
    wav2lip_batch_size: int = 128
    resize_factor: int = 1
    crop: tuple[int, int, int, int] = (0, -1, 0, -1)
    box: tuple[int, int, int, int] = (-1, -1, -1, -1)
    rotate: bool = False
    nosmooth: bool = False
    s3fd_path: str | None = None
    device: str = "auto"


def run_published(options: PublishedOptions) -> tuple[Path, int]:
    """Frames exactly as the published command makes them, in constant memory; returns the file and their number.

    The whole box is overwritten, a shorter video starts again, the picture ends about 0.1 s before the sound, and a
    frame without a face ends the run, all as published. The container is ours: frames are encoded once.

    Raises:
        ConfigError: no detector's weights, and no box.
        FaceError: a frame without a face.
        MediaError, CheckpointError: a file that cannot be used.
    """
    device = resolve_device(options.device)
    loaded = load_network(options.checkpoint_path, "generator")
    assert isinstance(loaded.model, Wav2LipGenerator)
    generator = loaded.model.to(device)
    info = probe(options.face)
    if not info.has_video:
        raise MediaError("has no pictures", path=options.face)
    still = info.image
    fps = options.fps if still else info.fps
    samples = read_audio(options.audio, rate=RATE).samples
    mel = spectrogram(torch.from_numpy(samples))
    starts = inference_starts(mel.shape[1], fps)
    windows = MelWindows(mel, starts)
    first_only = options.static or still

    def source(limit: int) -> Iterator[np.ndarray]:
        for _, frame in zip(range(1 if first_only else limit), stream_frames(options.face, fps=None)):
            bgr = frame[..., ::-1]
            if not still:
                bgr = apply_frame_options(
                    bgr, resize_factor=options.resize_factor, rotate=options.rotate, crop=options.crop
                )
            yield np.ascontiguousarray(bgr)

    coords = _coords(source(len(starts)), options, device)
    index = frame_index(len(coords), len(starts))
    out = Path(options.outfile)
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tempfile.TemporaryDirectory(prefix=".wav2lip.", dir=out.parent) as folder:
        silent, writer = Path(folder) / "frames.mp4", None
        try:
            shown = _repeated(source, len(coords), len(index))
            for places in batched(len(index), options.wav2lip_batch_size):
                frames = [next(shown) for _ in places]
                boxes = [coords[index[i]] for i in places]
                crops = [frame[y1:y2, x1:x2] for frame, (y1, y2, x1, x2) in zip(frames, boxes)]
                faces = face_inputs(crops, generator.config.image_size)
                made = generate_faces(generator, faces, windows[places], device)
                for frame, prediction, box in zip(frames, made, boxes):
                    if writer is None:
                        size = frame.shape[1], frame.shape[0]
                        writer = VideoWriter(silent, fps, size, crf=18, tags={"comment": PROVENANCE})
                        writer.__enter__()
                    writer.write(paste(prediction, frame, box)[..., ::-1])
                    count += 1
        except BaseException as error:
            if writer is not None:
                writer.__exit__(type(error), error, error.__traceback__)
            raise
        assert writer is not None
        writer.__exit__(None, None, None)
        mux(silent, options.audio, out)
    return out, count


def _repeated(source: Callable[[int], Iterator[np.ndarray]], frames: int, wanted: int) -> Iterator[np.ndarray]:
    """The source from its start again and again; one frame is kept rather than read again."""
    made = 0
    while made < wanted:
        for frame in source(frames):
            if frames == 1:
                yield from (frame for _ in range(wanted))
                return
            yield frame
            made += 1


def _coords(frames: Iterable[np.ndarray], options: PublishedOptions, device: torch.device) -> np.ndarray:
    """y1, y2, x1, x2 of each frame's face."""
    if options.box[0] != -1:
        count = sum(1 for _ in frames)
        return np.tile(np.array(options.box), (count, 1))
    if options.s3fd_path is None:
        raise ConfigError(
            "the published detector's weights are needed", expected="--s3fd_path s3fd-619a316812.pth, or --box",
            hint="Without --published, faces are found with the detector that comes with viseme.",
        )  # fmt: skip
    loaded = load_network(options.s3fd_path, "s3fd")
    assert isinstance(loaded.model, S3FD)
    detector = S3FDDetector(loaded.model, device=device)
    rects: list[tuple[int, int, int, int]] = []
    size = (0, 0)
    for batch in _batches(frames, options.face_det_batch_size):
        size = batch.shape[1:3]
        for rect in detector.rects(batch):
            if rect is None:
                raise FaceError(
                    "no face in a frame, where the published command ends", path=options.face,
                    got=f"frame {len(rects)}", hint="Without --published such frames are passed through.",
                )  # fmt: skip
            rects.append(rect)
    return coords_of(rects, size, pads=options.pads, smooth=not options.nosmooth)


def _batches(frames: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    waiting: list[np.ndarray] = []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


def parse_flag(text: str) -> bool:
    """`--static False` means no, which in the published command it does not."""
    lowered = text.lower()
    if lowered in ("true", "yes", "1", "on"):
        return True
    if lowered in ("false", "no", "0", "off"):
        return False
    raise ConfigError("neither yes nor no", expected="True or False", got=text)
