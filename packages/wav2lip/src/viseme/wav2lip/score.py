"""LSE-D and LSE-C of video files, by both published protocols: whole frames (LRS, LRW), or face tracks (real videos).

T frames, S samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from viseme.core.device import resolve_device
from viseme.core.errors import FaceError
from viseme.core.layers.syncnet import SyncNetV2
from viseme.core.media import read_audio, stream_frames
from viseme.core.metrics.sync import SIZE_PX, SyncNetScorer, SyncScore
from viseme.wav2lip.detection import detect_tracks_frame
from viseme.wav2lip.models import S3FDVGG
from viseme.wav2lip.tracks import build_tracks, crop_path, cut_crop
from viseme.wav2lip.weights import load_network

__all__ = ["FileScore", "FileScorer"]

FPS = 25
RATE = 16000
_CUT = 30.0  # mean change of hue, saturation and value from which a new shot begins


@dataclass(frozen=True)
class FileScore:
    """Scores of one file, or of one face track in it.

    Attributes:
        name: of the file.
        lse_d, lse_c: see `viseme.core.metrics.sync`.
        offset: frames; positive: the sound that fits lies earlier than the picture.
        first, last: frames of the track; of the whole file without tracks.
    """

    name: str
    lse_d: float
    lse_c: float
    offset: int
    first: int
    last: int

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def __str__(self) -> str:
        span = f"frames {self.first}-{self.last}"
        return f"{self.name}: LSE-D {self.lse_d:.3f}, LSE-C {self.lse_c:.3f}, offset {self.offset:+d}, {span}"


class FileScorer:
    """Scores files.

    Args:
        syncnet: weights of SyncNet v2 (`syncnet_v2.model`, or a model directory).
        detector: of the second S3FD (`sfd_face.pth`), for face tracks; None scores whole frames.
        min_track: detections that a face track must exceed (published 100).
    """

    def __init__(
        self,
        syncnet: str | Path,
        detector: str | Path | None = None,
        *,
        device: str = "auto",
        min_track: int = 100,
        min_face_size: float = 100,
    ) -> None:
        where = resolve_device(device)
        model = load_network(syncnet, "syncnet_v2").model
        assert isinstance(model, SyncNetV2)
        self._score = SyncNetScorer(model, device=where)
        self._detector: S3FDVGG | None = None
        if detector is not None:
            found = load_network(detector, "s3fd_vgg").model.to(where)
            assert isinstance(found, S3FDVGG)
            self._detector = found
        self.min_track, self.min_face_size = min_track, min_face_size

    def __call__(self, path: str | Path) -> list[FileScore]:
        """One score of the whole file, or one of each face track.

        Raises:
            MediaError: unreadable, or without sound.
            FaceError: no face track that is long and large enough.
            DataError: too short.
        """
        path = Path(path)
        samples = read_audio(path, rate=RATE).samples
        if self._detector is None:
            small = [cv2.resize(frame, (SIZE_PX, SIZE_PX)) for frame in stream_frames(path, fps=FPS)]
            return [_named(path, self._score(np.stack(small), samples), 0, len(small) - 1)]
        return list(self._tracks(path, samples, self._detector))

    def _tracks(self, path: Path, samples: np.ndarray, detector: S3FDVGG) -> Iterator[FileScore]:
        rows, cuts, total = [], [0], 0
        before: np.ndarray | None = None
        for index, frame in enumerate(stream_frames(path, fps=FPS)):
            rows += [(index, *box[:4]) for box in detect_tracks_frame(detector, frame)]
            small = _hsv(frame)
            if before is not None and _change(before, small) >= _CUT:
                cuts.append(index)
            before, total = small, index + 1
        faces = np.array(rows, np.float64).reshape(-1, 5)
        found = False
        for start, stop in zip(cuts, [*cuts[1:], total]):
            if stop - start < self.min_track:
                continue
            shot = faces[(faces[:, 0] >= start) & (faces[:, 0] < stop)]
            for track in build_tracks(shot, min_track=self.min_track, min_face_size=self.min_face_size):
                crops, way, first, last = [], crop_path(track.boxes), int(track.frames[0]), int(track.frames[-1])
                frames = stream_frames(path, fps=FPS, start_s=first / FPS)
                for place, frame in zip(range(len(track.frames)), frames):
                    crops.append(cut_crop(frame, way, place))
                sound = samples[round(first / FPS * RATE) : round((last + 1) / FPS * RATE)]
                found = True
                yield _named(path, self._score(np.stack(crops), sound), first, last)
        if not found:
            raise FaceError("no face track is long and large enough to be scored", path=path)


def _named(path: Path, score: SyncScore, first: int, last: int) -> FileScore:
    return FileScore(path.name, score.lse_d, score.lse_c, score.offset, first, last)


def _hsv(frame: np.ndarray) -> np.ndarray:
    step = max(1, min(frame.shape[:2]) // 120)
    return cv2.cvtColor(np.ascontiguousarray(frame[::step, ::step]), cv2.COLOR_RGB2HSV).astype(np.int16)


def _change(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())
