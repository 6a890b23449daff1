"""Raw file in, `Transcript` or `Features` out: the only inference path. Command line and evaluation all come here.

    file --media--> frames or samples --faces--> mouth crops --> encoder --> features
                                                                        '--> CTC/attention/LM search --> words

Each clip is encoded alone, as published: inside a padded batch a clip gets other values. The search, which costs the
most, runs over many clips at once and is not affected.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from viseme.core.checkpoint import ModelDir, check_keys, load_model_dir, save_model_dir
from viseme.core.decoding import BeamConfig, Reading, beam_readings, beam_search, greedy_readings
from viseme.core.device import resolve_device
from viseme.core.errors import CheckpointError, ConfigError, MediaError
from viseme.core.faces import FaceTracker, MouthCropper, choose_track
from viseme.core.layers.frontends import SAMPLES_PER_FRAME
from viseme.core.layers.language_model import TransformerLM
from viseme.core.media import probe, read_audio, stream_frames
from viseme.core.text import Tokenizer, load_tokenizer
from viseme.raven.data import InputConfig
from viseme.raven.models.encoder import Encoder, EncoderConfig, Modality, from_fields
from viseme.raven.models.recogniser import Recogniser, RecogniserConfig
from viseme.raven.transcript import Features, Transcript

__all__ = ["Features", "RAVEn", "Recording", "Search", "Transcript", "load_language_model", "save_language_model"]

FPS = 25.0
RATE = 16000
MESH_STRIDE = 2
"""Frames between landmarks, as in preparation."""


@dataclass(frozen=True, eq=False)
class Recording:
    """What an encoder reads: mouth crops or sound of one clip.

    Attributes:
        crops: (T, H, W) grey or (T, H, W, 3) RGB uint8 at 25 fps, or None.
        samples: (S,) float32 at 16 kHz, or None.
        name: of the file or clip.
        notes: what happened on the way here.
    """

    crops: np.ndarray | None
    samples: np.ndarray | None
    name: str = ""
    notes: tuple[str, ...] = ()

    def frames(self, modality: Modality) -> int:
        """Video frames of what is read, 25 a second."""
        if modality == "video":
            return 0 if self.crops is None else len(self.crops)
        return 0 if self.samples is None else len(self.samples) // SAMPLES_PER_FRAME


@dataclass(frozen=True)
class Search:
    """How to look for the words; names and defaults as published (`decode`).

    Attributes:
        greedy: best CTC path; many times faster than the beam, a little less accurate.
        beam_size, ctc_weight, lm_weight, penalty, maxlenratio: of the joint search.
        minlenratio: fewest tokens as a share of the frames. (The published search accepts it and does nothing.)
        nbest: hypotheses to report.
    """

    greedy: bool = False
    beam_size: int = 40
    ctc_weight: float = 0.1
    lm_weight: float = 0.0
    penalty: float = 0.0
    maxlenratio: float = 0.0
    minlenratio: float = 0.0
    nbest: int = 1

    def beam_config(self) -> BeamConfig:
        fields = {
            name: value for name, value in dataclasses.asdict(self).items() if name not in ("greedy", "beam_size")
        }
        return BeamConfig(beam=self.beam_size, **fields)


class RAVEn:
    """An encoder or a recogniser, ready to use.

    Args:
        model: the network; put in evaluation mode and on `device`.
        tokenizer: a recogniser's units.
        inputs: how crops and sound are made ready for it.
        search: how it looks for words unless told otherwise.
        lm: language model over the same units, for `lm_weight`.
        device: `auto`, `cpu`, `cuda`, ...
        domain: a warning that every transcript carries, where the model knows only part of a language.
        sha256: of the weights' file, where they came from one.
    """

    def __init__(
        self,
        model: Recogniser | Encoder,
        tokenizer: Tokenizer | None = None,
        inputs: InputConfig | None = None,
        *,
        search: Search | None = None,
        lm: TransformerLM | None = None,
        device: str | torch.device = "auto",
        domain: str = "",
        sha256: str = "",
    ) -> None:
        vocabulary = model.config.vocabulary if isinstance(model, Recogniser) else None
        if vocabulary is not None and (tokenizer is None or tokenizer.size != vocabulary):
            got = None if tokenizer is None else tokenizer.size
            raise ConfigError("units do not fit the model", expected=vocabulary, got=got)
        if lm is not None and lm.vocabulary != vocabulary:
            raise ConfigError("the language model has other units", expected=vocabulary, got=lm.vocabulary)
        self.device = resolve_device(device)
        self.model = model.eval().to(self.device)
        self.lm = None if lm is None else lm.eval().to(self.device)
        self.encoder = model.encoder if isinstance(model, Recogniser) else model
        self.tokenizer, self.inputs = tokenizer, inputs or InputConfig()
        self.search, self.domain, self.sha256 = search or Search(), domain, sha256

    @property
    def modality(self) -> Modality:
        """What it reads from."""
        return self.encoder.config.modality

    # ------------------------------------------------------------------------------------------------ directories

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, lm: str | Path | None = None, device: str | torch.device = "auto"
    ) -> RAVEn:
        """Load a model directory (made by `raven pretrain`, `raven train` or `raven convert`).

        Args:
            directory: of an encoder or a recogniser.
            lm: directory of a language model.

        Raises:
            CheckpointError: not a model directory, a missing or altered file, or not a model of this package.
        """
        folder = load_model_dir(directory)
        config, kind = folder.config, folder.config.get("kind")
        if config.get("package") != "raven" or kind not in ("encoder", "recogniser"):
            got = f"{config.get('package')}, {kind}"
            raise CheckpointError("not an encoder or recogniser of viseme-raven", path=folder.path, got=got)
        model: Recogniser | Encoder
        try:
            with torch.device("meta"):
                if kind == "encoder":
                    model = Encoder(from_fields(EncoderConfig, config["model"]))
                else:
                    model = Recogniser(RecogniserConfig.from_dict(config["model"]))
            inputs, search = InputConfig(**config.get("input", {})), Search(**config.get("search", {}))
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError("the configuration does not fit this version", path=folder.path, got=error) from error
        check_keys(folder.state, model, "the model directory", path=folder.path)
        model.load_state_dict(folder.state, assign=True)
        tokenizer = load_tokenizer(folder.path) if kind == "recogniser" else None
        with folder.file("model.safetensors").open("rb") as weights:
            sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
        language_model = None if lm is None else load_language_model(lm)
        domain = config.get("domain", "")
        return cls(
            model, tokenizer, inputs, search=search, lm=language_model, device=device, domain=domain, sha256=sha256
        )

    def save(self, directory: str | Path, *, card: str = "") -> Path:
        """Write a model directory that `from_pretrained` reads (without the language model)."""
        recogniser = isinstance(self.model, Recogniser)
        config: dict[str, Any] = {
            "package": "raven",
            "kind": "recogniser" if recogniser else "encoder",
            "model": self.model.config.to_dict(),
            "input": dataclasses.asdict(self.inputs),
        }
        if recogniser:
            config |= {"search": dataclasses.asdict(self.search), "domain": self.domain}
        tokenizer = self.tokenizer
        writers = [] if tokenizer is None else [tokenizer.save]
        return save_model_dir(directory, config, self.model.state_dict(), writers=writers, card=card)

    # ------------------------------------------------------------------------------------------------------ files

    def load(self, path: str | Path, *, face: int | None = None) -> Recording:
        """Decode what the model reads of a file; for video, find and crop the mouth.

        Args:
            path: any file with that stream.
            face: which face to read, from 1, most prominent first; the most prominent by default.

        Raises:
            MediaError: an unreadable file, or one without the stream.
            FaceError: no usable face where one is needed.
        """
        path = Path(path)
        info = probe(path)
        notes = ["the file is cut short: read as far as it goes"] if info.truncated else []
        if self.modality == "audio":
            recording = Recording(None, read_audio(path, rate=RATE).samples, path.name, tuple(notes))
        else:
            if not info.has_video:
                raise MediaError("no video in the file", path=path, hint="This model reads lips.")
            if abs(info.fps - FPS) > 0.01:
                notes.append(f"video converted from {info.fps:g} to {FPS:g} frames a second")
            crops, found = self._crops(path, face)
            recording = Recording(crops, None, path.name, (*notes, *found))
        if not recording.frames(self.modality):
            raise MediaError("too short to read", path=path, expected=f"at least {1 / FPS:.2f} s")
        return recording

    def _crops(self, path: Path, face: int | None) -> tuple[np.ndarray, list[str]]:
        """Mouth crops of a video, and what there is to say about its faces; decodes twice, holds one frame."""
        cropper = MouthCropper(self.inputs.crop, clamp=self.inputs.crop == "retinaface")
        tracker = FaceTracker(mesh_stride=MESH_STRIDE, points=cropper.select)
        total = 0
        for frame in stream_frames(path, fps=FPS):
            tracker.update(frame)
            total += 1
        tracks = tracker.tracks
        track = choose_track(tracks, face)
        crops = np.stack(list(cropper.crops(stream_frames(path, fps=FPS), track.per_frame(total), gray=True)))
        notes = []
        if len(tracks) > 1:
            notes.append(f"{len(tracks)} faces: read number {face or 1}, most prominent first")
        if missing := total - len(track):
            notes.append(f"the face was not seen in {missing} of {total} frames; its place was interpolated")
        return crops, notes

    def transcribe(self, path: str | Path, *, face: int | None = None, search: Search | None = None) -> Transcript:
        """The words of a file; raises as `load`, and `ConfigError` for an encoder without heads."""
        return self.recognise([self.load(path, face=face)], search=search)[0]

    @torch.inference_mode()
    def features(
        self, source: str | Path | Recording, layer: int | None = None, *, face: int | None = None
    ) -> Features:
        """An encoder's features of a file or recording.

        Args:
            layer: 0 for the projected front-end, 1 to L for the output of a block; None for the final layer norm.

        Raises:
            ConfigError: no such layer.
        """
        blocks = self.encoder.config.blocks
        if layer is not None and not 0 <= layer <= blocks:
            raise ConfigError("no such layer", expected=f"0 (front-end) to {blocks}", got=layer)
        recording = source if isinstance(source, Recording) else self.load(source, face=face)
        x = self._input(recording)
        if layer is None:
            found_BTD = self.encoder(x)
        elif layer == 0:
            found_BTD = self.encoder.embed[0](self.encoder.frontend(x))
        else:
            found_BTD = self.encoder.layers(x)[layer - 1]
        return Features(found_BTD[0].float().cpu().numpy(), layer, self.modality, recording.name, recording.notes)

    # ------------------------------------------------------------------------------------------------ recognition

    def recognise(self, recordings: Sequence[Recording], *, search: Search | None = None) -> list[Transcript]:
        """The words of clips that are cropped and decoded; each is encoded alone, all are searched together.

        Raises:
            ConfigError: an encoder without heads, or `lm_weight` without a language model.
        """
        search = search or self.search
        model = self.model
        if not isinstance(model, Recogniser):
            raise ConfigError("this is an encoder, which has no words", hint="Fine-tune it with `raven train`.")
        if not recordings:
            return []
        with torch.inference_mode():
            memories = [self.encoder(self._input(recording))[0] for recording in recordings]
            lengths_B = torch.tensor([len(memory) for memory in memories], device=self.device)
            memory_BTD = pad_sequence(memories, batch_first=True)
            if search.greedy:
                found = greedy_readings(model.ctc(memory_BTD), lengths_B, model.config.blank)
            else:
                found = self._beam(model, memory_BTD, lengths_B, search)
        return [self._transcript(recording, best) for recording, best in zip(recordings, found, strict=True)]

    def _input(self, recording: Recording) -> Tensor:
        """(1, T, 1, H, W) or (1, S, 1) on the device."""
        if not recording.frames(self.modality):
            raise MediaError(f"no {self.modality} to read", path=recording.name or None)
        if self.modality == "video":
            assert recording.crops is not None
            return self.inputs.video(recording.crops)[None].to(self.device)
        assert recording.samples is not None
        return self.inputs.audio(recording.samples)[None].to(self.device)

    def _beam(self, model: Recogniser, memory_BTD: Tensor, lengths_B: Tensor, search: Search) -> list[list[Reading]]:
        if search.lm_weight and self.lm is None:
            raise ConfigError("lm_weight needs a language model", hint="Give its model directory (--lm).")
        lm = self.lm if search.lm_weight else None
        return beam_readings(beam_search(memory_BTD, lengths_B, model.decoder, model.ctc, lm, search.beam_config()))

    def _transcript(self, recording: Recording, best: Sequence[Reading]) -> Transcript:
        assert self.tokenizer is not None
        first = best[0]
        return Transcript(
            text=self.tokenizer.decode(first.tokens),
            tokens=first.tokens,
            confidence=first.confidence,
            score=first.score,
            modality=self.modality,
            duration_s=recording.frames(self.modality) / FPS,
            name=recording.name,
            notes=(*recording.notes, *((self.domain,) if self.domain else ())),
            alternatives=tuple(self.tokenizer.decode(other.tokens) for other in best[1:]),
        )


# -------------------------------------------------------------------------------------------------- language models


def save_language_model(
    directory: str | Path, config: dict[str, Any], state: dict[str, Tensor], card: str = ""
) -> Path:
    """Write a language model's directory; `config` holds the arguments of `TransformerLM`."""
    return save_model_dir(directory, {"package": "raven", "kind": "language_model", "model": config}, state, card=card)


def load_language_model(directory: str | Path) -> TransformerLM:
    """Read what `save_language_model` wrote.

    Raises:
        CheckpointError: not such a directory.
    """
    folder: ModelDir = load_model_dir(directory)
    if folder.config.get("kind") != "language_model":
        raise CheckpointError("not a language model", path=folder.path, got=folder.config.get("kind"))
    with torch.device("meta"):
        model = TransformerLM(**folder.config["model"])
    check_keys(folder.state, model, "the language model", path=folder.path)
    model.load_state_dict(folder.state, assign=True)
    return model.eval()
