"""Raw file in, `Transcript` out: the only inference path. The command line, the demo and the evaluation all come here.

    file --media--> frames, samples --faces--> mouth crops --> network --> CTC/attention search --> words

Each clip is encoded alone, as published: inside a padded batch a clip gets other values. The search, which costs the
most, runs over many clips at once and is not affected.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from viseme.avsr.data import InputConfig
from viseme.avsr.model import AVSRConfig, AVSRModel, Modality
from viseme.avsr.transcript import Transcript
from viseme.core.checkpoint import ModelDir, load_model_dir, save_model_dir
from viseme.core.data.transforms import match_audio
from viseme.core.decoding import BeamConfig, beam_search, ctc_greedy
from viseme.core.device import resolve_device
from viseme.core.errors import CheckpointError, ConfigError, FaceError, MediaError
from viseme.core.faces import FaceTracker, MouthCropper, choose_track
from viseme.core.media import MediaInfo, probe, read_audio, stream_frames
from viseme.core.text import Tokenizer, load_tokenizer

__all__ = ["AVSR", "Recording", "Search"]

FPS = 25.0
RATE = 16000
SAMPLES_PER_FRAME = 640
MESH_STRIDE = 2
"""Frames between landmarks, as in preparation."""

Asked = Literal["auto", "video", "audio", "audiovisual"]


@dataclass(frozen=True, eq=False)
class Recording:
    """What a recogniser reads: mouth crops, sound, or both, of one clip.

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

    @property
    def modality(self) -> Modality:
        if self.crops is None:
            return "audio"
        return "video" if self.samples is None else "audiovisual"

    @property
    def frames(self) -> int:
        """Video frames, or as many as the sound is long."""
        if self.crops is not None:
            return len(self.crops)
        assert self.samples is not None
        return len(self.samples) // SAMPLES_PER_FRAME


@dataclass(frozen=True)
class Search:
    """How to look for the words.

    Attributes:
        greedy: best CTC path; many times faster than the beam, a little less accurate.
        beam, ctc_weight, penalty, maxlenratio: of the joint CTC/attention beam search; defaults as published.
        nbest: hypotheses to report.
    """

    greedy: bool = False
    beam: int = 40
    ctc_weight: float = 0.1
    penalty: float = 0.0
    maxlenratio: float = 0.0
    nbest: int = 1

    def beam_config(self) -> BeamConfig:
        return BeamConfig(
            beam=self.beam,
            ctc_weight=self.ctc_weight,
            penalty=self.penalty,
            maxlenratio=self.maxlenratio,
            nbest=self.nbest,
        )


class AVSR:
    """A recogniser, ready to use.

    Args:
        model: the network; put in evaluation mode and on `device`.
        tokenizer: its units.
        inputs: how crops and sound are made ready for it.
        search: how it looks for words unless told otherwise.
        device: `auto`, `cpu`, `cuda`, ...
        domain: a warning that every transcript carries, where the model knows only part of a language.
        sha256: of the weights' file, where they came from one.
    """

    def __init__(
        self,
        model: AVSRModel,
        tokenizer: Tokenizer,
        inputs: InputConfig | None = None,
        *,
        search: Search | None = None,
        device: str | torch.device = "auto",
        domain: str = "",
        sha256: str = "",
    ) -> None:
        if tokenizer.size != model.config.vocabulary:
            raise ConfigError("units do not fit the model", expected=model.config.vocabulary, got=tokenizer.size)
        self.device = resolve_device(device)
        self.model = model.eval().to(self.device)
        self.tokenizer, self.inputs = tokenizer, inputs or InputConfig()
        self.search, self.domain, self.sha256 = search or Search(), domain, sha256

    # ------------------------------------------------------------------------------------------------ directories

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, device: str | torch.device = "auto") -> AVSR:
        """Load a model directory (made by `avsr train` or `avsr convert`).

        Raises:
            CheckpointError: not a model directory, a missing or altered file, or not a model of this package.
        """
        folder = load_model_dir(directory)
        return cls._from_dir(folder, device)

    @classmethod
    def _from_dir(cls, folder: ModelDir, device: str | torch.device) -> AVSR:
        config = folder.config
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
        tokenizer = load_tokenizer(folder.path)
        with folder.file("model.safetensors").open("rb") as weights:
            sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
        domain = config.get("domain", "")
        return cls(model, tokenizer, inputs, search=search, device=device, domain=domain, sha256=sha256)

    def save(self, directory: str | Path, *, card: str = "") -> Path:
        """Write a model directory that `from_pretrained` reads."""
        config = {
            "package": "avsr",
            "model": self.model.config.to_dict(),
            "input": dataclasses.asdict(self.inputs),
            "search": dataclasses.asdict(self.search),
            "domain": self.domain,
        }
        return save_model_dir(
            directory, config, self.model.state_dict(), writers=[lambda folder: self.tokenizer.save(folder)], card=card
        )

    # ------------------------------------------------------------------------------------------------ files

    def transcribe(
        self, path: str | Path, modality: Asked = "auto", *, face: int | None = None, search: Search | None = None
    ) -> Transcript:
        """The words of a video or sound file.

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
        return self.recognise([self.load(path, modality, face=face)], search=search)[0]

    def load(self, path: str | Path, modality: Asked = "auto", *, face: int | None = None) -> Recording:
        """Decode a file, find and crop the mouth: what `recognise` takes. Raises as `transcribe`."""
        if modality not in get_args(Asked):
            raise ConfigError("no such modality", expected=" | ".join(get_args(Asked)), got=modality)
        path = Path(path)
        info = probe(path)
        video, audio, notes = self._choose(info, modality)
        crops = samples = None
        if video:
            try:
                crops, found = self._crops(path, info, face)
                notes += found
            except FaceError as error:
                if modality != "auto" or not (info.has_audio and self._reads("audio")):
                    error.path = path
                    raise
                notes.append(f"read from sound alone: {error.what}")
                audio = True
        if audio:
            samples = read_audio(path, rate=RATE).samples
            if crops is not None:
                samples = match_audio(samples, len(crops)).numpy()
        recording = Recording(crops, samples, path.name, tuple(notes))
        if not recording.frames:
            raise MediaError("too short to read", path=path, expected=f"at least {1 / FPS:.2f} s")
        return recording

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the model can read from."""
        every: tuple[Modality, ...] = ("video", "audio", "audiovisual")
        return tuple(modality for modality in every if self._reads(modality))

    def _reads(self, modality: Modality) -> bool:
        config = self.model.config
        return modality == config.modality or config.optional_modalities

    def _choose(self, info: MediaInfo, asked: Asked) -> tuple[bool, bool, list[str]]:
        """(read video, read audio, notes) for a file."""
        has = {"video": info.has_video, "audio": info.has_audio, "audiovisual": info.has_video and info.has_audio}
        choices: tuple[Modality, ...] = ("audiovisual", "video", "audio") if asked == "auto" else (asked,)
        able = [choice for choice in choices if self._reads(choice)]
        if not able:
            raise ConfigError(f"this model does not read {asked}", expected=self.model.config.modality)
        usable = [choice for choice in able if has[choice]]
        if not usable:
            lacks = " and ".join(name for name in ("video", "audio") if not has[name]) or "video and audio"
            raise MediaError(
                f"no {lacks} in the file",
                path=info.path,
                expected=" or ".join(able),
                hint="An audio-visual model with optional modalities reads from what there is."
                if asked == "auto"
                else "--modality auto takes what there is.",
            )
        chosen = usable[0]
        notes = []
        if chosen != able[0]:
            notes.append(f"read from {chosen} alone: the file has no {'audio' if chosen == 'video' else 'video'}")
        if info.truncated:
            notes.append("the file is cut short: read as far as it goes")
        if chosen != "audio" and info.has_video and abs(info.fps - FPS) > 0.01:
            notes.append(f"video converted from {info.fps:g} to {FPS:g} frames a second")
        return chosen != "audio", chosen != "video", notes

    def _crops(self, path: Path, info: MediaInfo, face: int | None) -> tuple[np.ndarray, list[str]]:
        """Mouth crops of a video, and what there is to say about its faces; decodes twice, holds one frame."""
        cropper = MouthCropper(self.inputs.crop)
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

    # ------------------------------------------------------------------------------------------------ recognition

    def recognise(self, recordings: Sequence[Recording], *, search: Search | None = None) -> list[Transcript]:
        """The words of clips that are already cropped and decoded; each is encoded alone, all are searched together."""
        search = search or self.search
        if not recordings:
            return []
        with torch.inference_mode():
            memories = [self.encode(recording) for recording in recordings]
            lengths_B = torch.tensor([len(memory) for memory in memories], device=self.device)
            memory_BTD = pad_sequence(memories, batch_first=True)
            found = self._greedy(memory_BTD, lengths_B) if search.greedy else self._beam(memory_BTD, lengths_B, search)
        return [self._transcript(recording, best) for recording, best in zip(recordings, found, strict=True)]

    def encode(self, recording: Recording) -> Tensor:
        """Encoder output (T, D) of one clip."""
        video = audio = None
        if recording.crops is not None:
            video = self.inputs.video(recording.crops)[None].to(self.device)
        if recording.samples is not None:
            audio = self.inputs.audio(recording.samples)[None].to(self.device)
        return self.model.encode(video, audio).memory[0]

    def _greedy(self, memory_BTD: Tensor, lengths_B: Tensor) -> list[list[_Found]]:
        logp_BTV = self.model.ctc(memory_BTD)
        found = []
        for logp_TV, length, ids in zip(logp_BTV, lengths_B.tolist(), ctc_greedy(logp_BTV, lengths_B), strict=True):
            peak_T, best_T = logp_TV[:length].max(-1)
            spoken_T = best_T != self.tokenizer.blank
            mean = float(peak_T[spoken_T].mean()) if bool(spoken_T.any()) else -math.inf
            found.append([_Found(tuple(ids), float(peak_T.sum()), math.exp(mean))])
        return found

    def _beam(self, memory_BTD: Tensor, lengths_B: Tensor, search: Search) -> list[list[_Found]]:
        hypotheses = beam_search(memory_BTD, lengths_B, self.model.decoder, self.model.ctc, config=search.beam_config())
        found = []
        for nbest in hypotheses:
            some = []
            for hypothesis in nbest:
                ids = tuple(hypothesis.units)
                units = len(ids) + 1  # the end is a decision too
                spoken = hypothesis.scores.get("decoder", hypothesis.score)
                some.append(_Found(ids, hypothesis.score, math.exp(min(0.0, spoken / units))))
            found.append(some or [_Found((), -math.inf, 0.0)])
        return found

    def _transcript(self, recording: Recording, best: Sequence[_Found]) -> Transcript:
        first = best[0]
        notes = recording.notes
        if not first.tokens:
            notes += ("no words found",)
        if self.domain:
            notes += (self.domain,)
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
        )


@dataclass(frozen=True)
class _Found:
    """One hypothesis."""

    tokens: tuple[int, ...]
    score: float
    confidence: float
