"""Silent video in, `Synthesis` out: the only inference path. The command line and the evaluation both come here.

    file --media--> frames --faces--> lip crops --network, in windows--> mel --Griffin-Lim--> speech

Long videos go through in windows that overlap; mels are faded over the overlap and the waveform is found in one stream,
so that there are no seams and memory does not grow with length. T frames at 25 Hz, S = 4T mel columns at 100 Hz.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viseme.core.checkpoint import announce, find_record, load_model_dir, save_model_dir
from viseme.core.device import resolve_device
from viseme.core.errors import CheckpointError, ConfigError, DataError, FaceError, MediaError
from viseme.core.faces import FaceMesh, FaceTracker, YuNet, choose_track, find_gaps
from viseme.core.media import probe, read_audio, stream_frames
from viseme.core.types import Audio
from viseme.lip2speech.items import PROMPT_COLUMNS
from viseme.lip2speech.lips import LipInput
from viseme.lip2speech.models import (
    VCAGAN,
    MultitaskConfig,
    MultitaskModel,
    VCAConfig,
    build_model,
    for_inference,
    model_config,
)
from viseme.lip2speech.sound import SPECTROGRAM_GAIN, Inverter, MelInverse, analyse, mel_to_magnitude
from viseme.lip2speech.spectrum import SpectrumVocoder
from viseme.lip2speech.synthesis import Synthesis
from viseme.lip2speech.text import load_text
from viseme.lip2speech.vocoder import MelVocoder

__all__ = ["Lip2Speech"]

FPS, RATE, COLUMNS_PER_FRAME, SAMPLES_PER_FRAME = 25.0, 16_000, 4, 640
WINDOW, OVERLAP = 250, 50
"""Frames of a window of a long video, and of the part that it shares with the next."""

PIECE = 400
"""Mel columns that Griffin-Lim is given at a time."""

SILENT = 1e-4
"""Peak below which a reference voice counts as silent."""


class Lip2Speech:
    """A model that speaks, ready to use.

    Args:
        model: of either system; put in evaluation mode and on `device`.
        lips: how lips are cut for it.
        tokenizer: of the text branch, kept for `save`.
        prompt: mel (1, 80, P) of the voice that a multi-task model has where it is not told another.
        device: `auto`, `cpu`, `cuda`, ...
        iterations, momentum, mel_inverse: of the way back to sound; see `Inverter` (published: 60, 0, `transpose`).
        flip: whether a GAN also sees the mirrored lips, as published.
        vocoder: a neural one, instead of Griffin-Lim.
        bf16: half the precision for the network, where the processor or GPU has units for it; mels move by a
            thousandth.
        domain: a warning that every synthesis carries.
        record: name of the published weights that these are.
    """

    def __init__(
        self,
        model: VCAGAN | MultitaskModel,
        lips: LipInput | None = None,
        *,
        tokenizer: Any = None,
        prompt: Tensor | None = None,
        device: str | torch.device = "auto",
        iterations: int = 32,
        momentum: float = 0.99,
        mel_inverse: MelInverse = "pseudo",
        flip: bool = True,
        vocoder: MelVocoder | SpectrumVocoder | None = None,
        bf16: bool = False,
        domain: str = "",
        record: str = "",
    ) -> None:
        self.device = resolve_device(device)
        self.model = model.eval().to(self.device)
        self.lips, self.tokenizer, self.prompt = lips or LipInput(), tokenizer, prompt
        self.iterations, self.momentum, self.mel_inverse, self.flip = iterations, momentum, mel_inverse, flip
        self.domain, self.record, self.bf16 = domain, record, bf16
        self._quick: VCAGAN | MultitaskModel | None = None
        self.vocoder: MelVocoder | SpectrumVocoder | None = None
        if vocoder is not None:
            self.use_vocoder(vocoder)

    def use_vocoder(self, vocoder: MelVocoder | SpectrumVocoder) -> None:
        """Take a neural vocoder for the way from mels to sound.

        Raises:
            ConfigError: it was made for other mels.
        """
        if vocoder.config.mel != self.model.config.mel:
            raise ConfigError("the vocoder is of other mels", expected=self.model.config.mel, got=vocoder.config.mel)
        self.vocoder = vocoder

    @property
    def inverter(self) -> Inverter:
        return Inverter(
            self.model.config.mel_spec,
            iterations=self.iterations,
            momentum=self.momentum,
            mel_inverse=self.mel_inverse,
        )

    # ------------------------------------------------------------------------------------------------- directories

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, device: str | torch.device = "auto", bf16: bool = False
    ) -> Lip2Speech:
        """Load a model directory (made by `lip2speech train` or `lip2speech convert`).

        Raises:
            CheckpointError: not one, a missing or altered file, or not a model that speaks.
        """
        folder = load_model_dir(directory)
        config = folder.config
        if config.get("package") != "lip2speech":
            raise CheckpointError("not a model of viseme-lip2speech", path=folder.path, got=config.get("package"))
        try:
            geometry, lips = model_config(config["model"]), LipInput(**config["input"])
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError("not a model that speaks", path=folder.path, got=error) from error
        if not isinstance(geometry, (VCAConfig, MultitaskConfig)):
            raise CheckpointError("this is a recogniser or a vocoder, not a model that speaks", path=folder.path)
        with torch.device("meta"):
            model: Any = build_model(geometry)
        state = dict(folder.state)
        prompt = state.pop("prompt", None)
        if odd := sorted(model.state_dict().keys() ^ state.keys()):
            raise CheckpointError(f"{len(odd)} weights are missing or unknown", path=directory, got=", ".join(odd[:5]))
        model.load_state_dict(state, assign=True)
        if record := config.get("record", ""):
            announce(find_record(record))
        return cls(
            model,
            lips,
            tokenizer=load_text(folder.path),
            prompt=prompt,
            device=device,
            bf16=bf16,
            domain=config.get("domain", ""),
            record=record,
            **config.get("vocoder", {}),
        )

    def save(self, directory: str | Path, *, card: str = "") -> Path:
        """Write a model directory that `from_pretrained` reads."""
        config = {
            "package": "lip2speech",
            "model": self.model.config.to_dict(),
            "input": dataclasses.asdict(self.lips),
            "vocoder": {
                "iterations": self.iterations,
                "momentum": self.momentum,
                "mel_inverse": self.mel_inverse,
            },
            "domain": self.domain,
            "record": self.record,
        }
        state = dict(self.model.state_dict())
        if self.prompt is not None:
            state["prompt"] = self.prompt
        writers = [self.tokenizer.save] if self.tokenizer is not None else []
        return save_model_dir(directory, config, state, writers=writers, card=card)

    # ------------------------------------------------------------------------------------------------------- files

    def speak(
        self,
        path: str | Path,
        *,
        reference: str | Path | None = None,
        face: int | None = None,
        seed: int = 0,
    ) -> Synthesis:
        """The speech of a silent video of any length.

        Args:
            path: any file with a picture; sound in it is not listened to.
            reference: sound or video file whose voice a multi-task model takes.
            face: which face, from 1, most prominent first.
            seed: of the GAN's noise and of Griffin-Lim's first phases.

        Raises:
            MediaError: an unreadable file, or one without a picture.
            FaceError: no usable face.
            DataError: a silent or too short reference.
            ConfigError: a multi-task model that has no voice and is given none.
        """
        prompt, voice = self._voice(reference)
        crops, notes = self._crops(path, face)
        mels, linears = [], []
        chunks = self._remember(self.mels(crops, prompt, seed=seed), mels, linears)
        samples = np.concatenate(list(self.waveform(chunks, seed=seed)))
        frames = sum(mel.shape[-1] for mel in mels) // COLUMNS_PER_FRAME
        samples = np.pad(samples, (0, SAMPLES_PER_FRAME * frames - len(samples)))
        if self.domain:
            notes = (*notes, self.domain)
        return Synthesis(
            Audio(samples.astype(np.float32), RATE),
            torch.cat(mels, -1).numpy(),
            torch.cat(linears, -1).numpy() if linears else None,
            voice,
            notes,
            Path(path).name,
        )

    @staticmethod
    def _remember(
        chunks: Iterable[tuple[Tensor, Tensor | None]], mels: list[Tensor], linears: list[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        for mel, linear in chunks:
            mels.append(mel)
            if linear is not None:
                linears.append(linear)
            yield mel, linear

    def _voice(self, reference: str | Path | None) -> tuple[Tensor | None, str]:
        """The prompt (1, 80, P) of a multi-task model, and whose it is."""
        if isinstance(self.model, VCAGAN):
            if reference is not None:
                raise ConfigError("VCA-GAN has one voice", got=f"a reference: {reference}")
            return None, "model"
        if reference is not None:
            return self.prompt_of(read_audio(reference, rate=RATE), reference), "reference"
        if self.prompt is None:
            raise ConfigError(
                "this model has no voice of its own", expected="a reference", hint="--reference voice.wav gives one."
            )
        return self.prompt, "model"

    def prompt_of(self, audio: Audio, path: str | Path | None = None) -> Tensor:
        """The prompt that a voice gives: its half a second with the most sound, (1, 80, 50).

        Raises:
            DataError: silent, or shorter than half a second.
        """
        spec = self.model.config.mel_spec
        x = torch.from_numpy(np.ascontiguousarray(audio.samples))
        if len(x) < PROMPT_COLUMNS * spec.hop:
            raise DataError(
                "the reference voice is too short", path=path, expected="0.5 s", got=f"{audio.duration_s:.2f} s"
            )
        if float(x.abs().max()) < SILENT:
            raise DataError("the reference voice is silent", path=path)
        mel, _ = analyse(x, spec)
        loudness = mel.mean(0).cumsum(0)
        start = int((loudness[PROMPT_COLUMNS:] - loudness[:-PROMPT_COLUMNS]).argmax())
        return mel[None, :, start : start + PROMPT_COLUMNS].clone()

    def _crops(self, path: str | Path, face: int | None) -> tuple[Iterator[np.ndarray], tuple[str, ...]]:
        """Lip crops of a file, read twice: once for the landmarks, once (as they are asked for) for the pictures."""
        if not probe(path).has_video:
            raise MediaError("there is no video in this file", path=path)
        tracker = FaceTracker(YuNet(), FaceMesh(), max_faces=max(4, face or 0), points=self.lips.points)
        total = 0
        for frame in stream_frames(path, fps=FPS):
            tracker.update(frame)
            total += 1
        if not total:
            raise MediaError("there are no frames in this file", path=path)
        try:
            landmarks = choose_track(tracker.tracks, face).per_frame(total)
        except FaceError as error:
            raise FaceError(error.what, path=path, expected=error.expected, got=error.got, hint=error.hint) from error
        missing = sum(points is None for points in landmarks)
        notes: tuple[str, ...] = ()
        if missing:
            longest = max(stop - start for start, stop in find_gaps(landmarks)) / FPS
            notes = (f"no face in {missing} of {total} frames (longest {longest:.1f} s); lips were guessed there",)
        return self.lips.crops(stream_frames(path, fps=FPS), landmarks), notes

    # ----------------------------------------------------------------------------------------------------- network

    @torch.inference_mode()
    def speak_crops(
        self, crops: np.ndarray, prompt: Tensor | None = None, *, seed: int = 0, padded: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Mel (80, 4T) and, of a GAN, linear spectrogram (F, 4T) of one clip's grey crops (T, H, W) uint8.

        Args:
            prompt: (1, 80, P), of the multi-task system.
            seed: of the noise.
            padded: frames to pad the clip to, as the published tests of VCA-GAN do (160).
        """
        frames = len(crops)
        video = self.lips.tensor(crops)
        if padded and padded > frames:
            video = torch.cat([video, video.new_zeros(1, padded - frames, *video.shape[2:])], dim=1)
        video = video[None].to(self.device)
        lengths, columns = torch.tensor([frames], device=self.device), COLUMNS_PER_FRAME * frames
        network = self._network()
        if isinstance(network, VCAGAN):
            draws = torch.Generator().manual_seed(seed)
            noise = [network.generator.draw_noise(1, video.shape[2], draws).to(self.device) for _ in range(2)]
            with self._precision():
                spoken = network.speak(video, lengths, noise=noise[0], flipped_noise=noise[1], flip=self.flip)
            return spoken.mel[0, 0, :, :columns].float().cpu(), spoken.spectrogram[0, 0, :, :columns].float().cpu()
        if prompt is None:
            raise ConfigError("the multi-task system needs a voice", expected="a prompt")
        with self._precision():
            mel = network.speak(video, prompt[None].to(self.device), lengths)
        return mel[0, 0, :, :columns].float().cpu(), None

    def _network(self) -> VCAGAN | MultitaskModel:
        """The model, or on a CPU its quick twin, made when it is first asked for."""
        if self.device.type != "cpu":
            return self.model
        if self._quick is None:
            with torch.inference_mode(False), torch.no_grad():
                self._quick = for_inference(self.model, bf16=self.bf16)
        return self._quick

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def mels(
        self, crops: Iterable[np.ndarray], prompt: Tensor | None, *, seed: int = 0
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Pieces of mel and spectrogram of crops of any number, window by window."""
        iterator = iter(crops)
        window = list(islice(iterator, WINDOW))
        if not window:
            raise MediaError("there are no frames to speak from")
        tail: tuple[Tensor, Tensor | None] | None = None
        number = 0
        while True:
            fresh = list(islice(iterator, WINDOW - OVERLAP))
            made = self.speak_crops(np.stack(window), prompt, seed=seed + number)
            if tail is not None:
                made = tuple(_fade(before, after) for before, after in zip(tail, made))  # type: ignore[assignment]
            if not fresh:
                yield made
                return
            held = COLUMNS_PER_FRAME * OVERLAP
            yield tuple(None if x is None else x[:, :-held] for x in made)  # type: ignore[misc]
            tail = tuple(None if x is None else x[:, -held:] for x in made)  # type: ignore[assignment]
            window, number = window[-OVERLAP:] + fresh, number + 1

    def waveform(self, chunks: Iterable[tuple[Tensor, Tensor | None]], *, seed: int = 0) -> Iterator[np.ndarray]:
        """Samples of pieces of mel or spectrogram in one stream: by the vocoder, or by Griffin-Lim."""
        if self.vocoder is not None:
            mels = (part for mel, _ in chunks for part in mel.split(PIECE, dim=-1))
            pieces = self.vocoder.stream(mels, seed=seed)
        else:
            magnitudes = (piece for mel, linear in chunks for piece in self.magnitude(mel, linear).split(PIECE, dim=-1))
            pieces = self.inverter.stream(magnitudes, generator=torch.Generator().manual_seed(seed))
        for piece in pieces:
            yield piece.numpy()

    def magnitude(self, mel: Tensor, linear: Tensor | None) -> Tensor:
        """Linear magnitudes (F, S) of what the network gave."""
        spec = self.model.config.mel_spec
        if linear is None:
            return mel_to_magnitude(mel, spec, self.mel_inverse)
        if self.model.config.spectrogram == "linear":  # type: ignore[union-attr]
            return linear
        return SPECTROGRAM_GAIN * spec.compression.inverse(linear)


def _fade(before: Tensor | None, after: Tensor | None) -> Tensor | None:
    """`after`, its beginning faded over from `before`, which is of the same time."""
    if before is None or after is None:
        return after
    width = min(before.shape[-1], after.shape[-1])
    rising = torch.linspace(0, 1, width + 2)[1:-1]
    mixed = before[:, :width] * (1 - rising) + after[:, :width] * rising
    return torch.cat([mixed, after[:, width:]], dim=-1)
