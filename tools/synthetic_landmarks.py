"""Compute the landmarks of the synthetic corpus's faces: `identities/landmarks.npz` of viseme.core.synthetic.

Run after adding or changing a picture: python tools/synthetic_landmarks.py [--check]
"""

from __future__ import annotations

import argparse
import io
import sys
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from viseme.core.faces import YuNet
from viseme.core.files import write_bytes_atomic

FOLDER = Path(str(files("viseme.core.synthetic") / "identities"))
SIDE, MARGIN, REFINEMENTS = 192, 1.5, 3
TOLERANCE_PX = 0.5  # between versions of onnxruntime and OpenCV


def landmarks(photo: np.ndarray, detector: YuNet, session: onnxruntime.InferenceSession) -> np.ndarray:
    """(468, 3) float32 of the largest face in `photo` (H, W, 3) RGB: core's FaceMesh gives x and y only, this z too."""
    face = detector(photo)[0]
    low, high = face.box_xyxy[:2], face.box_xyxy[2:]
    right_eye, left_eye = face.points[:2]
    for _ in range(REFINEMENTS):
        scale = MARGIN * float((high - low).max()) / SIDE
        tilt = np.arctan2(*(left_eye - right_eye)[::-1])
        turn = scale * np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        to_photo = np.column_stack([turn, (low + high) / 2 - turn @ np.full(2, SIDE / 2)])
        crop = cv2.warpAffine(photo, to_photo, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        (points,) = session.run(["conv2d_21"], {"input_1": crop[None].astype(np.float32) / 255})
        mesh = points.reshape(468, 3)
        xy = mesh[:, :2] @ turn.T + to_photo[:, 2]
        low, high = xy.min(0), xy.max(0)
        right_eye, left_eye = xy[[33, 133]].mean(0), xy[[362, 263]].mean(0)
    return np.round(np.column_stack([xy, mesh[:, 2] * scale]), 2).astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with what is there instead of writing it")
    check = parser.parse_args().check
    detector = YuNet()
    session = onnxruntime.InferenceSession((files("viseme.core.faces") / "weights" / "face_mesh.onnx").read_bytes())
    photos = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in sorted(FOLDER.glob("*.jpg"))]
    found = np.stack([landmarks(photo, detector, session) for photo in photos])
    path = FOLDER / "landmarks.npz"
    if check:
        with np.load(path, allow_pickle=False) as stored:
            away = float(np.abs(stored["landmarks"] - found).max())
        print(f"{path}: at most {away:.2f} px away from what is computed now")
        return int(away > TOLERANCE_PX)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, landmarks=found)
    write_bytes_atomic(path, buffer.getvalue())
    print(f"{path}: {len(found)} faces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
