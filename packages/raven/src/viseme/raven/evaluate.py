"""Word error rates of a recogniser over a list: what `raven evaluate` does."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from viseme.core.cli import track
from viseme.core.cli.config import typed
from viseme.core.data import Manifest, ManifestRow
from viseme.core.data.dataset import ClipDataset
from viseme.core.data.lists import check_disjoint
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.metrics import (
    bootstrap_interval,
    character_error_rate,
    collect_provenance,
    count_errors,
    write_evaluation,
)
from viseme.core.text import normalise
from viseme.core.types import Clip
from viseme.raven.data import DataConfig, read_list
from viseme.raven.pipeline import RAVEn, Recording, Search
from viseme.raven.transcript import Transcript

__all__ = ["ClipResult", "Evaluation", "Score", "evaluate", "evaluate_list", "recordings", "search_of"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """Error rates over a list, as shares; `low` and `high` bound the WER's 95 % interval."""

    modality: str
    wer: float
    low: float
    high: float
    cer: float
    clips: int
    words: int
    seconds: float


@dataclass(frozen=True)
class ClipResult:
    """What one clip gave."""

    id: str
    reference: str
    hypothesis: str
    confidence: float
    errors: int
    words: int


@dataclass(frozen=True)
class Evaluation:
    """Score, every clip's result, and the clips that could not be read (id -> reason)."""

    score: Score
    clips: list[ClipResult]
    failures: dict[str, str]

    def __str__(self) -> str:
        score = self.score
        return (
            f"{'modality':10} {'WER %':>7} {'95 % interval':>15} {'CER %':>7} {'clips':>6} {'words':>6}\n"
            f"{score.modality:10} {100 * score.wer:7.1f} "
            f"{f'{100 * score.low:.1f} - {100 * score.high:.1f}':>15} {100 * score.cer:7.1f} "
            f"{score.clips:6d} {score.words:6d}"
        )


def recordings(
    clips: Manifest, modality: str, failures: dict[str, str], *, label: str = "reading", progress: bool = True
) -> Iterator[tuple[ManifestRow, Recording]]:
    """Prepared clips, decoded one at a time; those that cannot be read are put into `failures` and passed over."""
    reader = ClipDataset(clips, _keep, video=modality == "video", audio=modality == "audio")
    order = range(len(clips))
    for index in track(order, label) if progress else order:
        row = clips[index]
        try:
            clip = reader.load(index)
        except VisemeError as error:
            failures[row.id] = str(error)
            continue
        crops = None if clip.video is None else clip.video.frames
        samples = None if clip.audio is None else clip.audio.samples
        yield row, Recording(crops, samples, row.id)


def _keep(clip: Clip, row: ManifestRow, generator: torch.Generator) -> Clip:
    return clip


def transcripts(
    recogniser: RAVEn, clips: Manifest, failures: dict[str, str], *, search: Search | None = None, batch: int = 16
) -> Iterator[tuple[ManifestRow, Transcript]]:
    """What the recogniser reads in prepared clips; `batch` of them are searched together."""
    some: list[tuple[ManifestRow, Recording]] = []

    def flush() -> Iterator[tuple[ManifestRow, Transcript]]:
        found = recogniser.recognise([recording for _, recording in some], search=search)
        yield from zip([row for row, _ in some], found, strict=True)
        some.clear()

    for row, recording in recordings(clips, recogniser.modality, failures):
        if not recording.frames(recogniser.modality):
            failures[row.id] = "too short to read"
            continue
        some.append((row, recording))
        if len(some) == batch:
            yield from flush()
    yield from flush()


def evaluate(
    recogniser: RAVEn, clips: Manifest, *, search: Search | None = None, normaliser: str = "none", batch: int = 16
) -> Evaluation:
    """Transcribe prepared clips and count the errors.

    Raises:
        DataError: no clips with a text, or none that can be read.
    """
    if not any(row.text.split() for row in clips):
        raise DataError("nothing to test on: no clips with a text", path=clips.root)
    started = time.monotonic()
    failures: dict[str, str] = {}
    results = []
    for row, transcript in transcripts(recogniser, clips, failures, search=search, batch=batch):
        reference, hypothesis = normalise(row.text, normaliser), normalise(transcript.text, normaliser)
        found = count_errors(reference.lower().split(), hypothesis.lower().split())
        results.append(ClipResult(row.id, reference, hypothesis, transcript.confidence, found.errors, found.length))
    if not results:
        raise DataError(f"none of {len(clips)} clips can be read", got=next(iter(failures.values())))
    return Evaluation(_score(recogniser.modality, results, time.monotonic() - started), results, failures)


def _score(modality: str, results: Sequence[ClipResult], seconds: float) -> Score:
    errors, words = [result.errors for result in results], [result.words for result in results]
    low, high = bootstrap_interval(errors, words)
    cer = character_error_rate([r.reference for r in results], [r.hypothesis for r in results], blanks=True).rate
    return Score(modality, sum(errors) / sum(words), low, high, cer, len(results), sum(words), seconds)


def search_of(cfg: DictConfig, otherwise: Search) -> Search:
    """The search that `decode.*` asks for; what it leaves open is as in `otherwise`."""
    return dataclasses.replace(
        otherwise, **{str(name): value for name, value in cfg.decode.items() if value is not None}
    )


def evaluate_list(cfg: DictConfig) -> Evaluation:
    """What `raven evaluate` does: a configuration in; the score, `results.json` and `clips.csv` out.

    Raises:
        DataError: the list overlaps the training list, and `allow_overlap` is not set.
        ConfigError: no list to test on, or a language model's weight without one.
    """
    options, run = cfg.evaluate, Path(cfg.exp_dir) / cfg.exp_name
    recogniser = RAVEn.from_pretrained(options.model or run / "model", lm=options.lm, device=options.device)
    data = typed(DataConfig, cfg.data)
    data.modality = recogniser.modality
    if not data.test_file:
        raise ConfigError("no list to test on", expected="data.test_file")
    clips = read_list(data, data.test_file, split=data.test_split, tokenizer=recogniser.tokenizer)
    if data.train_file:
        try:
            known = read_list(data, data.train_file, split=data.train_split, tokenizer=recogniser.tokenizer)
        except DataError as error:
            _log.warning("not checked whether any of the test clips was trained on: %s", error)
        else:
            check_disjoint(known, clips, "test", allow=cfg.allow_overlap)
    if options.limit:
        clips = clips[: options.limit]
    search = search_of(cfg, recogniser.search)
    result = evaluate(recogniser, clips, search=search, normaliser=options.normaliser, batch=options.batch)
    provenance = collect_provenance(
        synthetic=any(row.extra.get("synthetic") for row in clips),
        normaliser=options.normaliser,
        data_sha256=clips.sha256(),
        model_sha256=recogniser.sha256,
        config={
            "test_file": Path(data.test_file).name,
            "test_split": data.test_split,
            "search": dataclasses.asdict(search),
            "unreadable": result.failures,
            "note": recogniser.domain,
        },
    )
    folder = Path(options.out) if options.out else run / "evaluation"
    clips_of = [dataclasses.asdict(clip) for clip in result.clips]
    write_evaluation(folder, [dataclasses.asdict(result.score)], clips_of, provenance)
    return result


def store_overrides(model: Path, store: Path, split: str) -> list[str]:
    """What makes `raven evaluate` test a model directory on a part of a prepared store."""
    return ["data=manifest", f"data.root_dir={store}", f"data.test_split={split}", f"evaluate.model={model}"]
