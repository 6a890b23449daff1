"""`report.html` of an evaluation: the table, and pictures with what was said of them, in one file without network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import soundfile
import torch
from PIL import Image

from viseme.core.data import Manifest
from viseme.core.errors import VisemeError
from viseme.core.files import write_text_atomic
from viseme.core.media import read_audio
from viseme.core.signal.mel import LogRange, MelSpec
from viseme.core.types import Audio
from viseme.im2speech.images import read_image

if TYPE_CHECKING:
    from viseme.im2speech.evaluate import Evaluation

__all__ = ["spectrogram", "write_report"]

_MEL = MelSpec(16000, 1024, 160, 640, 64, 40.0, 7600.0, LogRange())
_SIDE = 224  # of a picture in the report

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse}
td,th{text-align:left;padding:.15em 1.2em .15em 0}td.n{text-align:right}
.clip{display:flex;flex-wrap:wrap;gap:1.5em;margin:.6em 0 1.6em}figure{margin:0}
figcaption{font-size:.9em;max-width:340px}figure img.s{display:block;width:340px;height:128px}audio{width:340px}"""


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
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>im2speech</title><style>{_STYLE}</style>",
        "<h1>Pictures described aloud</h1>",
        *(f"<p>{html.escape(note)}</p>" for note in notes if note),
        "<table><tr><th>speech" + "".join(f"<th>{name}" for name in columns) + "<th>pictures</tr>",
        *(_line(row.speech, row.scores, columns, row.images) for row in result.rows),
        "</table><h2>Pictures</h2>",
        *(_clip(clip, result, captions, rows[clip["id"]]) for clip in clips),
    ]
    write_text_atomic(path, "\n".join(parts) + "\n")


def _line(speech: str, scores: Mapping[str, float], columns: Sequence[str], images: int) -> str:
    cells = "".join("<td class=n>" + (f"{scores[name]:.3f}" if name in scores else "") for name in columns)
    return f"<tr><td>{html.escape(speech)}{cells}<td class=n>{images}</tr>"


def _clip(clip: Mapping[str, Any], result: Evaluation, captions: Manifest, row: Any) -> str:
    said = result.sounds[clip["id"]].audio
    figures = [_picture(read_image(captions.file(row)))]
    if said is not None:
        figures.append(_sound("the model", said, clip.get("heard")))
    try:
        real = read_audio(captions.audio_file(row), rate=_MEL.rate) if row.audio else None
    except VisemeError:  # the evaluation has said so
        real = None
    if real is not None:
        figures.append(_sound("reference speech", real, clip.get("heard_reference")))
    title = html.escape(f"{clip['id']}: {clip['references']}")
    return f"<h3>{title}</h3><div class=clip>{''.join(figures)}</div>"


def _picture(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels)
    image = image.resize((max(1, round(_SIDE * image.width / image.height)), _SIDE), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return f'<figure><img alt="" src="data:image/jpeg;base64,{_plain(content.getvalue())}"></figure>'


def _sound(what: str, sound: Audio, heard: str | None) -> str:
    text = f": \u201c{html.escape(heard)}\u201d" if heard is not None else ""
    picture = ""
    if len(sound.samples) > _MEL.n_fft:
        _, content = cv2.imencode(".png", spectrogram(sound.samples))
        picture = f'<img class=s alt="spectrogram" src="data:image/png;base64,{_plain(content.tobytes())}">'
    wave = io.BytesIO()
    soundfile.write(wave, sound.samples, sound.rate, format="FLAC", subtype="PCM_16")
    player = f'<audio controls preload=none src="data:audio/flac;base64,{_plain(wave.getvalue())}"></audio>'
    return f"<figure>{picture}{player}<figcaption>{html.escape(what)}{text}</figcaption></figure>"


def spectrogram(samples_S: np.ndarray) -> np.ndarray:
    """A log-mel spectrogram as a picture, low frequencies below: (bands, frames, 3) uint8 BGR."""
    levels = _MEL.compression(_MEL.mel_magnitude(torch.from_numpy(np.ascontiguousarray(samples_S)))).numpy()
    low, high = np.percentile(levels, 5), levels.max()
    grey = ((levels - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return cv2.applyColorMap(np.ascontiguousarray(grey[::-1]), cv2.COLORMAP_MAGMA)


def _plain(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
