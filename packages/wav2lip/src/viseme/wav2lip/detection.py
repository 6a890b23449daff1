"""What the published commands do with S3FD's maps: candidates, box decoding, suppression, the face of a frame.

Both ports. L levels of maps, N boxes, B images; boxes are x1, y1, x2, y2.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from viseme.core.faces import Face
from viseme.wav2lip.models.s3fd import S3FD
from viseme.wav2lip.models.s3fd_vgg import S3FDVGG

__all__ = [
    "S3FDDetector",
    "best_rects",
    "candidates",
    "decode_boxes",
    "detect_relative",
    "detect_tracks_frame",
    "encode_boxes",
    "normalise_frames",
    "suppress",
]

MEANS = (104.0, 117.0, 123.0)
VARIANCES = (0.1, 0.2)


def decode_boxes(priors_N4: Tensor, offsets_N4: Tensor, variances: Sequence[float] = VARIANCES) -> Tensor:
    """Corners of boxes from priors (centre x, y, width, height) and a network's offsets; broadcasts."""
    centre = priors_N4[..., :2] + offsets_N4[..., :2] * variances[0] * priors_N4[..., 2:]
    size = priors_N4[..., 2:] * torch.exp(offsets_N4[..., 2:] * variances[1])
    low = centre - size / 2
    return torch.cat((low, low + size), dim=-1)


def encode_boxes(boxes_N4: Tensor, priors_N4: Tensor, variances: Sequence[float] = VARIANCES) -> Tensor:
    """Undo `decode_boxes`."""
    centre = (boxes_N4[..., :2] + boxes_N4[..., 2:]) / 2 - priors_N4[..., :2]
    size = (boxes_N4[..., 2:] - boxes_N4[..., :2]) / priors_N4[..., 2:]
    return torch.cat((centre / (variances[0] * priors_N4[..., 2:]), torch.log(size) / variances[1]), dim=-1)


def suppress(boxes_N5: np.ndarray, threshold: float, *, plus_one: bool = True) -> list[int]:
    """Greedy non-maximum suppression: indices that are kept, best score first.

    Args:
        boxes_N5: x1, y1, x2, y2, score.
        threshold: largest overlap (intersection over union) with a better box.
        plus_one: count both edge pixels in widths and heights.
    """
    if not len(boxes_N5):
        return []
    one = 1 if plus_one else 0
    x1, y1, x2, y2, scores = boxes_N5.T
    areas = (x2 - x1 + one) * (y2 - y1 + one)
    order, keep = scores.argsort()[::-1], []
    while len(order):
        best, rest = order[0], order[1:]
        keep.append(int(best))
        width = np.maximum(0.0, np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + one)
        height = np.maximum(0.0, np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + one)
        shared = width * height
        order = rest[shared / (areas[best] + areas[rest] - shared) <= threshold]
    return keep


# ----------------------------------------------------------------------------------------- detector A: inference


def normalise_frames(frames_BHW3: np.ndarray, *, swap: bool = True) -> Tensor:
    """uint8 BGR frames as the published command feeds them: (B,3,H,W) less the means.

    Args:
        swap: turn BGR to RGB first. The means are those of BGR, and so were the pictures in training: the published
            command swaps by mistake, and its boxes depend on that. False gives the network what it was trained on.
    """
    images = torch.from_numpy(np.ascontiguousarray(frames_BHW3[..., ::-1] if swap else frames_BHW3)).float()
    return (images - torch.tensor(MEANS)).permute(0, 3, 1, 2)


def candidates(
    maps: Sequence[tuple[Tensor, Tensor]], score: float = 0.05, strides: Sequence[int] = S3FD.STRIDES
) -> np.ndarray:
    """(N, B, 5) boxes and scores: a row for every position where any image of the batch has a face score above `score`,
    once for each such image. One row of zeros where there is none."""
    rows = []
    for (classes, offsets), stride in zip(maps, strides):
        face = classes.softmax(1)[:, 1]
        _, row, column = torch.nonzero(face > score, as_tuple=True)
        if not len(row):
            continue
        centre = torch.stack((column, row), dim=-1) * stride + stride / 2
        side = torch.full_like(centre, 4.0 * stride)
        boxes = decode_boxes(torch.cat((centre, side), -1)[:, None], offsets[:, :, row, column].permute(2, 0, 1))
        rows.append(torch.cat((boxes, face[:, row, column].T[..., None]), dim=-1))
    images = len(maps[0][0])
    return torch.cat(rows).cpu().numpy() if rows else np.zeros((1, images, 5), np.float32)


def faces_of(candidates_NB5: np.ndarray, nms: float = 0.3, score: float = 0.5) -> list[np.ndarray]:
    """Per image the boxes (n, 5) left after suppression and above `score`, best first."""
    found = []
    for image in range(candidates_NB5.shape[1]):
        boxes = candidates_NB5[:, image]
        boxes = boxes[suppress(boxes, nms)]
        found.append(boxes[boxes[:, 4] > score])
    return found


def best_rects(found: Sequence[np.ndarray]) -> list[tuple[int, int, int, int] | None]:
    """The published choice: each image's best-scored box, clipped at 0, cut to integers; None without a face."""
    rects: list[tuple[int, int, int, int] | None] = []
    for boxes in found:
        if not len(boxes):
            rects.append(None)
            continue
        x1, y1, x2, y2 = (int(value) for value in np.clip(boxes[0, :4], 0, None))
        rects.append((x1, y1, x2, y2))
    return rects


class S3FDDetector:
    """S3FD on whole frames: what the published command finds; also usable wherever core takes a face detector.

    Args:
        model: with published weights.
        swap: see `normalise_frames`.
    """

    def __init__(self, model: S3FD, *, device: str | torch.device = "cpu", swap: bool = True) -> None:
        self.model, self.device, self.swap = model.eval().to(device), torch.device(device), swap

    @torch.inference_mode()
    def faces(self, frames_BHW3: np.ndarray) -> list[np.ndarray]:
        """Per BGR frame the boxes (n, 5), best score first. That they are one batch matters: see `candidates`."""
        maps = self.model(normalise_frames(frames_BHW3, swap=self.swap).to(self.device))
        return faces_of(candidates(maps))

    def rects(self, frames_BHW3: np.ndarray) -> list[tuple[int, int, int, int] | None]:
        """Per BGR frame x1, y1, x2, y2 of the best-scored face, or None."""
        return best_rects(self.faces(frames_BHW3))

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """Faces of one RGB frame, the largest first; S3FD gives no points, these are placed by usual proportions."""
        boxes = self.faces(frame[None, ..., ::-1])[0]
        faces = []
        for x1, y1, x2, y2, score in sorted(boxes, key=lambda b: -(b[2] - b[0]) * (b[3] - b[1])):
            places = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)
            points = np.array([x1, y1], np.float32) + places * np.array([x2 - x1, y2 - y1], np.float32)
            faces.append(Face(np.array([x1, y1, x2, y2], np.float32), float(score), points))
        return faces


# ---------------------------------------------------------------------------------------- detector B: evaluation


def detect_relative(
    loc_P4: Tensor, conf_P2: Tensor, priors_P4: Tensor, *, score: float = 0.05, nms: float = 0.3, top_k: int = 750
) -> np.ndarray:
    """Boxes (n, 5) relative to the image, then the score, best first, of one image's outputs of `S3FDVGG`."""
    scores = conf_P2[:, 1]
    chosen = torch.nonzero(scores > score)[:, 0]
    chosen = chosen[scores[chosen].argsort(descending=True, stable=True)[:5000]]
    boxes = torch.cat((decode_boxes(priors_P4[chosen], loc_P4[chosen]), scores[chosen, None]), dim=1).cpu().numpy()
    return boxes[suppress(boxes, nms, plus_one=False)[:top_k]]


def tracks_input(frame_rgb: np.ndarray, scale: float) -> Tensor:
    """One RGB frame as the published track pipeline feeds it: scaled, B less 104, G less 117, R less 123, in RGB."""
    small = cv2.resize(frame_rgb, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    image = torch.from_numpy(small).float() - torch.tensor(MEANS[::-1])
    return image.permute(2, 0, 1)[None]


@torch.inference_mode()
def detect_tracks_frame(
    model: S3FDVGG, frame_rgb: np.ndarray, *, scale: float = 0.25, threshold: float = 0.9, nms: float = 0.1
) -> np.ndarray:
    """Faces (n, 5) of one RGB frame in pixels, as the published track pipeline finds them."""
    device = next(model.parameters()).device
    loc, conf, priors = model(tracks_input(frame_rgb, scale).to(device))
    boxes = detect_relative(loc[0], conf[0], priors)
    boxes = boxes[boxes[:, 4] > threshold]
    height, width = frame_rgb.shape[:2]
    boxes[:, :4] *= np.array([width, height, width, height], np.float32)
    return boxes[suppress(boxes, nms, plus_one=False)]
