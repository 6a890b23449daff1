"""How good descriptions are: caption scores of what a recogniser hears in them, and unit error rates.

The recogniser is part of the score, so that three rows stand beside the model's: the reference speech (human or
synthetic) through the same recogniser, that speech turned into units and spoken by the model's voice, which is the most
that a perfect captioner could have, and chance: what the model says of another picture.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from viseme.core.cli import track
from viseme.core.cli.config import typed
from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import DataError, VisemeError
from viseme.core.media import read_audio, write_audio
from viseme.core.metrics import bootstrap_interval, collect_provenance, count_errors, write_evaluation
from viseme.core.metrics.captions import caption_scores, ptb_tokenise
from viseme.core.metrics.captions_java import meteor, spice
from viseme.core.metrics.recogniser import Recogniser, load_recogniser
from viseme.im2speech.data import RATE, DataConfig, read_list, references_of
from viseme.im2speech.images import read_image
from viseme.im2speech.pipeline import Im2Speech, Synthesis
from viseme.im2speech.report import write_report
from viseme.im2speech.tokens import deduplicate, unit_error_rate
from viseme.im2speech.train import check_disjoint
from viseme.im2speech.units import UnitExtractor

__all__ = ["CHANCE", "MODEL", "REFERENCE", "RESPOKEN", "Evaluation", "Row", "evaluate", "evaluate_list", "table"]

MODEL, CHANCE = "model", "chance (of another picture)"
RESPOKEN, REFERENCE = "reference units, spoken", "reference speech"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """Scores of one kind of speech.

    Attributes:
        speech: `MODEL`, `CHANCE`, `RESPOKEN` or `REFERENCE`.
        images: scored.
        scores: by name: Bleu_1..4, ROUGE_L, CIDEr, METEOR, SPICE, WER (against the nearest written caption), exact
            (share of transcripts that are one of the written captions), UER, exact_units.
        low, high: 95 % interval of the WER.
    """

    speech: str
    images: int
    scores: dict[str, float]
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        interval = {} if self.low is None else {"WER_low": self.low, "WER_high": self.high}
        return {"speech": self.speech, "images": self.images, **self.scores, **interval}


@dataclass(frozen=True)
class Evaluation:
    """Rows of the table, what each picture gave, pictures that could not be scored, and the recogniser's name."""

    rows: list[Row]
    clips: list[dict[str, Any]]
    failures: dict[str, str]
    recogniser: str
    sounds: dict[str, Synthesis] = field(default_factory=dict)


def evaluate(
    model: Im2Speech,
    captions: Manifest,
    *,
    recogniser: Recogniser | None = None,
    units: UnitExtractor | None = None,
    beam: int | None = None,
    batch: int = 8,
    limit: int | None = None,
    with_meteor: bool = False,
    with_spice: bool = False,
) -> Evaluation:
    """Describe every picture once and score what is heard.

    Args:
        captions: the test list; all written captions of a picture count.
        recogniser: hears descriptions and reference speech; without one only units are scored.
        units: turns reference speech into units, for unit error rates.
        beam: instead of the model's own.
        batch: pictures described together.
        limit: the first so many pictures.
        with_meteor, with_spice: these too; they need Java.

    Raises:
        DataError: nothing to score.
        DependencyError: METEOR or SPICE without what they need.
    """
    wanted = list(references_of(captions))[:limit]
    search = model.search if beam is None else dataclasses.replace(model.search, beam=beam)
    failures: dict[str, str] = {}
    said: dict[str, Synthesis] = {}
    kept: list[tuple[ManifestRow, list[str]]] = []
    for start in track(range(0, len(wanted), batch), "describing", unit="batches"):
        some, images = [], []
        for row, texts in wanted[start : start + batch]:
            try:
                if not texts and recogniser is not None:
                    raise DataError("no written caption to compare with", got=row.id)
                images.append(read_image(captions.file(row)))
                some.append((row, texts))
            except VisemeError as error:
                failures[row.id] = str(error)
        names = [row.id for row, _ in some]
        for one in model.describe_batch(images, names, search=search, sound=recogniser is not None):
            said[one.name] = one
        kept += some
    if not kept:
        raise DataError("no picture can be scored", path=captions.root, got=next(iter(failures.values()), "none"))
    references = [texts for _, texts in kept]
    clips: list[dict[str, Any]] = [
        {"id": row.id, "references": " / ".join(texts), "units": len(said[row.id].units)} for row, texts in kept
    ]
    spoken = [said[row.id] for row, _ in kept]
    recordings = _recordings(captions, [row for row, _ in kept])
    there = [n for n, samples in enumerate(recordings) if samples is not None]
    truths = None if units is None else [None if one is None else deduplicate(units(one)) for one in recordings]

    def score(speech: str, heard: Sequence[str] | None, numbers: Sequence[int]) -> Row:
        scorer = _Scorer(with_meteor, with_spice)
        if heard is not None:
            scorer.count_words(heard, [references[n] for n in numbers])
        if truths is not None and speech in (MODEL, CHANCE):
            other = 0 if speech == MODEL else len(spoken) // 2
            scorer.count_units([spoken[(n + other) % len(spoken)].units for n in numbers], truths)
        return scorer.row(speech, len(numbers))

    def hear(sounds: Sequence[Any], numbers: Sequence[int], column: str) -> list[str]:
        texts = _hear(recogniser, sounds, column)
        for number, text in zip(numbers, texts, strict=True):
            clips[number][column] = text
        return texts

    everything = range(len(kept))
    heard = None
    if recogniser is not None:
        empty = np.zeros(0, np.float32)
        heard = hear([empty if one.audio is None else one.audio.samples for one in spoken], everything, "heard")
    rows = [score(MODEL, heard, everything)]
    if len(kept) > 1:
        half = len(kept) // 2
        rows.append(score(CHANCE, None if heard is None else heard[half:] + heard[:half], everything))
    if recogniser is not None and there:
        if truths is not None and model.vocoder is not None and model.vocoder.config.units == units.units:
            again = [model.speak(truths[n]).samples for n in track(there, "speaking the reference units")]
            rows.append(score(RESPOKEN, hear(again, there, "heard_respoken"), there))
        real = [recordings[n] for n in there]
        rows.append(score(REFERENCE, hear(real, there, "heard_reference"), there))
    if truths is not None:
        for clip, one, truth in zip(clips, spoken, truths, strict=True):
            clip["uer"] = "" if truth is None else unit_error_rate(one.units, truth)
    name = "none (units only)" if recogniser is None else recogniser.name
    return Evaluation(rows, clips, failures, name, said)


def _recordings(captions: Manifest, rows: Sequence[ManifestRow]) -> list[Any]:
    """Reference speech of each picture, None where there is none."""
    found: list[Any] = []
    for row in rows:
        try:
            found.append(read_audio(captions.audio_file(row), rate=RATE).samples if row.audio else None)
        except VisemeError as error:
            _log.warning("no reference speech: %s", error)
            found.append(None)
    return found


def _hear(recogniser: Recogniser, sounds: Sequence[Any], what: str) -> list[str]:
    texts: list[str] = []
    for start in track(range(0, len(sounds), 16), f"recognising ({what})", unit="batches"):
        texts += recogniser(sounds[start : start + 16])
    return texts


class _Scorer:
    """Collects the scores of one kind of speech."""

    def __init__(self, with_meteor: bool, with_spice: bool) -> None:
        self.with_meteor, self.with_spice = with_meteor, with_spice
        self.scores: dict[str, float] = {}
        self.interval: tuple[float, float] | tuple[None, None] = (None, None)

    def count_words(self, texts: Sequence[str], references: Sequence[list[str]]) -> None:
        """Caption scores, word error rate against the nearest written caption, and exact matches."""
        heard = [ptb_tokenise(text) for text in texts]
        written = [[ptb_tokenise(text) for text in some] for some in references]
        self.scores |= caption_scores(written, heard, tokenised=True).corpus
        if self.with_meteor:
            self.scores["METEOR"] = meteor(written, heard)[0]
        if self.with_spice:
            self.scores["SPICE"] = spice(written, heard)[0]
        errors, words, exact = [], [], 0
        for text, some in zip(heard, written):
            counts = [count_errors(one.split(), text.split()) for one in some if one]
            if counts:
                best = min(counts, key=lambda count: count.errors / count.length)
                errors.append(best.errors)
                words.append(best.length)
            exact += text in some
        if words:
            self.scores["WER"] = sum(errors) / sum(words)
            self.interval = bootstrap_interval(errors, words)
        self.scores["exact"] = exact / len(heard)

    def count_units(self, spoken: Sequence[Sequence[int]], truths: Sequence[list[int] | None]) -> None:
        """Unit error rate against the units of the reference speech, where there is any."""
        pairs = [(units, truth) for units, truth in zip(spoken, truths, strict=True) if truth is not None]
        if pairs:
            self.scores["UER"] = sum(unit_error_rate(units, truth) for units, truth in pairs) / len(pairs)
            self.scores["exact_units"] = sum(list(units) == truth for units, truth in pairs) / len(pairs)

    def row(self, speech: str, images: int) -> Row:
        return Row(speech, images, self.scores, *self.interval)


# ------------------------------------------------------------------------------------------------------ by config


def evaluate_list(cfg: DictConfig) -> Evaluation:
    """What `im2speech evaluate` does: a configuration in; `results.json`, `clips.csv`, `report.html` and sound out.

    Raises:
        DataError: the test list shares pictures with the training list, and `allow_overlap` is not set.
    """
    options, run = cfg.evaluate, Path(cfg.exp_dir) / cfg.exp_name
    model = Im2Speech.from_pretrained(options.model or run / "model", device=options.device)
    data = typed(DataConfig, cfg.data)
    captions = read_list(data, "test")
    _check_overlap(data, captions, allow=options.allow_overlap)
    device = str(model.device)
    extractor = UnitExtractor.load(options.units, device=device) if options.units else None
    result = evaluate(
        model,
        captions,
        recogniser=load_recogniser(options.recogniser, device=device) if options.recogniser else None,
        units=extractor,
        beam=options.beam,
        batch=options.batch,
        limit=options.limit,
        with_meteor=options.meteor,
        with_spice=options.spice,
    )
    out = Path(options.out or run / "evaluation")
    provenance = collect_provenance(
        synthetic=any(row.extra.get("synthetic") for row in captions),
        normaliser="ptb",
        data_sha256=captions.sha256(),
        model_sha256=model.sha256,
        config={
            "test_split": data.test_split,
            "recogniser": result.recogniser,
            "search": dataclasses.asdict(model.search) | ({"beam": options.beam} if options.beam else {}),
            "pictures_scored": result.rows[0].images,
            "pictures_failed": result.failures,
            "note": model.domain,
        },
    )
    write_evaluation(out, [row.to_dict() for row in result.rows], result.clips, provenance)
    if options.report:
        write_report(out / "report.html", result, captions, count=options.report, notes=_notes(captions, model, result))
    if options.keep_sound:
        for name, one in result.sounds.items():
            if one.audio is not None:
                path = out / "wav" / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_audio(path, one.audio)
    return result


def store_overrides(model: Path, store: Path, split: str) -> list[str]:
    """What makes `im2speech evaluate` test a model directory on a part of a folder with a manifest of pictures."""
    return ["data=manifest", f"data.root_dir={store}", f"data.test_split={split}", f"evaluate.model={model}"]


def _notes(captions: Manifest, model: Im2Speech, result: Evaluation) -> list[str]:
    """What a reader of the report should know."""
    synthetic = any(row.extra.get("synthetic") for row in captions)
    return [
        "SYNTHETIC: rendered pictures and synthetic voices. This shows that things work, not how well." * synthetic,
        model.domain,
        f"Words as the recogniser hears them ({result.recogniser}). Chance: what the model says of another picture.",
    ]


def _check_overlap(data: DataConfig, captions: Manifest, *, allow: bool) -> None:
    """Against the training list, where that is at hand."""
    try:
        trained = read_list(data, "train")
    except DataError as error:
        _log.warning("not checked whether test pictures were trained on: %s", error)
        return
    check_disjoint(trained, captions, "test", allow=allow)


def table(result: Evaluation) -> str:
    """The rows as text."""
    columns = list(dict.fromkeys(name for row in result.rows for name in row.scores))
    lines = [f"recogniser: {result.recogniser}"]
    lines.append(f"{'speech':28} {'images':>6} " + " ".join(f"{name:>11}" for name in columns))
    for row in result.rows:
        cells = [f"{row.scores[name]:11.3f}" if name in row.scores else f"{'':>11}" for name in columns]
        lines.append(f"{row.speech:28} {row.images:6d} " + " ".join(cells))
    return "\n".join(lines)
