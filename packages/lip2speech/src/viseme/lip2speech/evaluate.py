"""How intelligible and how good generated speech is, over a whole test split, always beside two rows that bound it: the
real speech through the same vocoder, and the generated speech of another clip (chance).

Every clip's speech comes from the pipeline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from viseme.core.checkpoint import load_model_dir
from viseme.core.cli import track
from viseme.core.cli.config import typed
from viseme.core.data import ClipDataset, ManifestRow
from viseme.core.errors import ConfigError, DataError, VisemeError
from viseme.core.media import write_audio
from viseme.core.metrics import collect_provenance, write_evaluation
from viseme.core.metrics.dnsmos import DNSMOS
from viseme.core.signal import peak_normalise
from viseme.core.types import Audio, Clip
from viseme.lip2speech.data import Clips, DataConfig, ItemMaker, read_clips
from viseme.lip2speech.models import VCAGAN
from viseme.lip2speech.pipeline import RATE, SAMPLES_PER_FRAME, Lip2Speech
from viseme.lip2speech.report import Sample, write_report
from viseme.lip2speech.scores import Heard, Row, Scorers, Tally
from viseme.lip2speech.scoring import load_scorer, load_sync_scorer
from viseme.lip2speech.sound import analyse, log_spectrogram
from viseme.lip2speech.vocoder import load_vocoder

__all__ = ["Evaluation", "evaluate_split", "table"]

MANY = 32
"""Clips from which on processes that score are worth their start."""


@dataclass(frozen=True)
class Evaluation:
    """Rows, each clip's figures, and clips that were not scored (id -> reason)."""

    rows: list[Row]
    clips: list[dict[str, object]]
    failures: dict[str, str]
    synthetic: bool = False


def evaluate_split(cfg: DictConfig) -> Evaluation:
    """What `lip2speech evaluate` does: a configuration in; rows, `results.json`, `clips.csv` and `report.html` out.

    Raises:
        DataError: no clip that can be scored.
        ConfigError: options that make no sense.
        CheckpointError: a model, recogniser or scorer that cannot be read.
    """
    options, run = cfg.evaluate, Path(cfg.checkpoint_dir)
    speaker = Lip2Speech.from_pretrained(options.model or run / "model", device=options.device, bf16=options.bf16)
    if options.vocoder:
        speaker.use_vocoder(load_vocoder(options.vocoder, speaker.device))
    data = typed(DataConfig, cfg.data)
    if options.voice not in ("own", "other", "model"):
        raise ConfigError("no such voice", expected="own | other | model", got=options.voice)
    if options.sync_model and data.data_name == "store":
        raise ConfigError(
            "sync scores need whole faces, and this store holds mouth crops", expected="data_name=LRS2, LRS3 or GRID"
        )
    out = Path(options.out or run / "evaluation")
    clips = read_clips(data, "test", texts=bool(options.recogniser))
    count = min(len(clips.manifest), options.limit or len(clips.manifest))
    scorers = Scorers(
        options.pesq,
        options.normaliser,
        load_scorer(options.recogniser) if options.recogniser else None,
        DNSMOS(options.dnsmos) if options.dnsmos else None,
        load_sync_scorer(options.sync_model, device=speaker.device) if options.sync_model else None,
        options.workers if count >= MANY else 1,
    )
    shown: list[Heard] = []
    wanted = set(np.linspace(0, count - 1, min(options.samples, count)).round().astype(int).tolist())
    synthetic = False
    with scorers:
        tally = Tally(scorers)
        for number, clip in enumerate(tally.add(_speak(speaker, data, clips, count, options, tally.failures))):
            synthetic = synthetic or bool(clip.row.extra.get("synthetic"))
            if number in wanted:
                shown.append(clip)
            if options.save_wav:
                for kind, sound in (("wav", clip.generated), ("wav_real", clip.vocoded)):
                    write_audio(out / kind / f"{clip.row.id}.wav", Audio(sound, RATE))
        result = Evaluation(tally.rows(), tally.clips, tally.failures, synthetic)
    _write(result, shown, out, speaker, scorers, cfg)
    return result


def _speak(
    speaker: Lip2Speech, data: DataConfig, clips: Clips, count: int, options: DictConfig, failures: dict[str, str]
) -> Iterator[Heard]:
    manifest = clips.manifest[:count]
    dataset: ClipDataset = ClipDataset(manifest, _keep, gray=data.data_name == "store")
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
            real, magnitude = _analysed(speaker, reference)
            yield Heard(
                row,
                reference.numpy(),
                np.concatenate(list(speaker.waveform([(mel, linear)], seed=options.seed))),
                np.concatenate(list(speaker.waveform([(real, magnitude)], seed=options.seed))),
                mel.numpy(),
                real.numpy(),
                whole if options.sync_model else None,
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


def _analysed(speaker: Lip2Speech, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mel and spectrogram of real speech, as the network would give them if it made no mistake."""
    mel, magnitude = analyse(reference, speaker.model.config.mel_spec)
    linear = None
    if isinstance(speaker.model, VCAGAN):
        linear = log_spectrogram(magnitude) if speaker.model.config.spectrogram == "log" else magnitude
    return mel, linear


def _write(
    result: Evaluation, shown: list[Heard], out: Path, speaker: Lip2Speech, scorers: Scorers, cfg: DictConfig
) -> None:
    options = cfg.evaluate
    back = "neural vocoder" if speaker.vocoder is not None else f"Griffin-Lim, {speaker.iterations} iterations"
    recogniser = scorers.recogniser.name if scorers.recogniser is not None else None
    provenance = collect_provenance(
        synthetic=result.synthetic,
        normaliser=options.normaliser,
        data_sha256=hashlib.sha256("\n".join(sorted({str(clip["id"]) for clip in result.clips})).encode()).hexdigest(),
        model_sha256=_weights_sha256(Path(options.model or Path(cfg.checkpoint_dir) / "model")),
        config={
            "pesq": options.pesq,
            "voice": options.voice,
            "published_padding": options.published_padding,
            "bf16": options.bf16,
            "vocoder": "neural" if speaker.vocoder is not None else "griffin_lim",
            "griffin_lim": {
                "iterations": speaker.iterations,
                "momentum": speaker.momentum,
                "mel_inverse": speaker.mel_inverse,
            },
            "recogniser": recogniser,
            "seed": options.seed,
            "not_scored": result.failures,
            "note": speaker.domain,
        },
    )
    write_evaluation(out, [asdict(row) for row in result.rows], result.clips, provenance)
    if not shown:
        return
    understood: dict[str, dict[str, str]] = {}
    for figures in result.clips:
        if "understood" in figures:
            understood.setdefault(str(figures["id"]), {})[str(figures["speech"])] = str(figures["understood"])
    notes = [
        "SYNTHETIC data: rendered faces and synthetic voices." if result.synthetic else "",
        speaker.domain,
        f"Voice of the prompt: {options.voice}. Way back to sound: {back}. PESQ: {options.pesq}.",
        f"Words through: {recogniser}." if recogniser else "",
    ]
    samples = [Sample(clip, understood.get(clip.row.id, {})) for clip in shown]
    write_report(out / "report.html", result.rows, samples, notes)


def _weights_sha256(directory: Path) -> str:
    with (directory / "model.safetensors").open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


def store_overrides(model: Path, store: Path, split: str) -> list[str]:
    """What makes `lip2speech evaluate` test a model directory on a part of a prepared store: crops as it was trained
    on."""
    size = load_model_dir(model).config["input"]["size"]
    keys = [f"data.data={store}", f"data.test_split={split}", f"data.size={size}", f"evaluate.model={model}"]
    return ["data=store", *keys]


def table(result: Evaluation) -> str:
    """Rows as text; says where the data are synthetic."""
    lines = ["SYNTHETIC data"] if result.synthetic else []
    extras = [
        name for name in ("dnsmos", "lse_d", "lse_c") if any(getattr(row, name) is not None for row in result.rows)
    ]
    titles = "".join(f" {name.upper().replace('_', '-'):>7}" for name in extras)
    lines.append(f"{'speech':22} {'STOI':>6} {'ESTOI':>6} {'PESQ':>6} {'WER %':>7}{titles} {'clips':>6}")
    for row in result.rows:
        pesq = f"{row.pesq:6.2f}" if row.pesq is not None else "     -"
        wer = f"{100 * row.wer:7.1f}" if row.wer is not None else "      -"
        values = [getattr(row, name) for name in extras]
        more = "".join("       -" if value is None else f" {value:7.2f}" for value in values)
        lines.append(f"{row.speech:22} {row.stoi:6.3f} {row.estoi:6.3f} {pesq} {wer}{more} {row.clips:6d}")
    return "\n".join(lines)
