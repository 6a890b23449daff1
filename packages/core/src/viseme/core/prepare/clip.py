"""One clip: decode once, follow the face, cut the crops, write them and the sound.

T frames at 25 fps, S samples at 16 kHz, 640 samples a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from viseme.core.data import ManifestRow
from viseme.core.errors import DataError, FaceError, MediaError
from viseme.core.faces import (
    LANDMARK_SUFFIXES,
    FaceMesh,
    FaceTracker,
    MouthCropper,
    YuNet,
    choose_track,
    find_gaps,
    read_landmarks,
)
from viseme.core.media import Frame, VideoWriter, match_length, read_audio, stream_pictures, write_audio
from viseme.core.media.container import find_audio, find_video, is_image, open_media
from viseme.core.prepare.options import AUDIO_RATE, FPS, PrepareOptions

__all__ = ["FACE_COLUMNS", "prepare_clip", "store_path"]

FACE_COLUMNS = ("face_missing_frames", "longest_gap_frames", "note")
"""Columns that preparation adds where there is something to say."""


_HELD_BYTES = 512 * 1024**2
"""Decoded frames that are kept for cropping once the face is known; a longer clip is decoded a second time instead."""
_SLACK_FRAMES = 2
"""Frames by which given landmarks may differ from the video (decoders disagree about the ends)."""
_CRF, _PRESET = 11, "superfast"
"""Of the crops: hardly to be told from the original, as crops are compressed a second time. As large and as good as
x264's next preset makes them at 10, in two thirds of the time."""


def store_path(clip_id: str, folder: str, suffix: str) -> str:
    """Where a clip's file lies in the store: the id's own sub-folders below `folder`.

    Raises:
        DataError: an id that leads out of the store.
    """
    parts = PurePosixPath(clip_id).parts
    if not parts or ".." in parts or PurePosixPath(clip_id).is_absolute():
        raise DataError("this id cannot be a path in the store", got=repr(clip_id))
    return str(PurePosixPath(folder, *parts[:-1], parts[-1] + suffix))


def prepare_clip(
    source: Path, row: ManifestRow, store: Path, partial: Path, options: PrepareOptions, *, sound: Path | None = None
) -> ManifestRow:
    """Prepare one clip.

    Args:
        source: its video.
        row: its row in the source manifest; `start_s` and `end_s` cut it out of `source`.
        store: folder of the prepared store.
        partial: folder for half-written files on the same disk.
        options: what to make.
        sound: file of its sound, where that is not in `source`.

    Returns:
        Its row in the store's manifest. Its files are complete and in place.

    Raises:
        VisemeError: it cannot be prepared; says why.
    """
    has_sound = _check(source) or sound is not None
    name = store_path(row.id, "mouth", ".mp4")
    cropper = MouthCropper(options.variant)
    seen = _Frames(source, row)
    landmarks, notes = (
        _given_landmarks(seen, source, row, options) if options.landmarks else _found_landmarks(seen, cropper, options)
    )
    total = len(landmarks)
    temporary = partial / "clip.mp4"
    with VideoWriter(temporary, FPS, (cropper.size, cropper.size), crf=_CRF, preset=_PRESET) as writer:
        for crop in cropper.crops(seen.again(), landmarks):
            writer.write(crop)
    samples, audio = 0, ""
    if has_sound:
        audio = store_path(row.id, "audio", ".flac")
        samples = _write_sound(sound or source, row, partial / "clip.flac", total)
        _move(partial / "clip.flac", store / audio)
    _move(temporary, store / name)
    return replace(
        row,
        path=name,
        audio=audio,
        frames=total,
        fps=FPS,
        samples=samples,
        rate=AUDIO_RATE if has_sound else None,
        start_s=None,
        end_s=None,
        extra=row.extra | notes | ({} if has_sound else {"note": "no audio"}),
    )


def _check(source: Path) -> bool:
    """Whether there is sound in the file; raises where there is no video. Cheaper than a probe, which counts frames."""
    with open_media(source) as container:
        if find_video(container) is None or is_image(container):
            raise MediaError("there is no video in this file", path=source)
        return find_audio(container) is not None


class _Frames:
    """The clip's frames, decoded once where they fit into memory."""

    def __init__(self, source: Path, row: ManifestRow) -> None:
        self._source, self._span = source, (row.start_s or 0.0, row.end_s)
        self._held: list[Frame] = []
        self._all_held = False

    def first(self) -> Iterator[Frame]:
        """Every frame, from the file."""
        held, room = self._held, _HELD_BYTES
        for frame in self._decode():
            room -= frame.nbytes
            if room >= 0:
                held.append(frame)
            elif held:
                held.clear()
            yield frame
        self._all_held = room >= 0

    def again(self) -> Iterator[Frame]:
        """Every frame once more (or for the first time)."""
        return iter(self._held) if self._all_held else self._decode()

    def _decode(self) -> Iterator[Frame]:
        start_s, end_s = self._span
        return stream_pictures(self._source, fps=FPS, start_s=start_s, end_s=end_s)


@lru_cache(maxsize=1)
def _models() -> tuple[YuNet, FaceMesh]:
    """One detector and one mesh per process."""
    return YuNet(), FaceMesh()


def _found_landmarks(
    frames: _Frames, cropper: MouthCropper, options: PrepareOptions
) -> tuple[list[np.ndarray | None], dict[str, str]]:
    """Landmarks of the chosen face per frame, and what is to be said about it."""
    tracker = FaceTracker(
        *_models(),
        stride=options.stride,
        mesh_stride=options.mesh_stride,
        max_faces=max(4, options.face or 0),
        points=cropper.select,
    )
    total = 0
    for frame in frames.first():
        tracker.update(frame)
        total += 1
    if total == 0:
        raise MediaError("there are no frames in this clip")
    landmarks = choose_track(tracker.tracks, options.face).per_frame(total)
    return landmarks, _gaps(landmarks, options)


def _given_landmarks(
    frames: _Frames, source: Path, row: ManifestRow, options: PrepareOptions
) -> tuple[list[np.ndarray | None], dict[str, str]]:
    """The same from a file below `options.landmarks`."""
    assert options.landmarks is not None
    files = [Path(options.landmarks) / store_path(row.id, ".", suffix) for suffix in LANDMARK_SUFFIXES]
    file = next((file for file in files if file.exists()), None)
    if file is None:
        raise FaceError("no landmarks for this clip", expected=" or ".join(map(str, files)))
    landmarks = read_landmarks(file)
    total = sum(1 for _ in frames.first())
    if abs(total - len(landmarks)) > _SLACK_FRAMES:
        hint = "Landmarks must be those of the video at 25 frames per second."
        raise FaceError("landmarks do not fit the video", path=file, expected=total, got=len(landmarks), hint=hint)
    landmarks = [*landmarks[:total], *[None] * (total - len(landmarks))]
    if not any(points is not None for points in landmarks):
        raise FaceError("no face in any frame", path=file)
    return landmarks, _gaps(landmarks, options)


def _gaps(landmarks: list[np.ndarray | None], options: PrepareOptions) -> dict[str, str]:
    """Columns about frames without the face; raises where it is seen too rarely to read anything from."""
    total = len(landmarks)
    missing = sum(points is None for points in landmarks)
    if total - missing < options.min_visible * total:
        raise FaceError(
            "the face is seen too rarely",
            expected=f"at least {options.min_visible:.0%} of the frames",
            got=f"{total - missing} of {total} frames",
            hint="Choose another face, or lower min_visible.",
        )
    longest = max((stop - start for start, stop in find_gaps(landmarks)), default=0)
    columns = {"face_missing_frames": str(missing)} if missing else {}
    return columns | ({"longest_gap_frames": str(longest)} if longest > options.long_gap_s * FPS else {})


def _write_sound(source: Path, row: ManifestRow, path: Path, frames: int) -> int:
    """Sound of exactly the clip's length, as FLAC; returns the number of samples."""
    sound = read_audio(source, rate=AUDIO_RATE, start_s=row.start_s or 0.0, end_s=row.end_s)
    samples = round(frames * AUDIO_RATE / FPS)
    write_audio(path, match_length(sound, samples))
    return samples


def _move(temporary: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(target)
