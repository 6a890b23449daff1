"""The picture of im2speech's README: unseen scenes, what was understood of their spoken descriptions, and those as mel
spectrograms, the reference speech below. Everything in it is synthetic.

python -m tools.pictures_captions EVALUATION SCENES OUT.jpg      EVALUATION of `im2speech evaluate` over SCENES
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import numpy as np

from viseme.core.data import Manifest
from viseme.core.media import read_audio
from viseme.im2speech.images import read_image
from viseme.im2speech.report import spectrogram

PICTURES, WIDTH, SIDE, HEIGHT, LINE = 5, 230, 150, 56, 18
GREEN, RED, GREY = (0, 110, 0), (180, 0, 0), (90, 90, 90)


def line(text: str, colour: tuple[int, int, int]) -> np.ndarray:
    row = np.full((LINE, WIDTH, 3), 255, np.uint8)
    cv2.putText(row, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.37, colour, 1, cv2.LINE_AA)
    return row


def sound(path: Path) -> np.ndarray:
    picture = spectrogram(read_audio(path, rate=16000).samples)[..., ::-1]
    return cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def main(evaluation: str, scenes: str, out: str) -> None:
    test = Manifest.read(Path(scenes) / "manifest.csv").filter(split="test")
    rows = {row.id: row for row in test}
    columns = []
    with (Path(evaluation) / "clips.csv").open(encoding="utf-8", newline="") as stream:
        clips = list(csv.DictReader(stream))
    for clip in clips[:PICTURES]:  # the first ones: nobody chose them
        row = rows[clip["id"]]
        top = np.full((SIDE, WIDTH, 3), 255, np.uint8)
        left = (WIDTH - SIDE) // 2
        top[:, left : left + SIDE] = cv2.resize(read_image(test.file(row)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        right = clip["heard"] == clip["references"]
        parts = [top, line("said by the model, understood:", GREY), line(clip["heard"], GREEN if right else RED)]
        parts += [sound(Path(evaluation) / "wav" / f"{clip['id']}.wav"), line("reference speech:", GREY)]
        columns.append(np.concatenate([*parts, line(clip["references"], GREY), sound(test.audio_file(row))]))
    gap = np.full((columns[0].shape[0], 8, 3), 255, np.uint8)
    sheet = np.concatenate([part for column in columns for part in (column, gap)][:-1], axis=1)
    note = np.full((LINE, sheet.shape[1], 3), 255, np.uint8)
    said = "SYNTHETIC: rendered pictures, synthetic voices. The first pictures of the test list, none of them chosen."
    cv2.putText(note, said, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.37, GREY, 1, cv2.LINE_AA)
    content = np.concatenate([sheet, note])[..., ::-1]
    cv2.imwrite(out, content, [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m tools.pictures_captions EVALUATION SCENES OUT.jpg")
    main(*sys.argv[1:])
