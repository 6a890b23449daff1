"""Long recordings cut into clips of bounded length: at pauses of the speech, where no transcript's times say where.

S samples, N frames of 10 ms.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from viseme.core import media
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import ConfigError, VisemeError

__all__ = ["cut_long", "pauses_cut"]

FPS = 25.0
_STEP_S = 0.01
_SOFT_S = 0.2
"""Half the length of the window over which loudness is averaged: a pause is quiet for this long to both sides."""


def pauses_cut(loudness_N: np.ndarray, max_s: float, *, step_s: float = _STEP_S) -> list[tuple[float, float]]:
    """Spans (start, end) in seconds that cover a recording, none longer than `max_s`: each is cut at the quietest
    moment of its second half.

    Args:
        loudness_N: mean power in steps of `step_s`.

    Raises:
        ConfigError: `max_s` below a second.
    """
    if max_s < 1:
        raise ConfigError("clips of less than a second", expected="max_s of 1 or more", got=max_s)
    width = round(2 * _SOFT_S / step_s) + 1
    padded = np.pad(loudness_N, width // 2, mode="edge")
    smooth = np.convolve(padded, np.hanning(width + 2)[1:-1], mode="valid")
    limit, total = int(max_s / step_s), len(loudness_N)
    cuts = [0]
    while total - cuts[-1] > limit:
        # what is left must not be a splinter: two equal halves where one cut more is enough
        last = min(limit, total - cuts[-1] - limit // 4)
        first = min(limit // 2, last - 1)
        begin = cuts[-1] + max(1, first)
        cuts.append(begin + int(np.argmin(smooth[begin : cuts[-1] + last + 1])))
    times = [*(cut * step_s for cut in cuts), total * step_s]
    return list(itertools.pairwise(times))


def cut_long(manifest: Manifest, max_s: float, *, workers: int | None = None) -> Manifest:
    """The manifest with recordings longer than `max_s` seconds cut at pauses, at whole frames of 25 a second.

    Clips with a transcript stay whole, since nobody knows which words fall into which part; those that are too long are
    named in `skipped`. Readers cut by the times of subtitles and word lists themselves (their `max_s`). A recording
    without sound is cut evenly.

    Args:
        max_s: seconds (published: 24, later 16).
        workers: decoders at work; all cores by default.
    """
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        parts = list(pool.map(lambda row: _parts(manifest, row, max_s), manifest.rows))
    rows = [row for found, _ in parts for row in found]
    skipped = [*manifest.skipped, *((row.path, why) for row, (_, why) in zip(manifest.rows, parts) if why)]
    return Manifest(rows, manifest.root, skipped=skipped)


def _parts(manifest: Manifest, row: ManifestRow, max_s: float) -> tuple[list[ManifestRow], str]:
    """A row's parts, or itself and (if it is too long) why."""
    start_s = row.start_s or 0.0
    if row.end_s is not None and row.end_s - start_s <= max_s:
        return [row], ""
    try:
        info = media.probe(manifest.file(row))
        end_s = min(row.end_s, info.duration_s) if row.end_s is not None else info.duration_s
        if end_s - start_s <= max_s:
            return [row], ""
        if row.text:
            return [row], f"{end_s - start_s:.0f} s and not cut: its transcript has no times"
        sound = manifest.audio_file(row)
        if not row.audio and not info.has_audio:
            loudness = np.zeros(int((end_s - start_s) / _STEP_S))
        else:
            loudness = _loudness(sound, start_s, end_s)
    except VisemeError:
        return [row], ""  # preparation will say what is wrong with it
    spans = pauses_cut(loudness, max_s)
    edges = [start_s + round(begin * FPS) / FPS for begin, _ in spans] + [end_s]
    return [
        replace(row, id=f"{row.id}_{index:02d}", start_s=edges[index], end_s=edges[index + 1])
        for index in range(len(spans))
    ], ""


def _loudness(path: Path, start_s: float, end_s: float, rate: int = 16_000) -> np.ndarray:
    """Mean power in steps of 10 ms, block by block."""
    hop = round(_STEP_S * rate)
    powers: list[np.ndarray] = []
    rest = np.zeros(0, np.float32)
    for block in media.stream_audio(path, rate=rate, start_s=start_s, end_s=end_s):
        samples = np.concatenate([rest, block])
        whole = len(samples) // hop * hop
        powers.append((samples[:whole].reshape(-1, hop).astype(np.float64) ** 2).mean(1))
        rest = samples[whole:]
    found: Sequence[np.ndarray] = powers or [np.zeros(0)]
    loudness = np.concatenate(found)
    total = int((end_s - start_s) / _STEP_S)  # the video may go on in silence
    return np.pad(loudness, (0, max(0, total - len(loudness))))[:total]
