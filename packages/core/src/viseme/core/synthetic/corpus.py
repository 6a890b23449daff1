"""The corpus on disk, in the layout of LRS3 with a manifest: `OUT/{trainval,val,test}/<speaker>/<clip>.{mp4,txt}`."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from viseme.core.data import Manifest, ManifestRow
from viseme.core.data.word_times import WORD_TIMES, format_word_times
from viseme.core.errors import ConfigError, DataError
from viseme.core.files import write_text_atomic
from viseme.core.media import write_video
from viseme.core.synthetic.clip import FPS, RATE, ClipScript, render_clip, script_clip
from viseme.core.synthetic.grid import SPLITS

__all__ = ["CorpusReport", "SYNTHETIC_NOTE", "make_corpus"]

SYNTHETIC_NOTE = "synthetic: rendered by viseme, not a recording of a person"
_VERSION = 1  # of the generator: a corpus made by another is not continued
_SETTINGS = "corpus.json"


@dataclass(frozen=True)
class CorpusReport:
    """What `make_corpus` did.

    Attributes:
        root, manifest: folder of the corpus, path of its manifest.
        clips: by split; `made` of them now, the others were there.
        hours: of speech in all.
        seconds: the call took.
    """

    root: Path
    manifest: Path
    clips: dict[str, int]
    made: int
    hours: float
    seconds: float


def make_corpus(
    out: str | Path,
    clips: int,
    seed: int = 0,
    *,
    workers: int | None = None,
    size_px: int = 160,
    on_clip: Callable[[int, int], None] | None = None,
) -> CorpusReport:
    """Render a corpus of talking faces that say GRID sentences (H.264 + AAC, 25 fps, 16 kHz, about 2 s each).

    Splits share no face, no voice and no sentence. Clip `k` of a seed is the same whatever the number of clips and
    workers; clips that are already there are kept, so that a corpus can be continued or enlarged.

    Args:
        out: folder of the corpus; made if missing.
        clips: 5 % of them val, 10 % test, the rest trainval.
        seed: of everything.
        workers: processes; None for one per core.
        size_px: side of the square frames, even.
        on_clip: called with (done, clips) after each clip.

    Raises:
        ConfigError: an option out of range.
        DataError: `out` holds a corpus of other settings.
        DependencyError: espeak-ng is not installed.
    """
    started = time.perf_counter()
    if clips < 1:
        raise ConfigError("a corpus has at least one clip", got=clips)
    if seed < 0:
        raise ConfigError("a seed is not negative", got=seed)
    if size_px % 2 or size_px < 64:
        raise ConfigError("the frame size must be even and at least 64", got=size_px)
    if workers is not None and workers < 1:
        raise ConfigError("at least one worker is needed", got=workers)
    root = Path(out)
    _claim(root, {"version": _VERSION, "seed": seed, "size_px": size_px, "note": SYNTHETIC_NOTE})
    script_clip(seed, 0)  # a missing espeak-ng is reported here, once, not by every worker

    workers = min(workers or _cores(), clips)
    rows, made = [], 0
    for done, (row, new) in enumerate(_results(partial(_make_clip, root, seed, size_px), clips, workers), start=1):
        rows.append(row)
        made += new
        if on_clip is not None:
            on_clip(done, clips)
    manifest = root / "manifest.csv"
    Manifest(rows, root).write(manifest)
    return CorpusReport(
        root=root,
        manifest=manifest,
        clips={split: sum(row.split == split for row in rows) for split in SPLITS},
        made=made,
        hours=sum(row.frames or 0 for row in rows) / FPS / 3600,
        seconds=time.perf_counter() - started,
    )


def _claim(root: Path, settings: dict[str, object]) -> None:
    """Write the settings of a new corpus, or check those of the one that is there."""
    path = root / _SETTINGS
    if not path.exists():
        write_text_atomic(path, json.dumps(settings, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError("not the settings of a synthetic corpus", path=path, got=str(error)) from error
    if found != settings:
        raise DataError(
            "another corpus is there",
            path=path,
            expected=settings,
            got=found,
            hint="Choose another folder or remove it.",
        )


def _results(
    make: Callable[[int], tuple[ManifestRow, bool]], clips: int, workers: int
) -> Iterator[tuple[ManifestRow, bool]]:
    if workers == 1:
        yield from map(make, range(clips))
        return
    # Spawned, not forked: the caller may hold threads (torch, OpenCV) that a fork would leave broken.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(make, range(clips), chunksize=max(1, min(16, clips // (4 * workers))))


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_clip(root: Path, seed: int, size_px: int, index: int) -> tuple[ManifestRow, bool]:
    script = script_clip(seed, index)
    video = root / f"{script.id}.mp4"
    row = ManifestRow(
        id=script.id,
        path=f"{script.id}.mp4",
        frames=script.frames,
        fps=float(FPS),
        samples=len(script.audio.samples),
        rate=RATE,
        text=script.text,
        speaker=script.speaker.name,
        language="en",
        split=script.split,
        dataset="viseme-synthetic",
        extra={
            "voice": script.speaker.voice,
            "synthetic": "1",
            WORD_TIMES: format_word_times((word.text.upper(), word.start_s, word.end_s) for word in script.words),
        },
    )
    if video.exists() and video.with_suffix(".txt").exists():
        return row, False
    write_text_atomic(video.with_suffix(".txt"), _transcript(script))
    clip = render_clip(script, size_px)
    assert clip.video is not None
    write_video(video, clip.video, clip.audio, crf=22, tags={"comment": SYNTHETIC_NOTE, "title": script.id})
    return row, True


def _transcript(script: ClipScript) -> str:
    """As LRS3 writes it: the text, then the words with their seconds (without its speaker-detection score)."""
    lines = [f"Text:  {script.text}", "", "WORD START END"]
    lines += [f"{word.text.upper()} {word.start_s:.2f} {word.end_s:.2f}" for word in script.words]
    return "\n".join(lines) + "\n"
