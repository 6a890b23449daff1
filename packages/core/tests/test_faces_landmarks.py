"""Landmarks over time, mouth crops and landmark files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from viseme.core.errors import DataError, FaceError
from viseme.core.faces import (
    MEAN_FACE,
    MEAN_FACE_4,
    MouthCropper,
    crop_mouth,
    find_gaps,
    interpolate_landmarks,
    read_landmarks,
    smooth_landmarks,
    write_landmarks,
)


def moving(frames: int, base: np.ndarray = MEAN_FACE_4) -> list[np.ndarray]:
    return [base + np.array([2.0 * t, 0.5 * t]) for t in range(frames)]


def test_gaps_are_runs_of_none():
    points = np.zeros((4, 2))
    assert find_gaps([None, points, None, None, points, None]) == [(0, 1), (2, 4), (5, 6)]
    assert find_gaps([points, points]) == []
    assert find_gaps([]) == []


def test_inner_gaps_are_linear_and_ends_are_copies():
    known = moving(8)
    given = [None if t in (0, 3, 4, 7) else points for t, points in enumerate(known)]
    filled = interpolate_landmarks(given)
    np.testing.assert_allclose(filled[3:5], known[3:5])
    np.testing.assert_array_equal(filled[0], known[1])
    np.testing.assert_array_equal(filled[7], known[6])
    assert given[0] is None


def test_whole_numbers_interpolate_to_fractions():
    filled = interpolate_landmarks([np.zeros((4, 2), np.int64), None, np.ones((4, 2), np.int64)])
    np.testing.assert_array_equal(filled[1], 0.5)


def test_nothing_to_interpolate_from():
    with pytest.raises(FaceError, match="no face in any frame"):
        interpolate_landmarks([None, None])
    with pytest.raises(FaceError, match="change shape"):
        interpolate_landmarks([np.zeros((4, 2)), np.zeros((68, 2))])


def test_smoothing_averages_the_shape_and_keeps_the_place():
    rng = np.random.default_rng(0)
    points = np.stack(moving(30)) + rng.normal(size=(30, 4, 2))
    smooth = smooth_landmarks(list(points), window=12)
    np.testing.assert_allclose(smooth.mean(1), points.mean(1))
    for t in (0, 3, 15, 29):
        h = min(6, t, 29 - t)
        mean = points[t - h : t + h + 1].mean(0)
        np.testing.assert_allclose(smooth[t], mean + points[t].mean(0) - mean.mean(0))


@pytest.mark.parametrize(("variant", "face"), [("mediapipe", MEAN_FACE_4), ("retinaface", MEAN_FACE)])
def test_a_mean_face_in_the_frame_is_cut_where_it_lies(variant, face):
    frames = np.random.default_rng(0).integers(0, 256, (3, 300, 320, 3), dtype=np.uint8)
    landmarks = [face + np.array([20, 30])] * 3
    crops = crop_mouth(frames, landmarks, variant=variant)
    ((x, y),) = MouthCropper(variant).corners(MouthCropper(variant).align(landmarks[:1])[1])
    np.testing.assert_array_equal(crops, frames[:, y + 30 : y + 126, x + 20 : x + 116])


def test_grey_frames_and_grey_crops():
    frames = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    landmarks = [MEAN_FACE_4] * 2
    assert crop_mouth(frames, landmarks, gray=True).shape == (2, 96, 96)
    assert crop_mouth(frames[..., 0], landmarks).shape == (2, 96, 96)


def test_crops_need_no_more_than_one_frame_at_a_time():
    alive = []

    def frames():
        for t in range(20):
            frame = np.full((256, 256, 3), t, np.uint8)
            alive.append(t)
            yield frame

    crops = MouthCropper().crops(frames(), [MEAN_FACE_4] * 20)
    next(crops)
    assert alive == [0]
    assert len(list(crops)) == 19


@pytest.mark.parametrize("frames", [3, 5])
def test_frames_and_landmarks_must_be_equal_in_number(frames):
    with pytest.raises(FaceError, match="differ in number"):
        crop_mouth(np.zeros((frames, 256, 256, 3), np.uint8), [MEAN_FACE_4] * 4)


def test_the_wrong_number_of_points_is_named():
    with pytest.raises(FaceError, match=r"expected \(68, 2\)"):
        MouthCropper("retinaface").align([MEAN_FACE_4])


def test_degenerate_points_are_refused():
    with pytest.raises(FaceError, match="mean face"):
        MouthCropper().align([np.zeros((4, 2))])


def test_a_mouth_too_far_from_the_middle_is_refused_or_clamped():
    skewed = MEAN_FACE.copy()
    skewed[49:54] += [0, 200]  # lips that no stable point depends on
    skewed[55:68] += [0, 200]
    with pytest.raises(FaceError, match="mouth of frame 0 is too far"):
        MouthCropper("retinaface").align([skewed])
    _, centres = MouthCropper("retinaface", clamp=True).align([skewed])
    assert centres.max() <= 256 - 48


def test_landmark_files_round_trip(tmp_path: Path):
    landmarks = [None, *moving(3), None]
    write_landmarks(tmp_path / "clip.npz", landmarks)
    back = read_landmarks(tmp_path / "clip.npz")
    assert [points is None for points in back] == [True, False, False, False, True]
    np.testing.assert_allclose(np.stack(back[1:4]), np.stack(moving(3)), rtol=1e-6)
    with pytest.raises(DataError, match="no landmarks to write"):
        write_landmarks(tmp_path / "none.npz", [None])


def test_npy_is_read(tmp_path: Path):
    np.save(tmp_path / "clip.npy", np.stack(moving(3, MEAN_FACE)))
    assert len(read_landmarks(tmp_path / "clip.npy")) == 3


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_published_pickled_lists_are_read(tmp_path: Path, protocol: int):
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps([None, *moving(2, MEAN_FACE)], protocol=protocol))
    back = read_landmarks(path)
    assert back[0] is None
    np.testing.assert_array_equal(back[2], moving(2, MEAN_FACE)[1])


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: [np.array([x], dtype=object)]])
def test_a_pickle_that_runs_something_is_refused_without_running_it(tmp_path: Path, wrap):
    target, path = tmp_path / "ran", tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps(wrap(Malicious(target))))
    with pytest.raises(DataError, match="refused to read this pickle"):
        read_landmarks(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", pickle.dumps({"a": 1}), pickle.dumps([np.zeros(3)]), pickle.dumps(["text"])]
)
def test_other_content_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "clip.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"clip\.pkl"):
        read_landmarks(path)


def test_arrays_of_the_wrong_shape_or_name_are_named(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    np.savez(tmp_path / "b.npz", one=np.zeros((2, 4, 2)), two=np.zeros(1))
    np.save(tmp_path / "c.npy", np.array([None, 1], dtype=object))
    for name in ("a.npy", "b.npz", "c.npy", "missing.npy"):
        with pytest.raises(DataError, match=name):
            read_landmarks(tmp_path / name)


def test_a_changing_number_of_points_is_named(tmp_path: Path):
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps([np.zeros((68, 2)), np.zeros((4, 2))]))
    with pytest.raises(DataError, match="number of landmarks changes"):
        read_landmarks(path)
