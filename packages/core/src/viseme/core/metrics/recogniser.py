"""Recognisers that synthesised speech is scored through, by name. The recogniser is part of such a score: results name
it, and show what it makes of the reference speech beside it.

    avsr:DIR            a model directory of viseme-avsr
    transformers:NAME   a CTC model of transformers, as the published evaluation uses
                        (facebook/wav2vec2-large-960h-lv60-self), or its local folder
    whisper:NAME        a model of faster-whisper, or its local folder
    sphinx:GRAMMAR      PocketSphinx with the American English model that its wheel brings along (no download), kept to
                        the sentences of a JSGF grammar; `sphinx:en-us` takes its language model instead

S samples.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from viseme.core.errors import ConfigError, DependencyError

__all__ = ["RATE", "Heard", "Recogniser", "hear", "load_recogniser"]

RATE = 16000
MIN_SAMPLES = 16000  # shorter recordings are padded with silence, in this one place


@dataclass(frozen=True)
class Heard:
    """What was heard in a recording.

    Attributes:
        text: as the recogniser writes it (case and punctuation too, where it has them).
        confidence: probability of a unit of it, on (geometric) average; None where the recogniser gives none.
        language: two letters; empty where it does not tell languages apart.
    """

    text: str
    confidence: float | None = None
    language: str = ""


class Recogniser(Protocol):
    """Speech to text.

    Attributes:
        name: for results.
    """

    name: str

    def __call__(self, recordings: Sequence[np.ndarray]) -> list[str]:
        """The words of recordings (S,) float32 at 16 kHz, in lower case."""
        ...


def load_recogniser(spec: str, *, device: str = "cpu") -> Recogniser:
    """The recogniser of that name (see the module).

    Raises:
        ConfigError: no such kind.
        DependencyError: its package is not installed.
    """
    kind, _, name = spec.partition(":")
    kinds: dict[str, Callable[[str, str], Recogniser]] = {
        "avsr": _Avsr,
        "transformers": _TransformersCTC,
        "whisper": _Whisper,
        "sphinx": _Sphinx,
    }
    if kind not in kinds or not name:
        known = "avsr:DIR | transformers:NAME | whisper:NAME | sphinx:GRAMMAR"
        raise ConfigError("no such recogniser", expected=known, got=spec)
    return kinds[kind](name, device)


def hear(recogniser: Recogniser, recordings: Sequence[np.ndarray]) -> list[Heard]:
    """What a recogniser hears, with confidence and language where it knows them (a method `hear`)."""
    known = getattr(recogniser, "hear", None)
    if known is not None:
        return list(known(recordings))
    return [Heard(text) for text in recogniser(recordings)]


def _padded(samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples, dtype=np.float32)
    return np.pad(samples, (0, MIN_SAMPLES - len(samples))) if len(samples) < MIN_SAMPLES else samples


def _needs(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"this recogniser needs {package}", hint=f"pip install {package}, or choose another recogniser."
        ) from error


class _Avsr:
    """Ours; found by name when it is asked for, as task packages do not know one another."""

    def __init__(self, name: str, device: str) -> None:
        pipeline = _needs("viseme.avsr.pipeline", "viseme-avsr")
        self._model = pipeline.AVSR.from_pretrained(name, device=device)
        self._recording = pipeline.Recording
        self.name = f"avsr {self._model.sha256[:8]}"

    def hear(self, recordings: Sequence[np.ndarray]) -> list[Heard]:
        clips = [self._recording(None, _padded(samples)) for samples in recordings]
        return [Heard(found.text, found.confidence) for found in self._model.recognise(clips)]

    def __call__(self, recordings: Sequence[np.ndarray]) -> list[str]:
        clips = [self._recording(None, _padded(samples)) for samples in recordings]
        return [found.text.lower() for found in self._model.recognise(clips)]


class _TransformersCTC:
    """Greedy CTC, batched by padding with an attention mask where the model was trained with one."""

    def __init__(self, name: str, device: str) -> None:
        library = _needs("transformers", "transformers")
        try:
            self._processor = library.AutoProcessor.from_pretrained(name)
            self._model = library.AutoModelForCTC.from_pretrained(name).eval().to(device)
        except (OSError, ValueError) as error:
            line = " ".join(str(error).split())[:200]
            raise ConfigError("no such model of transformers", got=f"{name}: {line}") from error
        self.name = f"transformers {name}"
        self._device = device

    @torch.no_grad()
    def hear(self, recordings: Sequence[np.ndarray]) -> list[Heard]:
        found = []
        for samples in recordings:  # one at a time, as published: group norms make padding audible
            inputs = self._processor(_padded(samples), sampling_rate=RATE, return_tensors="pt").to(self._device)
            best, ids = self._model(**inputs).logits.log_softmax(-1).max(-1)
            spoken = ids != self._model.config.pad_token_id  # the blank is sure of itself in any silence
            sure = float(best[spoken].mean().exp()) if bool(spoken.any()) else 0.0
            found.append(Heard(self._processor.batch_decode(ids)[0], sure))
        return found

    def __call__(self, recordings: Sequence[np.ndarray]) -> list[str]:
        return [heard.text.lower() for heard in self.hear(recordings)]


class _Whisper:
    def __init__(self, name: str, device: str) -> None:
        library = _needs("faster_whisper", "faster-whisper")
        kind = "cuda" if device.startswith("cuda") else "cpu"
        self._model = library.WhisperModel(name, device=kind, compute_type="auto")
        self.name = f"faster-whisper {name}"

    def __call__(self, recordings: Sequence[np.ndarray]) -> list[str]:
        texts = []
        for samples in recordings:
            segments, _ = self._model.transcribe(_padded(samples), language="en", beam_size=5, temperature=0.0)
            texts.append(" ".join(segment.text.strip() for segment in segments).lower())
        return texts

    def hear(self, recordings: Sequence[np.ndarray]) -> list[Heard]:
        found = []
        for samples in recordings:
            lazy, info = self._model.transcribe(_padded(samples), beam_size=5, temperature=0.0)
            segments = list(lazy)
            lengths = [len(segment.tokens) for segment in segments]
            mean = sum(s.avg_logprob * n for s, n in zip(segments, lengths)) / max(1, sum(lengths))
            text = " ".join(segment.text.strip() for segment in segments)
            found.append(Heard(text, math.exp(mean) if segments else 0.0, info.language))
        return found


class _Sphinx:
    """Hidden Markov models: small, quick, installed with pip alone. With a grammar it hears nothing but the grammar's
    sentences, so that a score needs the row of chance beside it."""

    EDGE_S = 0.25  # of silence before and after: it hears nothing in speech that starts at once
    DITHER = 1e-3  # digital silence has no logarithm

    def __init__(self, name: str, device: str) -> None:
        library = _needs("pocketsphinx", "pocketsphinx")
        options = {}
        if name != "en-us":
            if not Path(name).is_file():
                raise ConfigError("no such grammar", expected="a JSGF file, or en-us", got=name)
            options = {"jsgf": name, "lm": None}
        try:
            self._decoder = library.Decoder(samprate=float(RATE), cmn="batch", loglevel="FATAL", **options)
        except (RuntimeError, ValueError) as error:
            raise ConfigError("not a grammar that PocketSphinx reads", got=f"{name}: {error}") from error
        self.name = f"pocketsphinx {version('pocketsphinx')} {Path(name).name}"

    def __call__(self, recordings: Sequence[np.ndarray]) -> list[str]:
        return [self._one(np.asarray(samples, dtype=np.float32)) for samples in recordings]

    def _one(self, samples: np.ndarray) -> str:
        edge = round(self.EDGE_S * RATE)
        padded = np.pad(samples, (edge, max(edge, MIN_SAMPLES - len(samples) - edge)))
        padded = padded + np.random.default_rng(0).normal(0, self.DITHER, len(padded))
        loudest = max(1.0, float(np.abs(padded).max()))
        self._decoder.reinit_feat()  # or what came before would be heard along
        self._decoder.start_utt()
        self._decoder.process_raw((padded / loudest * 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr.lower() if found is not None else ""
