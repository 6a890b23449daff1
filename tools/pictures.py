"""The documentation's pictures, from the embedded corpus alone: everything in them is synthetic.

python -m tools.pictures CORPUS STORE      CORPUS of `viseme corpus`, STORE of `viseme prepare` of it
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from viseme.core.data import Manifest
from viseme.core.media import read_audio, read_video
from viseme.core.signal import WAV2LIP_MEL

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
CLIPS, MOMENTS, SIDE_PX, CROP_PX = 4, 6, 144, 72


def at_a_glance(corpus: Manifest, store: Manifest) -> np.ndarray:
    """A column a clip: a frame, crops of the mouth while it speaks, and what was said as a mel spectrogram."""
    columns = []
    seen: set[str] = set()
    for row in store:
        if row.speaker in seen or len(columns) == CLIPS:
            continue
        seen.add(row.speaker or "")
        raw = next(other for other in corpus if other.id == row.id)
        frames = read_video(corpus.file(raw)).frames
        crops = read_video(store.file(row)).frames
        width = CROP_PX * MOMENTS // 2
        face = cv2.resize(frames[len(frames) // 2], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        top = np.full((SIDE_PX, width, 3), 255, np.uint8)
        top[:, (width - SIDE_PX) // 2 : (width + SIDE_PX) // 2] = face
        moments = np.linspace(len(crops) * 0.2, len(crops) * 0.8, MOMENTS).astype(int)
        small = [cv2.resize(crops[moment], (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA) for moment in moments]
        rows = [np.concatenate(small[k : k + MOMENTS // 2], axis=1) for k in (0, MOMENTS // 2)]
        columns.append(np.concatenate([top, *rows, spectrogram(read_audio(store.audio_file(row)).samples, width)]))
    gap = np.full((columns[0].shape[0], 12, 3), 255, np.uint8)
    return np.concatenate([part for column in columns for part in (column, gap)][:-1], axis=1)


def spectrogram(samples: np.ndarray, width: int, height: int = 64) -> np.ndarray:
    """RGB picture of a mel spectrogram, low bands below."""
    mel = WAV2LIP_MEL(torch.from_numpy(samples)).numpy()[::-1]
    grey = np.uint8(255 * (mel - mel.min()) / max(float(np.ptp(mel)), 1e-9))
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(cv2.applyColorMap(small, cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)


def main(corpus: str, store: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    picture = at_a_glance(Manifest.read(Path(corpus) / "manifest.csv"), Manifest.read(Path(store) / "manifest.csv"))
    cv2.imwrite(str(IMAGES / "at-a-glance.png"), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tools.pictures CORPUS STORE")
    main(*sys.argv[1:])
