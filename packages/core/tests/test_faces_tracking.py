"""Detection, landmarks and tracks on generated faces (package data: people who do not exist) moved over a canvas."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

from viseme.core.errors import ConfigError, FaceError
from viseme.core.faces import (
    CropVariant,
    FaceMesh,
    FaceTrack,
    FaceTracker,
    MouthCropper,
    YuNet,
    choose_track,
    iou,
    landmarks4,
    landmarks68,
    mouth_openness,
    track_faces,
)
from viseme.core.media import VideoWriter, stream_frames, stream_pictures
from viseme.core.prepare import PrepareOptions

HEIGHT, WIDTH = 240, 400


def portrait(number: int, side: int = 160) -> np.ndarray:
    data = (files("viseme.core") / "synthetic" / "identities" / f"{number:02d}.jpg").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


def scene(*placed: tuple[np.ndarray, float, float], grey: int = 90) -> np.ndarray:
    canvas = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    for picture, left, top in placed:
        move = np.array([[1, 0, left], [0, 1, top]], dtype=np.float64)
        mask = cv2.warpAffine(np.full(picture.shape[:2], 255, np.uint8), move, (WIDTH, HEIGHT)) > 127
        canvas[mask] = cv2.warpAffine(picture, move, (WIDTH, HEIGHT))[mask]
    return canvas


def drift(frames: int, number: int = 3, start: float = 20, step: float = 1.5) -> list[np.ndarray]:
    face = portrait(number)
    return [scene((face, start + step * t, 40 + 5 * np.sin(t / 4))) for t in range(frames)]


def counting(detector=None):
    inner, calls = detector or YuNet(), []

    def detect(frame):
        calls.append(frame.shape)
        return inner(frame)

    return detect, calls


def test_detector_finds_box_points_and_score_in_frame_pixels():
    (face,) = YuNet()(scene((portrait(0), 100, 40)))
    left, top, right, bottom = face.box_xyxy
    assert 100 < left < right < 260 and 40 < top < bottom < 200
    assert 0.6 < face.score <= 1
    right_eye, left_eye, nose, mouth_right, mouth_left = face.points
    assert right_eye[0] < nose[0] < left_eye[0] and right_eye[1] < nose[1] < mouth_right[1]
    assert mouth_right[0] < mouth_left[0]


def test_detector_looks_again_at_a_larger_size_for_small_faces():
    canvas = np.full((1080, 1920, 3), 100, np.uint8)
    canvas[500:550, 900:950] = portrait(1, 50)
    assert YuNet(wide_side=None)(canvas) == []
    assert len(YuNet(wide_side=1280)(canvas)) == 1


def test_largest_face_comes_first():
    faces = YuNet()(scene((portrait(0, 90), 10, 60), (portrait(1, 200), 150, 20)))
    assert len(faces) == 2 and faces[0].box_xyxy[0] > 140


def test_mesh_agrees_with_the_detector_and_with_its_own_next_frame():
    frame = scene((portrait(5), 100, 40))
    (face,) = YuNet()(frame)
    landmarks, presence = FaceMesh()(frame, face)
    assert landmarks.shape == (468, 2) and landmarks.dtype == np.float32 and presence > 0.9
    four = landmarks4(landmarks)
    eye_distance = np.linalg.norm(four[0] - four[1])
    expected = [face.points[0], face.points[1], face.points[2], face.points[3:].mean(0)]
    assert np.linalg.norm(four - expected, axis=1).max() < 0.2 * eye_distance
    again, _ = FaceMesh()(frame, landmarks)
    assert np.linalg.norm(again - landmarks, axis=1).mean() < 0.03 * eye_distance


def test_mesh_follows_rotation():
    frame = scene((portrait(5), 120, 40))
    (face,) = YuNet()(frame)
    upright, _ = FaceMesh()(frame, face)
    turn = cv2.getRotationMatrix2D((200, 120), 20, 1)
    turned, presence = FaceMesh()(cv2.warpAffine(frame, turn, (WIDTH, HEIGHT)), upright @ turn[:, :2].T + turn[:, 2])
    expected = upright @ turn[:, :2].T + turn[:, 2]
    assert presence > 0.9
    assert np.linalg.norm(turned - expected, axis=1).mean() < 0.05 * np.linalg.norm(upright[33] - upright[263])


def test_mesh_says_when_there_is_no_face():
    frame = scene((portrait(5), 100, 40))
    (face,) = YuNet()(frame)
    _, presence = FaceMesh()(np.full_like(frame, 90), face)
    assert presence < 0.5


def test_68_points_are_in_ibug_order():
    frame = scene((portrait(2), 100, 40))
    points = landmarks68(FaceMesh()(frame, YuNet()(frame)[0])[0])
    assert points.shape == (68, 2) and len({tuple(p) for p in points}) == 68
    x, y = points.T
    assert x[0] < x[8] < x[16] and y[8] == y.max()  # jaw from one ear over the chin to the other
    assert (np.diff(y[27:31]) > 0).all()  # nose bridge downwards
    assert (np.diff(x[31:36]) > 0).all()
    assert y[17:27].max() < y[36:48].min()  # brows over eyes
    assert x[36:42].mean() < x[27] < x[42:48].mean()
    assert x[48] == x[48:68].min() and x[54] == x[48:68].max()
    assert y[51] < y[62] <= y[66] < y[57]  # upper lip, gap, lower lip


def test_openness_grows_with_the_gap_between_the_lips():
    frame = scene((portrait(2), 100, 40))
    mesh, _ = FaceMesh()(frame, YuNet()(frame)[0])
    opened = mesh.copy()
    opened[14, 1] += 10
    assert mouth_openness(opened) > mouth_openness(mesh) >= 0


def test_stride_detects_rarely_and_tracks_the_same():
    frames = drift(21)
    detect, calls = counting()
    (sparse,) = track_faces(frames, stride=5, detector=detect)
    assert len(calls) == 5  # frames 0, 5, 10, 15, 20
    (dense,) = track_faces(frames, stride=1)
    assert sparse.frames == dense.frames == list(range(21))
    apart = [np.linalg.norm(a - b, axis=1).mean() for a, b in zip(sparse.landmarks, dense.landmarks)]
    assert np.mean(apart) < 1


def test_skipped_frames_are_interpolated():
    frames = drift(21)
    (every,) = track_faces(frames)
    (second,) = track_faces(frames, mesh_stride=2)
    assert second.frames == list(range(21))
    four = [np.stack([landmarks4(m) for m in t.landmarks]) for t in (every, second)]
    assert np.linalg.norm(four[0] - four[1], axis=2).mean() < 1


def test_boxes_and_scores_per_frame():
    (track,) = track_faces(drift(6))
    assert len(track) == len(track.boxes) == len(track.scores) == 6
    assert min(track.scores) > 0.5
    assert iou(track.boxes[0], track.boxes[1]) > 0.8


def test_two_faces_give_two_tracks_and_face_chooses():
    small, large = portrait(0, 90), portrait(1, 200)
    frames = [scene((small, 10 + t, 60), (large, 150 + t, 20)) for t in range(12)]
    tracks = track_faces(frames)
    assert [track.frames for track in tracks] == [list(range(12))] * 2
    assert choose_track(tracks).boxes[0][0] > 140
    assert choose_track(tracks, 2).boxes[0][0] < 140
    with pytest.raises(FaceError, match="from 1 to 2"):
        choose_track(tracks, 3)


def test_a_long_lasting_face_wins_over_a_larger_visitor():
    stays, visits = portrait(0, 120), portrait(1, 190)
    frames = [scene((stays, 10, 60), *([(visits, 200, 20)] if 8 <= t < 12 else [])) for t in range(24)]
    assert len(choose_track(track_faces(frames))) == 24


def test_max_faces_keeps_the_largest():
    frames = [scene((portrait(0, 90), 10, 60), (portrait(1, 200), 150, 20))] * 3
    (track,) = track_faces(frames, max_faces=1)
    assert track.boxes[0][0] > 140


def test_a_cut_ends_the_track():
    first = [scene((portrait(3), 100, 40), grey=40)] * 8
    second = [scene((portrait(4), 110, 40), grey=200)] * 8
    tracks = track_faces(first + second)
    assert sorted(track.frames for track in tracks) == [list(range(8)), list(range(8, 16))]


def test_a_track_survives_a_moment_of_black():
    frames = drift(20, step=0.5)
    black = np.zeros_like(frames[0])
    (track,) = track_faces([*frames[:8], black, black, black, *frames[11:]])
    assert track.frames == [*range(8), *range(11, 20)]
    assert [points is None for points in track.per_frame(20)] == [8 <= t < 11 for t in range(20)]


def test_a_face_that_leaves_and_returns_elsewhere_is_a_new_track():
    face, empty = portrait(3, 120), scene()
    frames = [scene((face, 10, 60))] * 6 + [empty] * 6 + [scene((face, 260, 60))] * 6
    assert sorted(track.frames for track in track_faces(frames)) == [list(range(6)), list(range(12, 18))]


def test_a_lost_face_is_looked_for_at_once():
    frames = drift(6)
    jumped = [scene((portrait(3), 200, 20))] * 6
    detect, calls = counting()
    tracks = track_faces(frames + jumped, stride=50, detector=detect)
    assert sum(len(track) for track in tracks) == 12
    assert len(calls) <= 4


def test_no_face():
    assert track_faces([scene()] * 7) == []
    with pytest.raises(FaceError, match="no face in any frame"):
        choose_track([])


def test_points_reduce_what_is_kept():
    tracker = FaceTracker(points=landmarks4)
    for frame in drift(4):
        tracker.update(frame)
    assert tracker.tracks[0].landmarks[0].shape == (4, 2)


def test_strides_below_one_are_refused():
    with pytest.raises(ConfigError):
        FaceTracker(stride=0)


def test_per_frame_of_an_empty_track():
    assert FaceTrack().per_frame(2) == [None, None]
    assert FaceTrack().prominence == 0


def crop_corners(track: FaceTrack, total: int, variant: CropVariant) -> tuple[np.ndarray, np.ndarray]:
    """Corners and middle of the mouth crop in pixels of the frame, (T, 5, 2), and pixels of the crop per pixel of the
    frame, (T,)."""
    cropper = MouthCropper(variant)
    transforms, centres = cropper.align([cropper.select(mesh) for mesh in track.per_frame(total)])
    grid = np.array([[0, 0], [96, 0], [0, 96], [96, 96], [48, 48]], dtype=float)
    back = [cv2.invertAffineTransform(t) for t in transforms]
    placed = [(grid + c) @ b[:, :2].T + b[:, 2] for b, c in zip(back, cropper.corners(centres))]
    return np.stack(placed), np.sqrt(np.abs(np.linalg.det(transforms[:, :, :2])))


def apart(track: FaceTrack, reference: FaceTrack, total: int, variant: CropVariant = "mediapipe") -> float:
    """Mean distance of two tracks' crops in pixels of the crop."""
    (ours, _), (theirs, scale) = (crop_corners(t, total, variant) for t in (track, reference))
    return float((np.linalg.norm(ours - theirs, axis=2) * scale[:, None]).mean())


def test_crops_of_the_default_strides_are_those_of_every_frame():
    """To a pixel on average, on a head that nods, sways and turns."""
    face = portrait(3, 140)
    frames = []
    for t in range(60):
        turn = cv2.getRotationMatrix2D((70, 70), 8 * np.sin(t / 5), 1 + 0.06 * np.sin(t / 7))
        turned = cv2.warpAffine(face, turn, (140, 140), borderMode=cv2.BORDER_REPLICATE)
        frames.append(scene((turned, 100 + 20 * np.sin(t / 6), 40 + 10 * np.cos(t / 4))))
    defaults = PrepareOptions()
    (sparse,) = track_faces(frames, stride=defaults.stride, mesh_stride=defaults.mesh_stride)
    (every,) = track_faces(frames, stride=1, mesh_stride=1)
    assert sparse.frames == every.frames == list(range(60))
    assert apart(sparse, every, 60) < 1.0


REAL = Path(__file__).parents[4] / "shared" / "data" / "real" / "talking_woman_5s.mp4"


@pytest.mark.skipif(not REAL.is_file(), reason="the real recording is not beside the repository; the test above covers")
@pytest.mark.parametrize("variant", ["mediapipe", "retinaface"])
def test_a_real_recording(variant):
    """A face in every frame; crops of the default strides within a pixel of those of every frame."""
    frames, defaults = list(stream_pictures(REAL)), PrepareOptions()
    (sparse,) = track_faces(frames, stride=defaults.stride, mesh_stride=defaults.mesh_stride)
    (every,) = track_faces(frames, stride=1, mesh_stride=1)
    assert sparse.frames == every.frames == list(range(125))
    assert apart(sparse, every, 125, variant) < 1.0


def test_flow_follows_what_interpolation_cannot_know():
    """A jerk between two looks at the landmarks: linear motion would be off by 6 pixels."""
    face, places = portrait(3), [100, 100, 112, 112, 112]
    frames = [scene((face, left, 40)) for left in places]
    (track,) = track_faces(frames, mesh_stride=4)
    middle = np.array([landmarks4(mesh).mean(0)[0] for mesh in track.landmarks])
    assert np.abs(middle - middle[0] - (np.array(places) - 100)).max() < 2


def test_flow_carries_a_track_to_the_last_frame_and_to_its_loss():
    face = portrait(3)
    (track,) = track_faces([scene((face, 60 + 3 * t, 40)) for t in range(7)], mesh_stride=4)
    assert track.frames == list(range(7))
    assert landmarks4(track.landmarks[6])[0, 0] - landmarks4(track.landmarks[4])[0, 0] == pytest.approx(6, abs=1)
    gone = [*(scene((face, 60, 40)) for _ in range(7)), *(scene() for _ in range(5))]
    (track,) = track_faces(gone, mesh_stride=4)
    assert track.frames == list(range(7))


def test_confirming_looks_are_coarse_but_small_faces_are_found():
    """A small face that comes while a large one is followed is found at the latest by the fourth look."""
    large, small = portrait(3, 150), portrait(5, 40)
    coarse = []

    class Spy(YuNet):
        def coarsely(self, frame, smallest_px):
            coarse.append(smallest_px)
            return super().coarsely(frame, smallest_px)

    frames = [scene((large, 10, 40), *([(small, 300, 60)] if t > 2 else [])) for t in range(24)]
    tracks = track_faces(frames, stride=4, detector=Spy(max_side=200))
    assert coarse and coarse[0] > 60
    assert len(tracks) == 2 and tracks[1].frames[0] <= 16


def test_pictures_are_tracked_as_arrays_are(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25, (WIDTH, HEIGHT), crf=10) as writer:
        for frame in drift(12):
            writer.write(frame)
    (planes,) = track_faces(stream_pictures(tmp_path / "a.mp4"), mesh_stride=3)
    (arrays,) = track_faces(stream_frames(tmp_path / "a.mp4"), mesh_stride=3)
    assert planes.frames == arrays.frames
    assert np.linalg.norm(np.stack(planes.landmarks) - np.stack(arrays.landmarks), axis=2).mean() < 0.3
