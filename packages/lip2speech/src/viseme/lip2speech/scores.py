"""Figures of clips: each kind of speech of a clip scored, in chunks, so that a test set of any length fits in memory.

The kinds are generated speech, and what bounds it: real speech through the same way back, and the generated speech of
another clip (chance).
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from viseme.core.data import ManifestRow
from viseme.core.errors import DataError
from viseme.core.metrics import PesqConvention, SpeechScores, count_errors, speech_scores
from viseme.core.metrics.dnsmos import DNSMOS
from viseme.core.metrics.recogniser import Recogniser
from viseme.core.metrics.sync import SyncNetScorer
from viseme.core.text import normalise

__all__ = ["CHANCE", "CHUNK", "GENERATED", "REAL", "Heard", "Row", "Scorers", "Tally"]

GENERATED, REAL, CHANCE = "generated", "real, same vocoder", "chance: another clip"
CHUNK = 32
"""Clips that are held and scored together; chance is drawn among them."""


@dataclass(frozen=True, eq=False)
class Heard:
    """One clip: its sound, samples (S,): reference, generated, and real through the way back; mels (80, T) of the last
    two; and its face frames (T, H, W, 3) where lips are scored against sound."""

    row: ManifestRow
    reference: np.ndarray
    generated: np.ndarray
    vocoded: np.ndarray
    mel: np.ndarray
    mel_real: np.ndarray
    frames: np.ndarray | None = None


@dataclass(frozen=True)
class Row:
    """Means over clips of one kind of speech; `wer` is errors over words of the whole set. None: not asked for, or (of
    chance) not to be had of a single clip.

    `pesq_clips`: clips that PESQ could score.
    """

    speech: str
    stoi: float
    estoi: float
    pesq: float | None
    wer: float | None
    clips: int
    pesq_clips: int
    dnsmos: float | None = None
    dnsmos_signal: float | None = None
    dnsmos_background: float | None = None
    lse_d: float | None = None
    lse_c: float | None = None


@dataclass
class Scorers:
    """What speech is scored with beside STOI, ESTOI and PESQ. A context: it holds the processes that score.

    Attributes:
        pesq: convention.
        normaliser: of texts.
        recogniser, dnsmos, sync: where asked for.
        workers: processes; None: all cores. With one, scores are computed in this one.
    """

    pesq: PesqConvention
    normaliser: str
    recogniser: Recogniser | None = None
    dnsmos: DNSMOS | None = None
    sync: SyncNetScorer | None = None
    workers: int | None = 1
    _pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        count = (os.cpu_count() or 1) if self.workers is None else self.workers
        if count > 1:
            self._pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, references: list[np.ndarray], sounds: list[np.ndarray]) -> list[Future[SpeechScores | str]]:
        """Scores to come; over processes they are computed while the next clips speak."""
        jobs = [(reference, sound, self.pesq) for reference, sound in zip(references, sounds)]
        if self._pool is not None:
            return [self._pool.submit(_score_one, job) for job in jobs]
        found: list[Future[SpeechScores | str]] = []
        for job in jobs:
            future: Future[SpeechScores | str] = Future()
            future.set_result(_score_one(job))
            found.append(future)
        return found

    def extras(self, sound: np.ndarray, frames: np.ndarray | None) -> dict[str, float]:
        """DNSMOS and sync scores of one sound."""
        figures: dict[str, float] = {}
        if self.dnsmos is not None:
            opinion = self.dnsmos(sound)
            figures["dnsmos"] = opinion.overall
            figures |= {"dnsmos_signal": opinion.signal, "dnsmos_background": opinion.background}
        if self.sync is not None and frames is not None:
            score = self.sync(frames, sound)
            figures |= {"lse_d": score.lse_d, "lse_c": score.lse_c}
        return figures


def _score_one(job: tuple[np.ndarray, np.ndarray, PesqConvention]) -> SpeechScores | str:
    reference, sound, convention = job
    try:
        return speech_scores(reference, sound, pesq_convention=convention)
    except DataError as error:
        return str(error)


@dataclass
class Tally:
    """Figures of all clips so far.

    Attributes:
        clips: one mapping a clip and kind.
        failures: id -> why a clip has no scores.
    """

    scorers: Scorers
    clips: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    _waiting: list[tuple[dict[str, Any], Future[SpeechScores | str]]] = field(default_factory=list)

    def add(self, heard: Iterable[Heard]) -> Iterator[Heard]:
        """Scores clips as they come, chunk by chunk, and hands them on."""
        chunk: list[Heard] = []
        for clip in heard:
            chunk.append(clip)
            yield clip
            if len(chunk) == 2 * CHUNK:  # so that the last chunk is never a single clip
                self._score(chunk[:CHUNK])
                chunk = chunk[CHUNK:]
        if chunk:
            self._score(chunk)
        self._collect()

    def _score(self, chunk: list[Heard]) -> None:
        step = len(chunk) // 2
        kinds = {GENERATED: [clip.generated for clip in chunk], REAL: [clip.vocoded for clip in chunk]}
        if step:
            kinds[CHANCE] = [chunk[(i + step) % len(chunk)].generated for i in range(len(chunk))]
        self._collect()
        for kind, sounds in kinds.items():
            futures = self.scorers.begin([clip.reference for clip in chunk], sounds)
            texts = self.scorers.recogniser(sounds) if self.scorers.recogniser is not None else []
            for index, (clip, sound, future) in enumerate(zip(chunk, sounds, futures)):
                figures: dict[str, Any] = {"id": clip.row.id, "speech": kind}
                if texts and clip.row.text:
                    said, heard = (normalise(x, self.scorers.normaliser) for x in (clip.row.text, texts[index]))
                    counted = count_errors(said.split(), heard.split())
                    figures |= {
                        "text": said,
                        "understood": heard,
                        "errors": counted.errors,
                        "words": counted.length,
                    }
                try:
                    figures |= self.scorers.extras(sound, clip.frames)
                except DataError as error:
                    self.failures[clip.row.id] = str(error)
                self._waiting.append((figures, future))

    def _collect(self) -> None:
        for figures, future in self._waiting:
            score = future.result()
            if isinstance(score, SpeechScores):
                figures |= asdict(score)
            else:
                self.failures[figures["id"]] = score
            self.clips.append(figures)
        self._waiting = []

    def rows(self) -> list[Row]:
        """The table.

        Raises:
            DataError: no clip could be scored.
        """
        made = []
        for kind in (GENERATED, REAL, CHANCE):
            mine = [figures for figures in self.clips if figures["speech"] == kind]
            scored = [figures for figures in mine if "stoi" in figures]
            if not scored and kind != CHANCE:
                raise DataError("no clip could be scored", got=next(iter(self.failures.values()), "none in the split"))
            if scored:
                made.append(_row(kind, mine, scored))
        return made


def _row(kind: str, mine: list[dict[str, Any]], scored: list[dict[str, Any]]) -> Row:
    def mean(name: str) -> float | None:
        values = [figures[name] for figures in mine if figures.get(name) is not None]
        return float(np.mean(values)) if values else None

    words = sum(figures.get("words", 0) for figures in mine)
    return Row(
        kind,
        float(np.mean([figures["stoi"] for figures in scored])),
        float(np.mean([figures["estoi"] for figures in scored])),
        mean("pesq"),
        sum(figures.get("errors", 0) for figures in mine) / words if words else None,
        len(scored),
        sum(figures["pesq"] is not None for figures in scored),
        *(mean(name) for name in ("dnsmos", "dnsmos_signal", "dnsmos_background", "lse_d", "lse_c")),
    )
