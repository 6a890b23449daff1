"""Faces: detection (YuNet), 468 landmarks (FaceMesh), tracking, landmarks over time, and mouth crops laid onto the mean
face."""

from __future__ import annotations

from viseme.core.faces.boxes import mesh_box, smooth_path
from viseme.core.faces.landmark_files import LANDMARK_SUFFIXES, read_landmarks, write_landmarks
from viseme.core.faces.mean_face import MEAN_FACE, MEAN_FACE_4, MEAN_FACE_SIZE
from viseme.core.faces.mesh import FaceMesh
from viseme.core.faces.mouth import CropVariant, MouthCropper, crop_mouth
from viseme.core.faces.points import MESH_68, landmarks4, landmarks68, mouth_openness
from viseme.core.faces.smoothing import SMOOTHING_WINDOW, find_gaps, interpolate_landmarks, smooth_landmarks
from viseme.core.faces.tracking import FaceTrack, FaceTracker, choose_track, track_faces
from viseme.core.faces.types import Face, FaceDetector, iou
from viseme.core.faces.yunet import YuNet

__all__ = [
    "Face",
    "FaceDetector",
    "YuNet",
    "FaceMesh",
    "FaceTrack",
    "FaceTracker",
    "track_faces",
    "choose_track",
    "MESH_68",
    "landmarks4",
    "landmarks68",
    "mouth_openness",
    "SMOOTHING_WINDOW",
    "find_gaps",
    "interpolate_landmarks",
    "smooth_landmarks",
    "MEAN_FACE",
    "MEAN_FACE_4",
    "MEAN_FACE_SIZE",
    "CropVariant",
    "MouthCropper",
    "crop_mouth",
    "LANDMARK_SUFFIXES",
    "read_landmarks",
    "write_landmarks",
    "iou",
    "mesh_box",
    "smooth_path",
]
