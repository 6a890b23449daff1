"""Mouth crops against the published implementation: gaps, smoothing, similarity, patches (kind `crop`)."""

from __future__ import annotations

import harness
import numpy as np
import pytest

from viseme.core.faces import MEAN_FACE, MEAN_FACE_4, MouthCropper, interpolate_landmarks, smooth_landmarks


@pytest.mark.parametrize(("name", "entry"), harness.entries("avsr", "crop"))
def test_crop(name, entry):
    folder, config = harness.folder("avsr"), entry["config"]
    frames, landmarks, missing = (
        harness.inputs.make_input(folder, entry, key) for key in ("frames", "landmarks", "missing")
    )
    detections = [None if index in missing else points for index, points in enumerate(landmarks)]
    cropper = MouthCropper(config["detector"], size=config["crop"], window=config["window_margin"])

    comparison = harness.Comparison("avsr", entry)
    filled = interpolate_landmarks(detections)
    comparison.check("interpolated", np.stack(filled))
    comparison.check("smoothed", smooth_landmarks(filled, config["window_margin"]))
    comparison.check("transforms", cropper.align(detections)[0])
    comparison.check("patches_gray", np.stack(list(cropper.crops(frames, detections, gray=True))))
    comparison.check("patches_rgb", np.stack(list(cropper.crops(frames, detections))))
    comparison.finish()


def test_mean_face_is_the_published_one():
    published = np.load(harness.data_file("avsr", "20words_mean_face.npy"))
    np.testing.assert_array_equal(MEAN_FACE, published)
    # The four-point reference to the three decimals that the specification gives.
    np.testing.assert_allclose(
        MEAN_FACE_4, [(102.074, 94.272), (156.361, 93.578), (129.004, 135.903), (129.313, 157.823)], atol=5e-4
    )
