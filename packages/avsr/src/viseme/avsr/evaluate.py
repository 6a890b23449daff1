"""How good a recogniser is: word and character error rates by modality and noise, with what each clip gave.

Every hypothesis comes from the pipeline. Intervals are bootstrapped over clips (Bisani and Ney 2004).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from viseme.avsr.data import BABBLE_VOICES, DataConfig, make_noise, read_list
from viseme.avsr.language_model import load_language_model
from viseme.avsr.model import Modality
from viseme.avsr.pipeline import AVSR, Recording, Search
from viseme.avsr.transcript import Transcript
from viseme.core.cli import track
from viseme.core.cli.config import typed
from viseme.core.data import Manifest, ManifestRow
from viseme.core.data.dataset import ClipDataset, item_generator
from viseme.core.data.lists import check_disjoint
from viseme.core.data.transforms import NoiseBank, match_audio
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.metrics import (
    Provenance,
    bootstrap_interval,
    character_error_rate,
    collect_provenance,
    count_errors,
    write_evaluation,
)
from viseme.core.text import normalise
from viseme.core.types import Clip

__all__ = ["Condition", "Evaluation", "Score", "evaluate", "evaluate_list"]

CACHE_BYTES = 2 * 2**30
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Condition:
    """What the recogniser gets: a modality, and noise in its sound (`noise` empty: clean)."""

    modality: Modality
    noise: str = ""
    snr_db: float | None = None

    def __str__(self) -> str:
        return f"{self.modality}, {self.noise} {self.snr_db:g} dB" if self.noise else f"{self.modality}, clean"


@dataclass(frozen=True)
class Score:
    """Error rates of one condition, as shares; `low` and `high` bound the WER's 95 % interval.

    `group` is empty for all clips together, else what these clips have in common (their corpus, language, ...).
    """

    condition: Condition
    wer: float
    low: float
    high: float
    cer: float
    clips: int
    words: int
    seconds: float
    group: str = ""

    def to_dict(self) -> dict[str, object]:
        """One flat row of a table."""
        flat = dataclasses.asdict(self)
        return {**flat.pop("condition"), **flat}


@dataclass(frozen=True)
class ClipResult:
    """What one clip gave in one condition."""

    condition: Condition
    id: str
    reference: str
    hypothesis: str
    confidence: float
    errors: int
    words: int
    group: str = ""

    def to_dict(self) -> dict[str, object]:
        """One flat row of the per-clip table."""
        return {
            "id": self.id,
            "group": self.group,
            **dataclasses.asdict(self.condition),
            "reference": self.reference,
            "hypothesis": self.hypothesis,
            "errors": self.errors,
            "words": self.words,
            "confidence": round(self.confidence, 4),
        }


@dataclass(frozen=True)
class Evaluation:
    """Scores by condition, every clip's result, and the clips that could not be read (id -> reason)."""

    scores: list[Score]
    clips: list[ClipResult]
    failures: dict[str, str]


def evaluate(
    recogniser: AVSR,
    clips: Manifest,
    conditions: Sequence[Condition],
    *,
    search: Search | None = None,
    normaliser: str = "none",
    by: str | None = "dataset",
    batch: int = 16,
    seed: int = 0,
) -> Evaluation:
    """Transcribe prepared clips under each condition and count the errors.

    Args:
        recogniser: the pipeline.
        clips: prepared clips with their texts.
        conditions: what to try.
        search: as the recogniser's own, unless given.
        normaliser: applied to references and hypotheses before counting, by name.
        by: column of the list by whose values there are rows of their own, where it has several.
        batch: clips searched together.
        seed: of the noise.

    Raises:
        DataError: no clips, none with a text, or none that can be read.
        ConfigError: a condition that the model cannot read.
    """
    if not len(clips) or not any(row.text.split() for row in clips):
        raise DataError("nothing to test on: no clips with a text", path=clips.root)
    reader = _Reader(clips, conditions, seed)
    scores, results = [], []
    for condition in conditions:
        start, done = time.monotonic(), []
        for some in _batched(track(reader.readable, str(condition)), batch):
            recordings = [reader.recording(index, condition) for index in some]
            for index, transcript in zip(some, recogniser.recognise(recordings, search=search), strict=True):
                done.append(_count(condition, clips[index], transcript, normaliser, _group(clips[index], by)))
        scores += _scores(condition, done, time.monotonic() - start)
        results += done
    return Evaluation(scores, results, reader.failures)


class _Reader:
    """Decodes each clip once, and makes the recordings of every condition from it."""

    def __init__(self, clips: Manifest, conditions: Sequence[Condition], seed: int) -> None:
        wanted = {condition.modality for condition in conditions}
        self.seed = seed
        self._clips = ClipDataset(
            clips, _keep, video=wanted != {"audio"}, audio=wanted != {"video"}, cache_bytes=CACHE_BYTES
        )
        self.failures: dict[str, str] = {}
        self.readable: list[int] = []
        for index, row in enumerate(clips):
            try:
                self._clips.load(index)
                self.readable.append(index)
            except VisemeError as error:
                self.failures[row.id] = str(error)
        if not self.readable:
            raise DataError(f"none of {len(clips)} clips can be read", got=next(iter(self.failures.values())))
        kinds = dict.fromkeys(condition.noise for condition in conditions if condition.noise)
        self._noise = {kind: self._bank(kind) for kind in kinds}

    def _bank(self, kind: str) -> NoiseBank:
        if Path(kind).suffix:
            return NoiseBank(kind)
        step = max(1, len(self.readable) // BABBLE_VOICES)
        voices = []
        if kind == "babble":
            heard = [self._clips.load(index).audio for index in self.readable[::step][:BABBLE_VOICES]]
            voices = [sound.samples for sound in heard if sound is not None]
        return make_noise([kind], voices, seed=self.seed)

    def recording(self, index: int, condition: Condition) -> Recording:
        clip = self._clips.load(index)
        crops = clip.video.frames if clip.video is not None and condition.modality != "audio" else None
        samples = None
        if clip.audio is not None and condition.modality != "video":
            heard = torch.from_numpy(clip.audio.samples)
            if clip.video is not None:
                heard = match_audio(heard, len(clip.video.frames))
            if condition.noise:
                generator = item_generator(self.seed, 0, index)
                heard = self._noise[condition.noise].mix(heard[:, None], condition.snr_db, generator)[:, 0]
            samples = heard.numpy()
        return Recording(crops, samples, clip.name)


def _keep(clip: Clip, row: ManifestRow, generator: torch.Generator) -> Clip:
    return clip


def _group(row: ManifestRow, by: str | None) -> str:
    """What a clip has in the column `by`.

    Raises:
        ConfigError: no such column.
    """
    if by is None:
        return ""
    value = getattr(row, by, None) if hasattr(row, by) else row.extra.get(by)
    if value is None and not hasattr(row, by) and by not in row.extra:
        raise ConfigError("the list has no such column", got=by)
    return "" if value is None else str(value)


def _scores(condition: Condition, results: Sequence[ClipResult], seconds: float) -> list[Score]:
    """All clips together, and each group where there are several."""
    scores = [_score(condition, results, seconds)]
    groups = sorted({result.group for result in results})
    if len(groups) > 1:
        for group in groups:
            some = [result for result in results if result.group == group]
            if any(result.words for result in some):
                share = seconds * len(some) / len(results)
                scores.append(dataclasses.replace(_score(condition, some, share), group=group or "(none)"))
    return scores


def _count(condition: Condition, row: ManifestRow, transcript: Transcript, normaliser: str, group: str) -> ClipResult:
    reference, hypothesis = normalise(row.text, normaliser), normalise(transcript.text, normaliser)
    found = count_errors(reference.lower().split(), hypothesis.lower().split())
    return ClipResult(
        condition, row.id, reference, hypothesis, transcript.confidence, found.errors, found.length, group
    )


def _score(condition: Condition, results: Sequence[ClipResult], seconds: float) -> Score:
    errors, words = [result.errors for result in results], [result.words for result in results]
    low, high = bootstrap_interval(errors, words)
    references = [result.reference for result in results]
    cer = character_error_rate(references, [result.hypothesis for result in results]).rate
    total = sum(words)
    return Score(condition, sum(errors) / total, low, high, cer, len(results), total, seconds)


def _batched(items: Iterable[int], size: int) -> Iterable[list[int]]:
    some: list[int] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


# ------------------------------------------------------------------------------------------------------ by config


def evaluate_list(cfg: DictConfig) -> Evaluation:
    """What `avsr evaluate` does: a configuration in; scores, `results.json` and `clips.csv` out.

    Raises:
        DataError: the list overlaps the training or the validation list, and `allow_overlap` is not set.
        ConfigError: no list to test on.
    """
    options, run = cfg.evaluate, Path(cfg.exp_dir) / cfg.exp_name
    recogniser = AVSR.from_pretrained(options.model or run / "model", device=options.device)
    modalities: list[Modality] = list(options.modalities or recogniser.modalities)
    data = typed(DataConfig, cfg.data)
    data.modality = modalities[0] if len(modalities) == 1 else "audiovisual"
    clips = _test_list(data, recogniser, allow_overlap=cfg.allow_overlap)
    if options.limit:
        clips = clips[: options.limit]
    if options.lm:
        recogniser.use_language_model(load_language_model(options.lm))
    names = ("greedy", "beam", "ctc_weight", "penalty", "lm_weight")
    changes = {name: options[name] for name in names if options[name] is not None}
    search = dataclasses.replace(recogniser.search, **changes)
    result = evaluate(
        recogniser,
        clips,
        sweep(modalities, options.noise_kinds, options.noise_snr_db, clean=options.clean),
        search=search,
        normaliser=options.normaliser,
        by=options.by,
        batch=options.batch,
        seed=options.seed,
    )
    provenance = collect_provenance(
        synthetic=is_synthetic(clips),
        normaliser=options.normaliser,
        data_sha256=clips.sha256(),
        model_sha256=recogniser.sha256,
        config={
            "test_file": Path(data.test_file or "").name,
            "test_split": data.test_split,
            "search": dataclasses.asdict(search),
            "seed": options.seed,
            "unreadable": result.failures,
            "note": recogniser.domain,
        },
    )
    write(result, options.out or run / "evaluation", provenance)
    return result


def _test_list(data: DataConfig, recogniser: AVSR, *, allow_overlap: bool) -> Manifest:
    """The list to test on, checked against those that were trained and validated on, where these are at hand."""
    if not data.test_file:
        raise ConfigError("no list to test on", expected="data.test_file")
    clips = read_list(data, data.test_file, split=data.test_split, tokenizer=recogniser.tokenizer)
    for name, split, used in (
        (data.train_file, data.train_split, "trained"),
        (data.val_file, data.val_split, "validated"),
    ):
        if not name:
            continue
        try:
            other = read_list(data, name, split=split, tokenizer=recogniser.tokenizer)
        except DataError as error:
            _log.warning("not checked whether any of the test clips was %s on: %s", used, error)
            continue
        check_disjoint(other, clips, "test", allow=allow_overlap, used=used)
    return clips


def sweep(
    modalities: Sequence[Modality], noise_kinds: Sequence[str], snrs_db: Sequence[float], *, clean: bool = True
) -> list[Condition]:
    """Every modality clean, and every one with sound under every noise at every SNR.

    Raises:
        ConfigError: nothing left to test.
    """
    conditions = []
    for modality in modalities:
        conditions += [Condition(modality)] if clean else []
        if modality != "video":
            conditions += [Condition(modality, kind, float(snr)) for kind in noise_kinds for snr in snrs_db]
    if not conditions:
        raise ConfigError("no condition to test", hint="Set clean=true, or noise_kinds and noise_snr_db.")
    return conditions


def is_synthetic(clips: Manifest) -> bool:
    """Whether any clip is rendered rather than recorded."""
    return any(row.extra.get("synthetic") for row in clips)


def write(result: Evaluation, out: str | Path, provenance: Provenance) -> None:
    """The table, and every clip in every condition, in the folder `out`."""
    rows, clips = [score.to_dict() for score in result.scores], [clip.to_dict() for clip in result.clips]
    write_evaluation(out, rows, clips, provenance)


def store_overrides(model: Path, store: Path, split: str) -> list[str]:
    """What makes `avsr evaluate` test a model directory on a part of a prepared store."""
    return ["data=manifest", f"data.root_dir={store}", f"data.test_split={split}", f"evaluate.model={model}"]


def table(scores: Sequence[Score]) -> str:
    """Scores as text."""
    lines = [f"{'condition':34} {'WER %':>7} {'95 % interval':>15} {'CER %':>7} {'clips':>6} {'words':>6}"]
    for score in scores:
        interval = f"{100 * score.low:.1f} - {100 * score.high:.1f}"
        name = f"  {score.group}" if score.group else str(score.condition)
        lines.append(
            f"{name:34} {100 * score.wer:7.1f} {interval:>15} {100 * score.cer:7.1f} {score.clips:6d} {score.words:6d}"
        )
    return "\n".join(lines)
