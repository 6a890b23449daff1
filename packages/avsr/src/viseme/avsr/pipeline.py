"""Raw file in, `Transcript` out: the only inference path. The command line, the demo and the evaluation all come here.

    file --media--> frames, samples --faces--> mouth crops --> network --> CTC/attention search --> words

Each clip is encoded alone, as published: inside a padded batch a clip gets other values. The search, which costs the
most, runs over many clips at once and is not affected.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from viseme.avsr.data import InputConfig
from viseme.avsr.exported import OnnxModel
from viseme.avsr.language_model import LMConfig, check_vocabulary, language_model_of, write_beside
from viseme.avsr.model import AVSRConfig, AVSRModel, Modality
from viseme.avsr.recording import FPS, Asked, Recording, RecordingReader
from viseme.avsr.records import available_models
from viseme.avsr.search import Search, look
from viseme.avsr.transcript import Transcript, join, words_of
from viseme.core.checkpoint import ModelDir, announce, find_record, load_model_dir, save_model_dir
from viseme.core.decoding import Reading, ctc_align
from viseme.core.device import resolve_device
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.language_model import TransformerLM
from viseme.core.media import probe
from viseme.core.text import Tokenizer, load_tokenizer

__all__ = ["AVSR", "Recording", "Search"]

PARTS_TOGETHER = 4
"""Parts of a long recording that are searched together: most of what batching gains, little memory."""


class AVSR:
    """A recogniser, ready to use.

    Args:
        model: the network, or an exported one; put in evaluation mode and on `device`.
        tokenizer: its units.
        inputs: how crops and sound are made ready for it.
        search: how it looks for words unless told otherwise.
        device: `auto`, `cpu`, `cuda`, ...
        domain: a warning that every transcript carries, where the model knows only part of a language.
        sha256: of the weights' file, where they came from one.
        language_model: over the same units, used where a search has an `lm_weight`.
        record: name of the published weights that these are, where they are.
    """

    def __init__(
        self,
        model: AVSRModel | OnnxModel,
        tokenizer: Tokenizer,
        inputs: InputConfig | None = None,
        *,
        search: Search | None = None,
        device: str | torch.device = "auto",
        domain: str = "",
        sha256: str = "",
        language_model: TransformerLM | None = None,
        record: str = "",
    ) -> None:
        if tokenizer.size != model.config.vocabulary:
            raise ConfigError("units do not fit the model", expected=model.config.vocabulary, got=tokenizer.size)
        self.device = resolve_device("cpu" if isinstance(model, OnnxModel) and device == "auto" else device)
        self.model: Any = model.eval().to(self.device)
        self.tokenizer, self.inputs = tokenizer, inputs or InputConfig()
        self.search, self.domain, self.sha256 = search or Search(), domain, sha256
        self.record = record
        self.language_model: TransformerLM | None = None
        if language_model is not None:
            self.use_language_model(language_model)
        self._reader = RecordingReader(model.config, self.inputs)

    def use_language_model(self, language_model: TransformerLM) -> None:
        """Take a language model for searches that have an `lm_weight`.

        Raises:
            ConfigError: it has another vocabulary.
        """
        check_vocabulary(language_model, self.model.config.vocabulary)
        self.language_model = language_model.eval().to(self.device)

    # ------------------------------------------------------------------------------------------------ directories

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, device: str | torch.device = "auto") -> AVSR:
        """Load a model directory (made by `avsr train` or `avsr convert`).

        The licence of published weights is printed, once per process.

        Raises:
            CheckpointError: not a model directory, a missing or altered file, or not a model of this package.
        """
        known = {record.name: record for record in available_models()}
        if (record := known.get(str(directory))) and not Path(directory).exists():
            raise CheckpointError(
                "published weights are not downloaded here",
                path=directory,
                hint=f"Fetch {record.file} from {record.source} under its licence, then: avsr convert FILE DIR",
            )
        return cls._from_dir(load_model_dir(directory), device)

    @classmethod
    def _from_dir(cls, folder: ModelDir, device: str | torch.device) -> AVSR:
        config = folder.config
        if config.get("package") == "avsr-export":
            return cls(
                OnnxModel(folder),
                load_tokenizer(folder.path),
                InputConfig(**config["input"]),
                search=Search(**config["search"]),
                device=device,
                domain=config.get("domain", ""),
            )
        if config.get("package") != "avsr":
            raise CheckpointError("not a model of viseme-avsr", path=folder.path, got=config.get("package"))
        try:
            with torch.device("meta"):
                model = AVSRModel(AVSRConfig.from_dict(config["model"]))
            inputs, search = InputConfig(**config.get("input", {})), Search(**config.get("search", {}))
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError("the configuration does not fit this version", path=folder.path, got=error) from error
        expected, given = set(model.state_dict()), set(folder.state)
        if expected != given:
            odd = sorted(expected ^ given)
            raise CheckpointError(
                f"{len(odd)} weights are missing or unknown", path=folder.path, got=", ".join(odd[:5])
            )
        model.load_state_dict(folder.state, assign=True)
        if record := config.get("record", ""):
            announce(find_record(record))
        with folder.file("model.safetensors").open("rb") as weights:
            sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
        return cls(
            model,
            load_tokenizer(folder.path),
            inputs,
            search=search,
            device=device,
            domain=config.get("domain", ""),
            sha256=sha256,
            language_model=language_model_of(folder),
            record=record,
        )

    def save(self, directory: str | Path, *, card: str = "") -> Path:
        """Write a model directory that `from_pretrained` reads."""
        config: dict[str, Any] = {
            "package": "avsr",
            "model": self.model.config.to_dict(),
            "input": dataclasses.asdict(self.inputs),
            "search": dataclasses.asdict(self.search),
            "domain": self.domain,
        }
        if self.record:
            config["record"] = self.record
        writers = [lambda folder: self.tokenizer.save(folder)]
        if (language_model := self.language_model) is not None:
            config["language_model"] = dataclasses.asdict(LMConfig.of(language_model))
            writers.append(lambda folder: write_beside(language_model, folder))
        return save_model_dir(directory, config, self.model.state_dict(), writers=writers, card=card)

    # ------------------------------------------------------------------------------------------------ files

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the model can read from."""
        return self._reader.modalities

    def transcribe(
        self, path: str | Path, modality: Asked = "auto", *, face: int | None = None, search: Search | None = None
    ) -> Transcript:
        """The words of a video or sound file of any length.

        Args:
            path: any file that has the streams needed.
            modality: `auto` takes what both the file and the model have; `video`, `audio` or `audiovisual` insist.
            face: which face to read, from 1, most prominent first; the most prominent by default.
            search: how to look for the words.

        Raises:
            MediaError: an unreadable file, or one without a stream that is needed.
            FaceError: no usable face where one is needed.
            ConfigError: a modality that the model cannot read.
        """
        parts = list(self.transcribe_parts(path, modality, face=face, search=search))
        return join(parts, name=Path(path).name, duration_s=self._length_s(path, parts))

    def transcribe_speakers(
        self, path: str | Path, modality: Asked = "auto", *, search: Search | None = None
    ) -> list[Transcript]:
        """One transcript per face that the video shows, by number; raises as `transcribe`."""
        by_face: dict[int, list[Transcript]] = {}
        for part in self.transcribe_parts(path, modality, everyone=True, search=search):
            by_face.setdefault(part.speaker or 1, []).append(part)
        return [
            join(parts, name=Path(path).name, duration_s=sum(part.duration_s for part in parts))
            for _, parts in sorted(by_face.items())
        ]

    def transcribe_parts(
        self,
        path: str | Path,
        modality: Asked = "auto",
        *,
        face: int | None = None,
        everyone: bool = False,
        search: Search | None = None,
    ) -> Iterator[Transcript]:
        """Transcripts of the parts of a file as they come, in constant memory; see `RecordingReader.parts`."""
        recordings = self._reader.parts(path, modality, face=face, everyone=everyone)
        while some := list(islice(recordings, PARTS_TOGETHER)):
            yield from self.recognise(some, search=search)

    def features(
        self,
        path: str | Path,
        modality: Asked = "auto",
        *,
        layer: Literal["encoder", "frontend"] = "encoder",
        face: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Features of a file at 25 Hz; arguments and errors as `transcribe`.

        Returns:
            `encoder`: (T, D), what decoder and CTC read; or, with `layer` `frontend`, `video` and/or `audio`: (T, F),
            what the ResNets make of each frame. Parts of a long recording follow one another.
        """
        parts: dict[str, list[np.ndarray]] = {}
        with torch.inference_mode():
            for recording in self._reader.parts(path, modality, face=face):
                found = {"encoder": self.encode(recording)}
                if layer == "frontend":
                    inputs = self.network_inputs(recording)
                    found = {name: value[0] for name, value in self.model.frontend_features(*inputs).items()}
                for name, value_TD in found.items():
                    parts.setdefault(name, []).append(value_TD.float().cpu().numpy())
        return {name: np.concatenate(some) for name, some in parts.items()}

    def _length_s(self, path: str | Path, parts: Sequence[Transcript]) -> float:
        return parts[0].duration_s if len(parts) == 1 else probe(path).duration_s

    def load(self, path: str | Path, modality: Asked = "auto", *, face: int | None = None) -> Recording:
        """Decode a file, find and crop the mouth: what `recognise` takes. Raises as `transcribe`."""
        return self._reader.whole(path, modality, face=face)

    # ------------------------------------------------------------------------------------------------ recognition

    def recognise(self, recordings: Iterable[Recording], *, search: Search | None = None) -> list[Transcript]:
        """The words of clips that are already cropped and decoded; each is encoded alone, all are searched together.

        Raises:
            ConfigError: a search with an `lm_weight`, and no language model.
        """
        recordings, search = list(recordings), search or self.search
        if search.lm_weight and self.language_model is None and not search.greedy:
            raise ConfigError(
                "lm_weight needs a language model",
                got=search.lm_weight,
                hint="--lm DIR gives one, or convert the recogniser with --lm.",
            )
        if not recordings:
            return []
        with torch.inference_mode():
            encoded = [self.model.encode_with_ctc(*self.network_inputs(recording)) for recording in recordings]
            lengths_B = torch.tensor([memory.shape[1] for memory, _ in encoded], device=self.device)
            memory_BTD = pad_sequence([memory[0] for memory, _ in encoded], batch_first=True)
            logp_BTV = pad_sequence([logp[0] for _, logp in encoded], batch_first=True)
            found = look(self.model, memory_BTD, logp_BTV, lengths_B, search, self.language_model)
        return [
            self._transcript(recording, best, logp[0])
            for recording, best, (_, logp) in zip(recordings, found, encoded, strict=True)
        ]

    def encode(self, recording: Recording) -> Tensor:
        """Encoder output (T, D) of one clip."""
        video, audio = self.network_inputs(recording)
        return self.model.encode(video, audio).memory[0]

    def network_inputs(self, recording: Recording) -> tuple[Tensor | None, Tensor | None]:
        """Video (1, T, 1, H, W) and audio (1, S, 1) of one clip as the network wants them; None where there is none."""
        video = audio = None
        if recording.crops is not None:
            video = self.inputs.video(recording.crops)[None].to(self.device)
        if recording.samples is not None:
            audio = self.inputs.audio(recording.samples)[None].to(self.device)
        return video, audio

    def _transcript(self, recording: Recording, best: Sequence[Reading], logp_TV: Tensor) -> Transcript:
        first = best[0]
        notes = recording.notes
        if not first.tokens:
            notes += ("no words found",)
        if self.domain:
            notes += (self.domain,)
        words = ()
        if self.tokenizer.blank not in first.tokens and (spans := ctc_align(logp_TV, first.tokens)):
            words = words_of(first.tokens, spans, self.tokenizer.decode, fps=FPS, start_s=recording.start_s)
        return Transcript(
            text=self.tokenizer.decode(first.tokens),
            tokens=first.tokens,
            confidence=first.confidence if first.tokens else 0.0,
            score=first.score,
            modality=recording.modality,
            duration_s=recording.frames / FPS,
            name=recording.name,
            notes=notes,
            alternatives=tuple(self.tokenizer.decode(other.tokens) for other in best[1:]),
            words=words,
            start_s=recording.start_s,
            speaker=recording.speaker,
        )
