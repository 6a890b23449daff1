"""Sync scores by our own expert: the same shifts and distances as LSE, with the expert's embeddings.

F windows, D embedding, T frames, S pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from viseme.core.metrics.sync import SyncScore, sync_score
from viseme.wav2lip.data import CropClip
from viseme.wav2lip.geometry import resize_crop
from viseme.wav2lip.models import SyncExpert
from viseme.wav2lip.samples import WINDOW
from viseme.wav2lip.windows import MEL_STEP, MelWindows, mel_start

__all__ = ["embed_clip", "embed_windows", "score_clip"]

_MIN_WINDOWS = 8


@torch.inference_mode()
def embed_windows(
    expert: SyncExpert, faces_TSS3: np.ndarray, mel_MT: np.ndarray, fps: float = 25.0, batch: int = 64
) -> tuple[Tensor, Tensor]:
    """Embeddings (F, D) of each window's lips and of its sound, for frames 0 .. T-1 that follow one another.

    Args:
        faces_TSS3: uint8 BGR at the expert's size.
    """
    size = faces_TSS3.shape[1]
    halves = torch.from_numpy(faces_TSS3[:, size // 2 :]).permute(0, 3, 1, 2).float() / 255
    starts = [mel_start(frame, fps) for frame in range(len(halves))]
    count = sum(
        1 for f, start in enumerate(starts) if f + WINDOW <= len(halves) and start + MEL_STEP <= mel_MT.shape[1]
    )
    windows = MelWindows(mel_MT, starts)
    lips, audio = [], []
    for first in range(0, count, batch):
        places = range(first, min(first + batch, count))
        lips.append(expert.embed_face(torch.stack([halves[f : f + WINDOW].flatten(0, 1) for f in places])))
        audio.append(expert.embed_audio(torch.from_numpy(windows[places])[:, None].float()))
    if not lips:
        return torch.zeros(0, 1), torch.zeros(0, 1)
    return torch.cat(lips), torch.cat(audio)


def embed_clip(expert: SyncExpert, clip: CropClip, fps: float = 25.0) -> tuple[Tensor, Tensor]:
    """`embed_windows` of a prepared clip's first stretch of consecutive crops."""
    size, first = expert.config.image_size, clip.frames[0]
    length = next((k for k, frame in enumerate(clip.frames) if frame != first + k), len(clip.frames))
    faces = np.stack([resize_crop(clip.crop(k), size) for k in range(length)])
    return embed_windows(expert, faces, clip.mel[:, mel_start(first, fps) :], fps)


def score_clip(lips_FD: Tensor, audio_FD: Tensor, shift: int = 10) -> SyncScore | None:
    """Scores of a clip; None where it is too short to say anything. Distances of unit vectors lie in [0, sqrt 2]."""
    if len(lips_FD) < _MIN_WINDOWS:
        return None
    return sync_score(lips_FD, audio_FD, shift)
