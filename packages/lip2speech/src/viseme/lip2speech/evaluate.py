"""How intelligible and how good generated speech is, over a whole test split, always beside two rows that bound it: the
real speech through the same vocoder, and the generated speech of another clip (chance).

Every clip's speech comes from the pipeline.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from viseme.core.cli import track
from viseme.core.cli.config import typed
from viseme.core.data import ClipDataset, ManifestRow
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.media import write_audio
from viseme.core.metrics import (
    PesqConvention,
    SpeechScores,
    collect_provenance,
    count_errors,
    speech_scores,
    write_clip_csv,
    write_results,
)
from viseme.core.metrics.recogniser import Recogniser
from viseme.core.signal import peak_normalise
from viseme.core.text import normalise
from viseme.core.types import Audio, Clip
from viseme.lip2speech.data import DataConfig, ItemMaker, read_clips
from viseme.lip2speech.models import VCAGAN
from viseme.lip2speech.pipeline import RATE, SAMPLES_PER_FRAME, Lip2Speech
from viseme.lip2speech.scoring import load_scorer
from viseme.lip2speech.sound import analyse, log_spectrogram
from viseme.lip2speech.vocoder import MelVocoder

__all__ = ["Evaluation", "Row", "evaluate_split", "table"]

GENERATED, REAL, CHANCE = "generated", "real, same vocoder", "chance: another clip"
MANY = 300
"""Scores from which on processes are worth their start."""


@dataclass(frozen=True)
class Row:
    """Means over clips of one kind of speech; `wer` is errors over words of the whole set, None without a recogniser.

    `pesq_clips`: clips that PESQ could score.
    """

    speech: str
    stoi: float
    estoi: float
    pesq: float | None
    wer: float | None
    clips: int
    pesq_clips: int


@dataclass(frozen=True)
class Evaluation:
    """Rows, each clip's figures, and clips that were not scored (id -> reason)."""

    rows: list[Row]
    clips: list[dict[str, object]]
    failures: dict[str, str]
    synthetic: bool = False


@dataclass(frozen=True)
class _Heard:
    """One clip: its text, and its sound: reference, generated, and real through the vocoder."""

    row: ManifestRow
    reference: np.ndarray
    generated: np.ndarray
    vocoded: np.ndarray


def evaluate_split(cfg: DictConfig) -> Evaluation:
    """What `lip2speech evaluate` does: a configuration in; rows, `results.json` and `clips.csv` out.

    Raises:
        DataError: no clip that can be scored.
        ConfigError: options that make no sense.
    """
    options, run = cfg.evaluate, Path(cfg.checkpoint_dir)
    speaker = Lip2Speech.from_pretrained(options.model or run / "model", device=options.device)
    if options.vocoder:
        speaker.use_vocoder(MelVocoder.from_pretrained(options.vocoder, speaker.device))
    data = typed(DataConfig, cfg.data)
    if options.voice not in ("own", "other", "model"):
        raise ConfigError("no such voice", expected="own | other | model", got=options.voice)
    recogniser = load_scorer(options.recogniser) if options.recogniser else None
    out = Path(options.out or run / "evaluation")
    failures: dict[str, str] = {}
    heard = []
    for clip in _speak(speaker, data, options, failures):
        heard.append(clip)
        if options.save_wav:
            for kind, sound in (("wav", clip.generated), ("wav_real", clip.vocoded)):
                write_audio(out / kind / f"{clip.row.id}.wav", Audio(sound, RATE))
    if not heard:
        raise DataError("no clip could be scored", got=next(iter(failures.values()), "none in the split"))
    result = _score(heard, failures, recogniser, options)
    _write(result, out, speaker, recogniser, cfg)
    return result


def _speak(speaker: Lip2Speech, data: DataConfig, options: DictConfig, failures: dict[str, str]) -> Iterator[_Heard]:
    clips = read_clips(data, "test", texts=False)
    manifest = clips.manifest[: options.limit] if options.limit else clips.manifest
    gray = data.data_name == "store"
    dataset: ClipDataset = ClipDataset(manifest, _keep, gray=gray)
    maker = ItemMaker(speaker.model.config, data, clips, training=False)
    for index in track(range(len(manifest)), "speaking"):
        row = manifest[index]
        try:
            clip = dataset.load(index)
            assert clip.video is not None and clip.audio is not None
            whole = clip.video.frames[: data.max_timesteps]
            crops = maker._crop(whole, row)(slice(0, len(whole)), 0, False)
            prompt = _prompt(speaker, dataset, options.voice, index, clip)
            padded = data.max_timesteps if options.published_padding else None
            mel, linear = speaker.speak_crops(crops, prompt, seed=options.seed + index, padded=padded)
            reference = peak_normalise(torch.from_numpy(clip.audio.samples[: SAMPLES_PER_FRAME * len(whole)]))
            yield _Heard(
                row,
                reference.numpy(),
                np.concatenate(list(speaker.waveform([(mel, linear)], seed=options.seed))),
                _vocoded(speaker, reference, options.seed),
            )
        except VisemeError as error:
            failures[row.id] = str(error)


def _keep(clip: Clip, row: ManifestRow, generator: torch.Generator) -> Clip:
    return clip


def _prompt(speaker: Lip2Speech, dataset: ClipDataset, voice: str, index: int, clip: Clip) -> torch.Tensor | None:
    """The voice that a multi-task model is given."""
    if isinstance(speaker.model, VCAGAN):
        return None
    if voice == "model":
        if speaker.prompt is None:
            raise ConfigError("this model has no voice of its own", expected="evaluate.voice=own or other")
        return speaker.prompt
    audio = clip.audio
    if voice == "other":
        rows = dataset.manifest
        others = [i for i in range(len(rows)) if rows[i].speaker != rows[index].speaker]
        if not others:
            raise DataError("no other speaker to take a voice from")
        audio = dataset.load(others[index % len(others)]).audio
        assert audio is not None
        return speaker.prompt_of(audio)
    assert audio is not None
    mel, _ = analyse(torch.from_numpy(audio.samples), speaker.model.config.mel_spec)
    return mel[None, :, :50]  # the published test: the beginning of the very clip


def _vocoded(speaker: Lip2Speech, reference: torch.Tensor, seed: int) -> np.ndarray:
    """Real speech as the network would give it if it made no mistake, through the same way back."""
    mel, magnitude = analyse(reference, speaker.model.config.mel_spec)
    linear = None
    if isinstance(speaker.model, VCAGAN):
        linear = log_spectrogram(magnitude) if speaker.model.config.spectrogram == "log" else magnitude
    return np.concatenate(list(speaker.waveform([(mel, linear)], seed=seed)))


def _score(
    heard: list[_Heard], failures: dict[str, str], recogniser: Recogniser | None, options: DictConfig
) -> Evaluation:
    step = max(1, len(heard) // 2)
    kinds = {
        GENERATED: [clip.generated for clip in heard],
        REAL: [clip.vocoded for clip in heard],
        CHANCE: [heard[(i + step) % len(heard)].generated for i in range(len(heard))],
    }
    rows, figures = [], []
    scored = _scores([clip.reference for clip in heard], list(kinds.values()), options.pesq, options.workers)
    for (kind, sounds), found in zip(kinds.items(), scored):
        texts = recogniser(sounds) if recogniser is not None else []
        errors = words = 0
        scores: list[SpeechScores] = []
        for index, (clip, score) in enumerate(zip(heard, found)):
            figure: dict[str, Any] = {"id": clip.row.id, "speech": kind}
            if isinstance(score, SpeechScores):
                scores.append(score)
                figure |= asdict(score)
            else:
                failures[clip.row.id] = score
            if texts and clip.row.text:
                said, understood = (normalise(x, options.normaliser) for x in (clip.row.text, texts[index]))
                counted = count_errors(said.split(), understood.split())
                errors, words = errors + counted.errors, words + counted.length
                figure |= {"text": said, "understood": understood, "errors": counted.errors, "words": counted.length}
            figures.append(figure)
        if not scores:
            raise DataError("no clip could be scored", got=next(iter(failures.values())))
        rows.append(_mean(kind, scores, errors / words if words else None))
    return Evaluation(rows, figures, failures, any(clip.row.extra.get("synthetic") for clip in heard))


def _mean(kind: str, scores: list[SpeechScores], wer: float | None) -> Row:
    opinions = [score.pesq for score in scores if score.pesq is not None]
    return Row(
        kind,
        float(np.mean([score.stoi for score in scores])),
        float(np.mean([score.estoi for score in scores])),
        float(np.mean(opinions)) if opinions else None,
        wer,
        len(scores),
        len(opinions),
    )


def _scores(
    references: list[np.ndarray], kinds: list[list[np.ndarray]], convention: PesqConvention, workers: int | None
) -> list[list[SpeechScores | str]]:
    """Scores of each clip of each kind, or why there are none; over processes where there are many clips."""
    jobs = [(reference, sound, convention) for sounds in kinds for reference, sound in zip(references, sounds)]
    count = (os.cpu_count() or 1) if workers is None else workers
    if count > 1 and len(jobs) >= MANY:
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(_score_one, jobs, chunksize=16))
    else:
        found = [_score_one(job) for job in jobs]
    return [found[start : start + len(references)] for start in range(0, len(found), len(references))]


def _score_one(job: tuple[np.ndarray, np.ndarray, PesqConvention]) -> SpeechScores | str:
    reference, sound, convention = job
    try:
        return speech_scores(reference, sound, pesq_convention=convention)
    except DataError as error:
        return str(error)


def _write(result: Evaluation, out: Path, speaker: Lip2Speech, recogniser: Recogniser | None, cfg: DictConfig) -> None:
    options = cfg.evaluate
    provenance = collect_provenance(
        synthetic=result.synthetic,
        normaliser=options.normaliser,
        data_sha256="",
        config={
            "pesq": options.pesq,
            "voice": options.voice,
            "published_padding": options.published_padding,
            "vocoder": "neural" if speaker.vocoder is not None else "griffin_lim",
            "griffin_lim": {
                "iterations": speaker.iterations,
                "momentum": speaker.momentum,
                "mel_inverse": speaker.mel_inverse,
            },
            "recogniser": recogniser.name if recogniser is not None else None,
            "seed": options.seed,
            "not_scored": result.failures,
            "note": speaker.domain,
        },
    )
    write_results(out / "results.json", [asdict(row) for row in result.rows], provenance)
    write_clip_csv(out / "clips.csv", result.clips)


def table(result: Evaluation) -> str:
    """Rows as text; says where the data are synthetic."""
    lines = ["SYNTHETIC data"] if result.synthetic else []
    lines.append(f"{'speech':22} {'STOI':>6} {'ESTOI':>6} {'PESQ':>6} {'WER %':>7} {'clips':>6}")
    for row in result.rows:
        pesq = f"{row.pesq:6.2f}" if row.pesq is not None else "     -"
        wer = f"{100 * row.wer:7.1f}" if row.wer is not None else "      -"
        lines.append(f"{row.speech:22} {row.stoi:6.3f} {row.estoi:6.3f} {pesq} {wer} {row.clips:6d}")
    return "\n".join(lines)
