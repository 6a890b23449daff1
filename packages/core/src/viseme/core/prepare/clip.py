"""One clip: decode once, follow the face, cut the crops, write them and the sound.

T frames at 25 fps, S samples at 16 kHz, 640 samples a frame.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from viseme.core.data import ManifestRow
from viseme.core.errors import ConfigError, DataError, FaceError, MediaError
from viseme.core.faces import (
    LANDMARK_SUFFIXES,
    FaceMesh,
    FaceTracker,
    YuNet,
    choose_track,
    find_gaps,
    read_landmarks,
)
from viseme.core.media import Frame, read_audio, stream_audio, stream_pictures, write_audio_blocks
from viseme.core.media.container import find_audio, find_video, is_image, open_media
from viseme.core.prepare.crops import KEPT_CORNERS, KEPT_POINTS, CropMaker, keep_points, make_crops
from viseme.core.prepare.facts import face_columns, opening_of
from viseme.core.prepare.options import AUDIO_RATE, FPS, PrepareOptions
from viseme.core.prepare.sync import LENGTH_S, face_clip, judge, load_estimator

__all__ = ["FACE_COLUMNS", "OPENING", "prepare_clip", "store_path"]

OPENING = "mouth_opening"
"""Column of `prepare_clip`'s row that goes into the journal and the report, not into the manifest; see `facts`."""
FACE_COLUMNS = (
    "source_fps",
    "face_px",
    "turn",
    "face_missing_frames",
    "longest_gap_frames",
    "note",
    "av_offset_frames",
    "av_confidence",
    "av_sync",
    "mouth_path",
    "mouth68_path",
    "lips_path",
    "face_path",
)
"""Columns that preparation adds where there is something to say."""


_HELD_BYTES = 256 * 1024**2
"""Decoded frames that are kept for cropping once the face is known; a longer clip is decoded a second time instead. So
much holds 13 seconds of 540x960, and over two minutes of 224x224."""
_LEAST_FPS, _WATCHED_FRAMES = 2.0, 250
"""A clip that shows fewer pictures a second than this, over so many frames of ours or a multiple, shows no speech: a
slide show, or a clock that a damaged header has stopped. (What a header says of the rate is not asked: it may lie.)"""
_SLACK_FRAMES = 2
"""Frames by which given landmarks may differ from the video (decoders disagree about the ends)."""


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
    has_sound, source_fps = _check(source)
    has_sound |= sound is not None
    seen = _Frames(source, row)
    points, notes = _given_landmarks(seen, source, row, options) if options.landmarks else _found(seen, options)
    total = len(points)
    files = _cut(seen, points, partial, row, options)
    facts = {"source_fps": f"{source_fps:.4g}", OPENING: opening_of(points)} | face_columns(points)
    columns = {f"{kind}_path": made[0][1] for kind, made in list(files.items())[1:]}
    samples, audio = 0, ""
    if has_sound:
        audio = store_path(row.id, "audio", ".flac")
        earlier, said = (0, {}) if options.sync is None else _sync(seen, points, sound or source, row, options.sync)
        notes |= said
        samples = _write_sound(sound or source, row, partial / "clip.flac", total, earlier)
        if "face" in files:  # lip sync reads the sound beside the pictures
            blocks = stream_audio(partial / "clip.flac", rate=AUDIO_RATE)
            write_audio_blocks(files["face"][0][0] / "audio.wav", blocks, AUDIO_RATE)
        _move(partial / "clip.flac", store / audio)
    for temporary, place in (pair for made in files.values() for pair in made):
        _move(temporary, store / place)
    return replace(
        row,
        path=files[options.crops[0]][0][1],
        audio=audio,
        frames=total,
        fps=FPS,
        samples=samples,
        rate=AUDIO_RATE if has_sound else None,
        start_s=None,
        end_s=None,
        extra=row.extra | facts | columns | notes | ({} if has_sound else {"note": "no audio"}),
    )


def _cut(
    frames: _Frames, points: list[np.ndarray | None], partial: Path, row: ManifestRow, options: PrepareOptions
) -> dict[str, list[tuple[Path, str]]]:
    """All crops, in one pass; kind -> (file, its place in the store), what the manifest names first."""
    shutil.rmtree(partial / "face", ignore_errors=True)  # of a clip that failed before
    makers: dict[str, CropMaker] = {}
    try:
        for kind in options.crops:
            makers[kind] = make_crops(kind, points, partial, options.variant, _placing(row.id))
        for count, frame in enumerate(frames.again(), start=1):
            if count > len(points):
                raise MediaError("the video gives more frames when it is read again", got=count, expected=len(points))
            for maker in makers.values():
                maker.add(frame)
        return {kind: maker.finish() for kind, maker in makers.items()}
    except BaseException:
        for maker in makers.values():
            with suppress(Exception):  # the first error is the one to report
                maker.abandon()
        raise


def _placing(clip_id: str) -> Callable[[str, str], str]:
    """(folder, suffix) -> the clip's place in the store."""
    return lambda folder, suffix: store_path(clip_id, folder, suffix)


def _check(source: Path) -> tuple[bool, float]:
    """Whether there is sound in the file, and the stated rate of its frames; raises where there is no video. Cheaper
    than a probe, which counts frames."""
    with open_media(source) as container:
        video = find_video(container)
        if video is None or is_image(container):
            raise MediaError("there is no video in this file", path=source)
        return find_audio(container) is not None, float(video.average_rate or video.guessed_rate or 0)


class _Frames:
    """The clip's frames, decoded once where they fit into memory."""

    def __init__(self, source: Path, row: ManifestRow) -> None:
        self._source, self._span = source, (row.start_s or 0.0, row.end_s)
        self._held: list[Frame] = []
        self._all_held = False

    def first(self) -> Iterator[Frame]:
        """Every frame, from the file.

        Raises:
            MediaError: it cannot be read, or stands still.
        """
        held, room = self._held, _HELD_BYTES
        last, pictures = None, 0
        for count, frame in enumerate(self._decode(), start=1):
            pictures += frame is not last  # a repeated picture is the same object
            last = frame
            if count % _WATCHED_FRAMES == 0 and pictures < count / FPS * _LEAST_FPS:
                raise MediaError(
                    "too few pictures to see lips move",
                    expected=f"at least {_LEAST_FPS:g} a second",
                    got=f"{pictures} in {count / FPS:g} s",
                    hint="A slide show, or a damaged clock in the file's header.",
                )
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


def _found(frames: _Frames, options: PrepareOptions) -> tuple[list[np.ndarray | None], dict[str, str]]:
    """What the crops need of the chosen face in every frame, and what is to be said about it."""
    tracker = FaceTracker(
        *_models(),
        stride=options.stride,
        mesh_stride=options.mesh_stride,
        max_faces=max(4, options.face or 0),
        points=keep_points,
    )
    total = 0
    for frame in frames.first():
        tracker.update(frame)
        total += 1
    if total == 0:
        raise MediaError("there are no frames in this clip")
    points = choose_track(tracker.tracks, options.face).per_frame(total)
    return points, _gaps(points, options)


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


def _sync(
    frames: _Frames, points: list[np.ndarray | None], sound: Path, row: ManifestRow, model: str
) -> tuple[int, dict[str, str]]:
    """By how many frames the sound must be read earlier, says the sync model; and columns about it."""
    if next(p for p in points if p is not None).shape[0] != KEPT_POINTS:
        raise ConfigError("sync needs the face's box", hint="Let the faces be found here, or leave the sync model out.")
    start_s = row.start_s or 0.0
    end_s = start_s + min(len(points) / FPS, LENGTH_S)
    heard = read_audio(sound, rate=AUDIO_RATE, start_s=start_s, end_s=end_s)
    corners = [None if p is None else p[KEPT_CORNERS] for p in points]
    return judge(load_estimator(model)(face_clip(frames.again(), corners, heard)))


def _write_sound(source: Path, row: ManifestRow, path: Path, frames: int, earlier: int = 0) -> int:
    """Sound of exactly the clip's length, read `earlier` frames before the picture, as FLAC; returns the number of
    samples."""
    shift_s = earlier / FPS
    start_s = (row.start_s or 0.0) - shift_s
    end_s = None if row.end_s is None else row.end_s - shift_s
    samples = round(frames * AUDIO_RATE / FPS)
    blocks = stream_audio(source, rate=AUDIO_RATE, start_s=max(0.0, start_s), end_s=end_s)
    silence = np.zeros(max(0, round(-start_s * AUDIO_RATE)), np.float32)
    write_audio_blocks(path, chain([silence], blocks), AUDIO_RATE, samples)
    return samples


def _move(temporary: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if temporary.is_dir():
        shutil.rmtree(target, ignore_errors=True)  # a folder cannot be renamed onto one
    temporary.replace(target)
