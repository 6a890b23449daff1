"""Self-training: a fine-tuned model labels clips without labels, and a new one learns from both.

    labeller (published: the AUDIO model, with the language model) --> pseudo-labels --> train on labels + pseudo-labels

Labels are written a clip at a time, so that a killed run goes on where it was; RAVEn, section 4.3.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from viseme.core.checkpoint import load_model_dir
from viseme.core.cli.config import typed
from viseme.core.data import Manifest, ManifestRow
from viseme.core.errors import ConfigError, DataError
from viseme.core.files import write_text_atomic
from viseme.raven.data import DataConfig, limited, read_list
from viseme.raven.evaluate import search_of, transcripts
from viseme.raven.pipeline import RAVEn, Search
from viseme.raven.train import TrainReport, train

__all__ = ["PseudoLabels", "pseudo_label", "pseudo_label_list", "selftrain"]

COLUMNS = ("id", "text", "confidence", "score", "error")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PseudoLabels:
    """What a labelling run left.

    Attributes:
        manifest: list of labelled and pseudo-labelled clips to train on.
        scores: every pseudo-label with its confidence.
        labelled, pseudo, dropped, failed: clips with labels, clips with pseudo-labels that were kept, those below the
            threshold or without a word, those that could not be read.
    """

    manifest: Path
    scores: Path
    labelled: int
    pseudo: int
    dropped: int
    failed: int


def pseudo_label(
    labeller: RAVEn, clips: Manifest, scores: Path, *, search: Search | None = None, batch: int = 16
) -> dict[str, dict[str, str]]:
    """Label clips, going on where an earlier run stopped.

    Args:
        labeller: a recogniser.
        clips: without labels, or with labels that are not looked at.
        scores: table of results (`COLUMNS`), written as they come.
        search: how to look for words; the labeller's own otherwise.
        batch: clips searched together.

    Returns:
        The table's rows by clip.
    """
    done = _read_scores(scores)
    left = Manifest([row for row in clips if row.id not in done], clips.root)
    if done:
        _log.info("%d of %d clips were labelled before", len(clips) - len(left), len(clips))
    if len(left):
        scores.parent.mkdir(parents=True, exist_ok=True)
        new = not scores.exists()
        with scores.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            if new:
                writer.writeheader()
            for row in _label(labeller, left, search, batch):
                writer.writerow(row)
                stream.flush()
                done[row["id"]] = row
    return done


def _label(labeller: RAVEn, clips: Manifest, search: Search | None, batch: int) -> Iterator[dict[str, str]]:
    failures: dict[str, str] = {}
    for row, found in transcripts(labeller, clips, failures, search=search, batch=batch):
        yield {
            "id": row.id,
            "text": found.text,
            "confidence": f"{found.confidence:.6f}",
            "score": f"{found.score:.4f}",
            "error": "",
        }
    for name, reason in failures.items():
        yield {"id": name, "text": "", "confidence": "0", "score": "", "error": reason}
    if len(failures) == len(clips):
        raise DataError(f"none of {len(clips)} clips can be read", got=next(iter(failures.values())))


def _read_scores(path: Path) -> dict[str, dict[str, str]]:
    """What is there; a last line cut short by a crash is taken off, and the file mended."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        write_text_atomic(path, text)
    rows = list(csv.DictReader(text.splitlines()))
    if rows and set(rows[0]) != set(COLUMNS):
        raise DataError("not a table of pseudo-labels", path=path, expected=",".join(COLUMNS))
    return {row["id"]: row for row in rows}


def pseudo_label_list(cfg: DictConfig) -> PseudoLabels:
    """What `raven pseudo-label` does: a configuration in; `pseudo_labels.csv` and `selftrain.csv` in the run's folder.

    The labelled clips are those that the same configuration would train on (`data.train_file`, `train_limit`); the
    others are all the rest of that list, or `selftrain.unlabelled_file`. Their own texts, if any, are not looked at.

    Raises:
        ConfigError: no labeller.
        DataError: nothing to label.
    """
    options, run = cfg.selftrain, Path(cfg.exp_dir) / cfg.exp_name
    if not options.labeller:
        raise ConfigError("nobody to write labels", expected="selftrain.labeller=MODEL_DIRECTORY")
    labeller = RAVEn.from_pretrained(options.labeller, lm=options.lm, device=options.device)
    data = typed(DataConfig, cfg.data)
    every = read_list(data, data.train_file, split=data.train_split, tokenizer=labeller.tokenizer)
    labelled = limited(every, data.train_limit, data.limit_seed)
    known = {row.id for row in labelled}
    if options.unlabelled_file:
        data.modality = labeller.modality
        rest = read_list(data, options.unlabelled_file, split=options.unlabelled_split, tokenizer=labeller.tokenizer)
        rest = Manifest([row for row in rest if row.id not in known], rest.root)
    else:
        rest = Manifest([row for row in every if row.id not in known], every.root)
    if not len(rest):
        raise DataError("nothing to label: every clip has a label", hint="Set selftrain.unlabelled_file.")
    search = search_of(cfg, labeller.search)
    scores = run / "pseudo_labels.csv"
    _claim(run / "labeller.json", {"labeller": labeller.sha256, "search": dataclasses.asdict(search)})
    found = pseudo_label(labeller, rest, scores, search=search, batch=options.batch)
    kept, dropped, failed = [], 0, 0
    for row in rest:
        label = found[row.id]
        failed += bool(label["error"])
        if not label["text"].split() or float(label["confidence"]) < options.min_confidence:
            dropped += not label["error"]
            continue
        kept.append(_with_label(rest, row, label))
    rows = [_absolute(labelled, row) for row in labelled] + kept
    manifest = run / "selftrain.csv"
    Manifest(rows, run).write(manifest)
    return PseudoLabels(manifest, scores, len(labelled), len(kept), dropped, failed)


def _claim(path: Path, settings: dict) -> None:
    """Pseudo-labels of one folder come from one labeller."""
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(settings)):
        raise ConfigError(
            "the pseudo-labels that are there come from another labeller or search",
            path=path.parent,
            hint="Use another exp_name, or delete pseudo_labels.csv and labeller.json.",
        )
    write_text_atomic(path, json.dumps(settings, indent=1) + "\n")


def _absolute(manifest: Manifest, row: ManifestRow) -> ManifestRow:
    """A row whose paths do not depend on where its manifest is."""
    path, audio = str(manifest.file(row).absolute()), str(manifest.audio_file(row).absolute())
    return dataclasses.replace(row, path=path, audio=audio if audio != path else "")


def _with_label(manifest: Manifest, row: ManifestRow, label: dict[str, str]) -> ManifestRow:
    extra = {name: cell for name, cell in row.extra.items() if name != "tokens"}
    extra |= {"pseudo_label": "1", "confidence": label["confidence"]}
    return dataclasses.replace(_absolute(manifest, row), text=label["text"], extra=extra)


def selftrain(cfg: DictConfig) -> tuple[PseudoLabels, TrainReport]:
    """Label, then train on labels and pseudo-labels: what `raven selftrain` does. Each stage resumes.

    Training starts from the self-supervised encoder (`pretrained_model_path`), not from the labeller, as published.
    """
    labels = pseudo_label_list(cfg)
    changed = OmegaConf.merge(cfg, {})
    assert isinstance(changed, DictConfig)
    changed.data.train_file = str(labels.manifest)
    changed.data.train_split = None
    changed.data.train_limit = None
    if changed.data.units in ("words", "chars", "sentencepiece") and not changed.data.units_file:
        # Units made from pseudo-labels would hold the labeller's mistakes: take those that it has.
        changed.data.units = str(load_model_dir(cfg.selftrain.labeller).path)
    return labels, train(changed)
