"""`report.html` of an evaluation: the table, and pictures with what was said of them, in one file without network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from viseme.core.data import Manifest
from viseme.core.errors import VisemeError
from viseme.core.files import write_text_atomic
from viseme.core.media import read_audio
from viseme.core.metrics.playable import clip_section, figure, photo, playable_page, player, score_table, spectrum
from viseme.core.signal.mel import LogRange, MelSpec
from viseme.core.types import Audio
from viseme.im2speech.images import read_image

if TYPE_CHECKING:
    from viseme.im2speech.evaluate import Evaluation

__all__ = ["spectrogram", "write_report"]

_MEL = MelSpec(16000, 1024, 160, 640, 64, 40.0, 7600.0, LogRange())
_HEIGHT = 224  # of a picture in the report, in pixels


def write_report(path: Path, result: Evaluation, captions: Manifest, *, count: int, notes: Sequence[str] = ()) -> None:
    """Write the report.

    Args:
        result: what was scored.
        captions: where its pictures and recordings are.
        count: pictures to show, spread evenly over the list.
        notes: what a reader should know: that the data are synthetic, which recogniser.
    """
    columns = list(dict.fromkeys(name for row in result.rows for name in row.scores))
    rows = {row.id: row for row in captions}
    clips = result.clips[:: max(1, len(result.clips) // count)][:count]
    table = score_table(
        ["speech", *columns, "pictures"],
        [
            (
                row.speech,
                [f"{row.scores[name]:.3f}" if name in row.scores else "" for name in columns] + [str(row.images)],
            )
            for row in result.rows
        ],
    )
    sections = [_clip(clip, result, captions, rows[clip["id"]]) for clip in clips]
    write_text_atomic(path, playable_page("im2speech", "Pictures described aloud", notes, table, sections))


def _clip(clip: Mapping[str, Any], result: Evaluation, captions: Manifest, row: Any) -> str:
    said = result.sounds[clip["id"]].audio
    figures = [figure(photo(read_image(captions.file(row)), _HEIGHT))]
    if said is not None:
        figures.append(_sound("the model", said, clip.get("heard")))
    try:
        real = read_audio(captions.audio_file(row), rate=_MEL.rate) if row.audio else None
    except VisemeError:  # the evaluation has said so
        real = None
    if real is not None:
        figures.append(_sound("reference speech", real, clip.get("heard_reference")))
    return clip_section(f"{clip['id']}: {clip['references']}", figures)


def _sound(what: str, sound: Audio, heard: str | None) -> str:
    picture = [spectrum(spectrogram(sound.samples))] if len(sound.samples) > _MEL.n_fft else []
    return figure(*picture, player(sound), caption=what, heard=heard)


def spectrogram(samples_S: np.ndarray) -> np.ndarray:
    """A log-mel spectrogram as a picture, low frequencies below: (bands, frames, 3) uint8 BGR."""
    levels = _MEL.compression(_MEL.mel_magnitude(torch.from_numpy(np.ascontiguousarray(samples_S)))).numpy()
    low, high = np.percentile(levels, 5), levels.max()
    grey = ((levels - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return cv2.applyColorMap(np.ascontiguousarray(grey[::-1]), cv2.COLORMAP_MAGMA)
