"""Schedules, batching, text units, error rates and transcripts against the published answers (kind `data_and_text`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import pytest

from viseme.core.data import bucket_batches, frame_count_batches
from viseme.core.data.batching import frame_count_order
from viseme.core.data.corpora.lrs_text import main_text, split_pretrain
from viseme.core.metrics import count_errors, word_error_rate
from viseme.core.text import SentencePieceUnits, normalise
from viseme.core.training.schedules import warmup_cosine

VARIANTS = {"latest": "current", "v1": "v1"}  # the vectors' names of the schedules, and ours


def units(entry: dict) -> SentencePieceUnits:
    names = {name.rpartition(".")[2]: name for name in entry["data"]}
    model, text = harness.data_file("avsr", names["model"]), harness.data_file("avsr", names["txt"])
    return SentencePieceUnits(model, text)


def schedule(entry: dict, variant: str, **options: float) -> Callable[[str, Any], Any]:
    def answer(path: str, want: Any) -> list[float]:
        return [warmup_cosine(step, variant=VARIANTS[variant], **options) for step in range(len(want))]

    return answer


def bucket(entry: dict, lengths: list[int], max_frames: int, num_buckets: int) -> dict[str, Any]:
    return {"batches": bucket_batches(lengths, max_frames, num_buckets)}


def frame_count(entry: dict, lengths: list[int], max_frames: int, **options: Any) -> dict[str, Any]:
    batches = frame_count_batches(lengths, max_frames, **options)
    return {"order": frame_count_order(lengths, **options), "batches": batches}


def text(entry: dict, text: str) -> dict[str, Any]:
    tokenizer = units(entry)
    ids = tokenizer.encode(text)
    return {"pieces": tokenizer.pieces(text), "ids": ids, "decoded": tokenizer.decode(ids)}


def decode(entry: dict, ids: list[int]) -> dict[str, Any]:
    tokenizer = units(entry)
    return {"text": tokenizer.units.text(ids, keep_eos=True), "text_without_eos": tokenizer.decode(ids)}


def wer(entry: dict, ref: str, hyp: str) -> dict[str, Any]:
    errors = count_errors(ref.split(), hyp.split())
    return {"edit_distance": errors.errors, "ref_words": errors.length}


def corpus_wer(entry: dict, pairs: list[dict]) -> dict[str, Any]:
    return {"corpus_wer": word_error_rate([pair["ref"] for pair in pairs], [pair["hyp"] for pair in pairs]).rate}


def split(entry: dict, transcript: str, max_frames: float) -> dict[str, Any]:
    segments = split_pretrain(transcript, max_frames / entry["config"]["fps"])
    fields = ("content", "start", "end", "duration", "start_frame", "end_frame", "start_sample", "end_sample")
    return {f"segments[].{field}": [getattr(segment, field) for segment in segments] for field in fields}


def main_line(entry: dict, first_line: str) -> dict[str, Any]:
    return {"content": main_text(first_line)}


def pseudo_label(entry: dict, raw: str) -> dict[str, Any]:
    return {"label": normalise(raw, "auto_avsr")}


SECTIONS: dict[str, Callable[..., Any]] = {
    "schedule": schedule,
    "bucket_batches": bucket,
    "frame_count_batches": frame_count,
    "text": text,
    "decode": decode,
    "wer": wer,
    "corpus_wer": corpus_wer,
    "split": split,
    "main_line": main_line,
    "pseudo_label": pseudo_label,
}


def cases() -> list[Any]:
    return [
        pytest.param(entry, section, id=f"{parameter.id}-{section}")
        for parameter in harness.entries("avsr", "data_and_text")
        for entry in [parameter.values[1]]
        for section in entry["cases"]
    ]


@pytest.mark.parametrize("entry, section", cases())
def test_section(entry: dict, section: str) -> None:
    folder, spec = harness.folder("avsr"), entry["cases"][section]
    found = harness.inputs.read_cases(folder, spec)
    assert found, "a section without cases tests nothing"
    for number, case in enumerate(found):
        options = harness.inputs.given(case, spec)
        for name in spec.get("inputs", {}):
            options[name] = harness.inputs.make_input(folder, entry, harness.inputs.case_input(spec, name, case))
        answers = SECTIONS[section](entry, **options)
        for path, (want, tolerance) in harness.inputs.wanted(number, case, spec).items():
            got = answers(path, want) if callable(answers) else answers[path]
            problem = harness.inputs.disagreement(got, want, tolerance)
            assert not problem, f"case {number}, {path}: {problem}"


def test_entries_hold_nothing_but_cases() -> None:
    for parameter in harness.entries("avsr", "data_and_text"):
        assert not parameter.values[1]["arrays"], "arrays that no test here compares"
